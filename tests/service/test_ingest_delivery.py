"""POST: what is authentic is kept byte for byte under its corp, whichever of the corp's addresses it came to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.support.callbacks import (
    CORP,
    CRYPTO,
    KEY,
    OTHER,
    OTHER_KEY,
    ask,
    encoded,
    ingest,
    on_uvloop,
    post,
    sealed,
    signed_ciphertext,
    status,
)
from tests.support.vectors import FULL, Vector, sample
from wecom.crypto import CallbackCrypto

PUSHED = [vector for vector in FULL if not vector.query]


@pytest.mark.parametrize("case", PUSHED, ids=str)
@on_uvloop
async def test_the_published_deliveries_are_kept_as_they_came(case: Vector, tmp_path: Path) -> None:
    body = case.body.encode() or f"<xml><Encrypt><![CDATA[{case.encrypt}]]></Encrypt></xml>".encode()
    async with ingest(tmp_path, {case.receiveid: {"contacts": (case.crypto(),)}}) as service:
        for path in (f"/callback/{case.receiveid}/contacts", f"/callback/{case.receiveid}"):
            answer = await ask(service, post(path, encoded(case.parameters), body))
            assert answer is not None
            assert (answer.status, answer.body) == (200, b"")
        records = await service.records()
    assert [(record.key, record.value, dict(record.headers)) for record in records] == [
        (case.receiveid, case.plaintext.encode(), {"callback": "contacts"})
    ] * 2


def test_there_are_published_deliveries() -> None:
    assert {str(case) for case in PUSHED} >= {"published-2", "published-4", "published-5"}


@on_uvloop
async def test_an_ordinary_client_and_a_chunked_body_are_taken(tmp_path: Path) -> None:
    delivery = sealed()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(delivery.body), 50):
            yield delivery.body[start : start + 50]

    async with ingest(tmp_path) as service, aiohttp.ClientSession() as session:
        url = URL(f"{service.listener.url}/callback/{CORP}?{encoded(delivery.query)}", encoded=True)
        for body in (delivery.body, pieces()):
            async with session.post(url, data=body, headers={"Content-Type": "text/xml"}) as response:
                assert response.status == 200
                assert await response.read() == b""
        assert service.kept == 2


@pytest.mark.parametrize(
    "document",
    [b"", b"nonsense", b"\xff\x00\xfe", b"<!DOCTYPE xml><xml/>", b"x" * 100_000, "<xml>客户 🎉</xml>".encode()],
    ids=["nothing", "nonsense", "binary", "doctype", "large", "emoji"],
)
@on_uvloop
async def test_an_authentic_delivery_is_never_refused_for_what_it_says(document: bytes, tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        assert await status(service, sealed(document).request()) == 200
        assert [record.value for record in await service.records()] == [document]


@on_uvloop
async def test_a_delivery_that_comes_again_is_kept_again(tmp_path: Path) -> None:
    """No memory of what came and no look at the time: the platform promises neither new nonces nor fresh timestamps."""
    async with ingest(tmp_path) as service:
        for delivery in (sealed(timestamp="1"), sealed(timestamp="1409659813"), sealed(nonce="a" * 128)):
            for _ in range(2):
                assert await status(service, delivery.request()) == 200
        assert service.kept == 6


@on_uvloop
async def test_each_configuration_of_a_corp_has_its_address(tmp_path: Path) -> None:
    contacts, app = CallbackCrypto("token1", KEY, CORP), CallbackCrypto("token2", OTHER_KEY, CORP)
    async with ingest(tmp_path, {CORP: {"contacts": (contacts,), "app": (app,)}}) as service:
        for crypto, name, foreign in ((contacts, "contacts", "app"), (app, "app", "contacts")):
            delivery = sealed(name.encode(), crypto)
            assert await status(service, delivery.request(f"/callback/{CORP}/{name}")) == 200
            assert await status(service, delivery.request(f"/callback/{CORP}")) == 200
            assert await status(service, delivery.request(f"/callback/{CORP}/{foreign}")) == 403
        records = await service.records()
    assert [(record.value, record.headers["callback"]) for record in records] == [
        (name.encode(), name) for name in ("contacts", "contacts", "app", "app")
    ]


@pytest.mark.parametrize(("token", "key"), [("token2", OTHER_KEY), ("token1", OTHER_KEY), ("token2", KEY)])
@on_uvloop
async def test_both_pairs_are_valid_during_a_rotation(token: str, key: str, tmp_path: Path) -> None:
    """The key is not signed: with the same Token the first pair's signature is right and its key is wrong."""
    new = CallbackCrypto(token, key, CORP)
    neither = CallbackCrypto("token3", KEY, CORP)
    async with ingest(tmp_path, {CORP: {"contacts": (new, CRYPTO)}}) as service:
        for number, crypto in enumerate([CRYPTO, new, CRYPTO, new]):
            assert await status(service, sealed(b"%d" % number, crypto).request()) == 200
        assert await status(service, sealed(b"x", neither).request()) == 403
        assert [record.value for record in await service.records()] == [b"0", b"1", b"2", b"3"]


@on_uvloop
async def test_no_corp_s_delivery_is_taken_at_another_s_address(tmp_path: Path) -> None:
    """Whether their pairs differ (the signature does not fit) or are the same by accident (receiveid)."""
    cryptos = {
        CORP: CRYPTO,
        OTHER: CallbackCrypto("token1", KEY, OTHER),
        "ww3": CallbackCrypto("token3", OTHER_KEY, "ww3"),
    }
    async with ingest(tmp_path, {corpid: {"contacts": (crypto,)} for corpid, crypto in cryptos.items()}) as service:
        for sender, crypto in cryptos.items():
            delivery = sealed(sender.encode(), crypto)
            for receiver in cryptos:
                answers = [
                    await status(service, delivery.request(path))
                    for path in (f"/callback/{receiver}", f"/callback/{receiver}/contacts")
                ]
                assert answers == [200 if sender == receiver else 403] * 2
        assert {record.key: record.value for record in await service.records()} == {
            corpid: corpid.encode() for corpid in cryptos
        }
        assert service.outcomes() == {"accepted": 6, "receiveid": 4, "signature": 8}


@on_uvloop
async def test_the_shape_of_the_outer_document_does_not_matter(tmp_path: Path) -> None:
    encrypt = CRYPTO.encrypt(sample("add_external_contact"))
    shapes = [
        f"<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>",
        f"<xml>\n<AgentID/>\n<Encrypt>{encrypt}</Encrypt>\n</xml>\n",
        f'<?xml version="1.0" encoding="utf-8"?>\n<xml><Encrypt> {encrypt} </Encrypt><ToUserName/></xml>',
        f"\ufeff<xml><!-- a --><Encrypt><![CDATA[{encrypt}]]></Encrypt><AgentID><![CDATA[218]]></AgentID></xml>",
    ]
    query = encoded(signed_ciphertext(encrypt).query)
    async with ingest(tmp_path) as service:
        for shape in shapes:
            assert await status(service, post(f"/callback/{CORP}", query, shape.encode())) == 200
        assert {record.value for record in await service.records()} == {sample("add_external_contact")}


@on_uvloop
async def test_many_at_once_are_all_kept_once(tmp_path: Path) -> None:
    documents = {b"%d" % number for number in range(300)}
    async with ingest(tmp_path) as service, aiohttp.ClientSession() as session:

        async def deliver(document: bytes) -> int:
            delivery = sealed(document)
            url = URL(f"{service.listener.url}/callback/{CORP}/contacts?{encoded(delivery.query)}", encoded=True)
            async with session.post(url, data=delivery.body) as response:
                return response.status

        assert set(await asyncio.gather(*map(deliver, documents))) == {200}
        records = await service.records()
        assert len(records) == 300
        assert {record.value for record in records} == documents
        assert service.outcomes()["accepted"] == 300
