"""GET: the check when the address is saved in the console (document 90930), and no way to make more of it."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.support.callbacks import (
    CORP,
    CRYPTO,
    NONCE,
    OTHER,
    OTHER_KEY,
    TIMESTAMP,
    Answer,
    Ingest,
    Socket,
    ask,
    encoded,
    get,
    ingest,
    on_uvloop,
    sealed,
    status,
)
from tests.support.vectors import sample, vector
from wecom.callback import encrypt_of
from wecom.crypto import CallbackCrypto

PATH = f"/callback/{CORP}/contacts"


def check(text: bytes, crypto: CallbackCrypto = CRYPTO) -> str:
    """The query of a check whose echo decrypts to ``text``."""
    return signed_echo(crypto.encrypt(text), crypto)


def signed_echo(echostr: str, crypto: CallbackCrypto = CRYPTO) -> str:
    signature = crypto.signature(TIMESTAMP, NONCE, echostr)
    return encoded({"msg_signature": signature, "timestamp": TIMESTAMP, "nonce": NONCE, "echostr": echostr})


async def answer_to(service: Ingest, query: str, path: str = PATH) -> Answer:
    answer = await ask(service, get(path, query))
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("name", "number"), [("published-1", b"1616140317555161061"), ("published-3", b"5927782489442352469")]
)
@on_uvloop
async def test_the_published_checks_are_answered_with_the_number_alone(
    name: str, number: bytes, tmp_path: Path
) -> None:
    case = vector(name)
    async with ingest(tmp_path, {case.receiveid: {"contacts": (case.crypto(),)}}) as service:
        for path in (f"/callback/{case.receiveid}/contacts", f"/callback/{case.receiveid}"):
            for query in (case.query, case.query.replace("%2B", "+"), case.query.replace("%2B", "%20")):
                answer = await answer_to(service, query, path)
                assert (answer.status, answer.body) == (200, number)
                assert dict(answer.headers)["content-type"] == "text/plain; charset=utf-8"
        assert service.kept == 0
        assert service.outcomes() == {"accepted": 0, "verified": 6}


@on_uvloop
async def test_an_ordinary_client_sees_the_same(tmp_path: Path) -> None:
    case = vector("published-1")
    async with (
        ingest(tmp_path, {case.receiveid: {"contacts": (case.crypto(),)}}) as service,
        aiohttp.ClientSession() as session,
        session.get(URL(f"{service.listener.url}/callback/{case.receiveid}?{case.query}", encoded=True)) as response,
    ):
        assert await response.read() == b"1616140317555161061"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1" * 65,
        b"1\n",
        b" 1",
        b"\xef\xbb\xbf1",
        b'"1"',
        b"-1",
        b"1.0",
        "１２３".encode(),
        b"abc",
        b"<xml/>",
        sample("add_external_contact"),
    ],
)
@on_uvloop
async def test_nothing_but_1_to_64_digits_is_answered(text: bytes, tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        refused = await answer_to(service, check(text))
        wrong = await answer_to(service, check(b"1").replace("msg_signature=", "msg_signature=0"))
        assert refused == wrong
        assert (refused.status, refused.body) == (403, b"")
        assert (await answer_to(service, check(b"1" * 64))).body == b"1" * 64
        assert (await answer_to(service, check(b"7"))).body == b"7"


@on_uvloop
async def test_deliveries_that_are_sent_again_as_an_echo_are_never_decrypted(tmp_path: Path) -> None:
    """Also when they say digits: the signature does not bind the method."""
    documents = [b"%d" % number for number in range(50)] + [b"<xml>%d</xml>" % number for number in range(50)]
    async with ingest(tmp_path, {CORP: {"contacts": (CRYPTO,), "app": (CRYPTO,)}}) as service:
        deliveries = [sealed(document) for document in documents]
        for delivery in deliveries:
            assert await status(service, delivery.request()) == 200
        replayed = [
            await answer_to(service, signed_echo(encrypt_of(delivery.body).decode()), path)
            for delivery in deliveries
            for path in (PATH, f"/callback/{CORP}", f"/callback/{CORP}/app")
        ]
        assert {(answer.status, answer.body) for answer in replayed} == {(403, b"")}
        assert service.outcomes()["echo"] == 300
        assert service.kept == 100


@on_uvloop
async def test_the_newest_deliveries_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.callback._REMEMBERED", 2)
    async with ingest(tmp_path) as service:
        deliveries = [sealed(b"%d" % number) for number in range(3)]
        for delivery in (*deliveries, deliveries[1], deliveries[1]):
            assert await status(service, delivery.request()) == 200
        echoes = [signed_echo(encrypt_of(delivery.body).decode()) for delivery in deliveries]
        assert [(await answer_to(service, echo)).body for echo in echoes] == [b"0", b"", b""]


@on_uvloop
async def test_a_check_belongs_to_its_corp(tmp_path: Path) -> None:
    other = CallbackCrypto("token1", OTHER_KEY, OTHER)
    same_pair = CallbackCrypto("token1", OTHER_KEY, CORP)
    async with ingest(tmp_path, {CORP: {"contacts": (CRYPTO, same_pair)}, OTHER: {"contacts": (other,)}}) as service:
        assert (await answer_to(service, check(b"1", other), f"/callback/{OTHER}")).body == b"1"
        foreign = await answer_to(service, check(b"1", other))
        assert (foreign.status, foreign.body) == (403, b"")
        assert service.outcomes()["receiveid"] == 1


@pytest.mark.parametrize("missing", ["msg_signature", "timestamp", "nonce", "echostr"])
@on_uvloop
async def test_every_parameter_is_needed(missing: str, tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        query = "&".join(part for part in check(b"1").split("&") if not part.startswith(missing))
        answer = await answer_to(service, query)
        assert (answer.status, answer.body) == (400, b"")


@on_uvloop
async def test_an_echo_that_is_no_base64_is_refused_like_any_other(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        answers = [await answer_to(service, signed_echo(text)) for text in ("x", "客户", "AAAA", "A" * 4096, "=")]
        assert {(answer.status, answer.body) for answer in answers} == {(403, b"")}
        assert len(set(answers)) == 1


@on_uvloop
async def test_head_and_a_get_with_a_body_are_answered_without_harm(tmp_path: Path) -> None:
    query = check(b"1")
    async with ingest(tmp_path) as service, Socket(service) as socket:
        socket.send(get(PATH, query, "Content-Length: 2") + b"xx" + get(PATH, query))
        for _ in range(2):
            answer = await socket.answer()
            assert answer is not None
            assert answer.body == b"1"
        socket.send(get(PATH, query).replace(b"GET", b"HEAD"))
        head = await socket.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert await socket.ends() == b""
