"""What is not a delivery: one answer for all that is not authentic, an empty body always, and nothing in the log."""

from __future__ import annotations

import asyncio
import base64
import random
from pathlib import Path

import pytest

from ingest.callback import LARGEST_BODY
from tests.support.callbacks import (
    CORP,
    CRYPTO,
    Socket,
    ask,
    encoded,
    get,
    ingest,
    on_uvloop,
    post,
    sealed,
    signed_ciphertext,
)
from tests.support.vectors import REFUSED, vector
from wecom.callback import encrypt_of
from wecom.crypto import CallbackCrypto

PATH = f"/callback/{CORP}/contacts"
GOOD = sealed()
QUERY = encoded(GOOD.query)
ENCRYPT = encrypt_of(GOOD.body).decode()


def mutated(count: int) -> list[str]:
    """Ciphertexts that differ from a good one: by a bit, by length, by alphabet, altogether.

    The good one says nothing, so that whatever changes is its length, receiveid or padding: a bit of the document
    itself may be changed by who knows the Token.
    """
    rng = random.Random(7)
    good = base64.b64decode(CRYPTO.encrypt(b"", b"0123456789abcdef"))
    found: list[str] = []
    for number in range(count):
        kind = number % 5
        data = bytearray(good)
        if kind == 0:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[rng.randrange(1, len(data)) :]
        elif kind == 2:
            data += rng.randbytes(rng.choice([1, 15, 16, 32, 64]))
        elif kind == 3:
            data = bytearray(rng.randbytes(rng.choice([16, 32, 48, 64, 512])))
        text = base64.b64encode(data).decode()
        if kind == 4:
            place = rng.randrange(1, len(text) - 4)
            text = text[:place] + rng.choice(" \t!-_=~客\x7f") + text[place + 1 :]
        found.append(text)
    return found


def no_deliveries() -> dict[str, bytes]:
    """Bodies that are none, beside a good query."""
    doctype = '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    good = GOOD.body.decode()
    return {
        "empty": b"",
        "no Encrypt": b"<xml><ToUserName>x</ToUserName></xml>",
        "empty Encrypt": b"<xml><Encrypt></Encrypt></xml>",
        "two": f"<xml><Encrypt>{ENCRYPT}</Encrypt><Encrypt>{ENCRYPT}</Encrypt></xml>".encode(),
        "two sections": good.replace("</xml>", f"<Encrypt><![CDATA[{ENCRYPT}]]></Encrypt></xml>").encode(),
        "deeper": f"<xml><a><Encrypt><b>{ENCRYPT}</b></Encrypt></a></xml>".encode(),
        "doctype": (doctype + good).encode(),
        "doctype behind": (good + doctype).encode(),
        "doctype inside": good.replace("<Encrypt>", "<!doctype x><Encrypt>").encode(),
        "doctype in a comment": good.replace("<Encrypt>", "<!-- <!DOCTYPE x> --><Encrypt>").encode(),
        "bomb": b'<!DOCTYPE x [<!ENTITY a "' + b"A" * 1000 + b'"><!ENTITY b "' + b"&a;" * 1000 + b'">]><xml>&b;</xml>',
        "UTF-16": (doctype + good).encode("utf-16"),
        "UTF-16 without a mark": (doctype + good).encode("utf-16-le"),
        "JSON": b'{"tousername": "x", "encrypt": "' + ENCRYPT.encode() + b'"}',
        "form": b"Encrypt=" + ENCRYPT.encode(),
        "binary": random.Random(1).randbytes(2000),
        "cut": GOOD.body[:-1].replace(b"CDATA", b""),
        "deep": b"<xml>" * 5000 + b"</xml>" * 5000,
        "attributes": b"<xml " + b" ".join(b'a%d=""' % number for number in range(20_000)) + b"/>",
        "leaves": b"<xml>" + b"<a/>" * 50_000 + b"</xml>",
    }


def queries() -> dict[str, str]:
    """Queries that are none, beside a good body."""
    parts = QUERY.split("&")
    return {
        "none": "",
        **{f"without {part.partition('=')[0]}": "&".join(set(parts) - {part}) for part in parts},
        **{f"twice {part.partition('=')[0]}": f"{QUERY}&{part}" for part in parts},
        **{f"empty {part.partition('=')[0]}": QUERY.replace(part, part.partition("=")[0] + "=") for part in parts},
        **{f"broken {part.partition('=')[0]}": QUERY.replace(part, part + "%") for part in parts},
        "not hex": QUERY + "%zz",
        "long signature": QUERY.replace("msg_signature=", "msg_signature=" + "0" * 128),
        "long nonce": QUERY.replace("nonce=", "nonce=" + "0" * 128),
        "long timestamp": QUERY.replace("timestamp=", "timestamp=" + "0" * 32),
        "long echostr": QUERY + "&echostr=" + "0" * 4097,
        "two echostr": QUERY + "&echostr=1&echostr=1",
    }


NO_DELIVERY, NO_QUERY = no_deliveries(), queries()


@on_uvloop
async def test_all_that_is_not_authentic_gets_one_and_the_same_answer(tmp_path: Path) -> None:
    corps = {
        CORP: {"contacts": (CRYPTO,)},
        **{case.receiveid: {"contacts": (case.crypto(),)} for case in REFUSED},
        "wx49f0ab532d5d035a": {"contacts": (vector("published-4").crypto(),)},
    }
    corpid = REFUSED[0].receiveid
    requests = [
        post(f"/callback/{corpid}", encoded(case.parameters), f"<xml><Encrypt>{case.encrypt}</Encrypt></xml>".encode())
        for case in REFUSED
    ]
    suite = vector("c4")
    requests.append(
        post(
            f"/callback/{corpid}", encoded(suite.parameters), f"<xml><Encrypt>{suite.encrypt}</Encrypt></xml>".encode()
        )
    )
    # The published request with one digit of its nonce changed.
    case = vector("published-3")
    requests.append(get(f"/callback/{case.receiveid}", case.query.replace("437374425", "437374424")))
    # What is covered by the signature, each changed a little, and moved between neighbours.
    requests += [
        post(PATH, encoded({**GOOD.query, name: wrong}), GOOD.body)
        for name, value in GOOD.query.items()
        for wrong in (value[:-1] + ("0" if value[-1] != "0" else "1"), value + "0", value.upper() + "A", "客户", "%00")
    ]
    requests.append(post(PATH, encoded({**GOOD.query, "timestamp": GOOD.query["nonce"]}), GOOD.body))
    foreign = CallbackCrypto("token2", "a" * 43, CORP)
    requests.append(sealed(crypto=foreign).request())
    async with ingest(tmp_path, corps) as service:
        ciphertexts = mutated(600)
        requests += [signed_ciphertext(text).request() for text in ciphertexts]
        answers = [await ask(service, request) for request in requests]
        assert len(set(answers)) == 1
        assert answers[0] is not None
        assert (answers[0].status, answers[0].body) == (403, b"")
        outcomes = service.outcomes()
        assert {"signature", "base64", "length", "padding", "receiveid", "msg_len"} <= set(outcomes)
        assert sum(outcomes.values()) == len(requests) > 600
        assert service.kept == 0
        # And the pair itself works.
        good = await ask(service, GOOD.request())
        assert good is not None
        assert good.status == 200


@pytest.mark.parametrize("case", NO_DELIVERY)
@on_uvloop
async def test_a_body_that_is_no_delivery_is_malformed(case: str, tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        answer = await ask(service, post(PATH, QUERY, NO_DELIVERY[case]))
        assert answer is not None
        assert (answer.status, answer.body) == (400, b"")
        assert service.kept == 0
        assert service.outcomes() == {"accepted": 0, "malformed": 1}


@on_uvloop
async def test_all_that_is_malformed_gets_one_and_the_same_answer(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        requests = [
            *(post(PATH, QUERY, body) for body in NO_DELIVERY.values()),
            *(post(PATH, query, GOOD.body) for query in NO_QUERY.values()),
            *(GOOD.request(PATH, f"Content-Encoding: {name}") for name in ("gzip", "identity", "br", "x")),
            get(PATH, QUERY),
        ]
        answers = [await ask(service, request) for request in requests]
        assert [
            name for name, answer in zip(NO_QUERY, answers[len(NO_DELIVERY) :], strict=False) if answer != answers[0]
        ] == []
        assert len(set(answers)) == 1
        assert answers[0] is not None
        assert (answers[0].status, answers[0].body) == (400, b"")
        assert service.kept == 0
        assert service.outcomes() == {"accepted": 0, "malformed": len(requests)}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/callback",
        "/callback/",
        f"/callback/{CORP}/",
        f"/callback/{CORP}/other",
        "/callback/ww3",
        "/callback/ww3/contacts",
        f"/callback/{CORP}/contacts/",
        f"/callback/{CORP}/contacts/x",
        f"/callback//{CORP}/contacts",
        f"/callback/{CORP}%2Fcontacts",
        "/callback/%ff%fe/contacts",
        "/callback/%00",
        "/callback/%zz",
        "/callback/%E5%AE%A2",
        "/favicon.ico",
        f"//callback/{CORP}",
        f"/x/../callback/{CORP}x",
    ],
)
@on_uvloop
async def test_nothing_is_at_any_other_address(path: str, tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        for request in (GOOD.request(path), get(path, QUERY), post(path, "", b"")):
            answer = await ask(service, request)
            assert answer is not None
            assert (answer.status, answer.body) == (404, b"")
        assert service.kept == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "HEAD"])
@on_uvloop
async def test_other_methods_are_refused(method: str, tmp_path: Path) -> None:
    async with ingest(tmp_path) as service, Socket(service) as socket:
        socket.send(GOOD.request().replace(b"POST", method.encode(), 1))
        head = await socket.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert await socket.ends() == b""
        assert service.kept == 0
        assert service.outcomes() == {"accepted": 0, "method": 1}


@pytest.mark.parametrize(
    "request_line",
    [b"OPTIONS * HTTP/1.1", b"CONNECT example.com:443 HTTP/1.1", b"GET http://example.com/x HTTP/1.1"],
)
@on_uvloop
async def test_other_forms_of_a_target_get_an_empty_answer_too(request_line: bytes, tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        answer = await ask(service, request_line + b"\r\nHost: x\r\n\r\n")
        assert answer is not None
        assert (answer.status, answer.body) == (404, b"")


@on_uvloop
async def test_an_expectation_is_met_or_refused_without_words(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        refused = await ask(service, GOOD.request(PATH, "Expect: canary"))
        assert refused is not None
        assert (refused.status, refused.body) == (417, b"")
        async with Socket(service) as socket:
            socket.send(GOOD.request(PATH, "Expect: 100-continue"))
            assert (await socket.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            answer = await socket.answer()
            assert answer is not None
            assert answer.status == 200


@on_uvloop
async def test_a_body_up_to_the_cap_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        room = LARGEST_BODY - len(GOOD.body)
        fits = await ask(service, post(PATH, QUERY, GOOD.body + b" " * room))
        announced = await ask(service, post(PATH, QUERY, GOOD.body + b" " * (room + 1)))
        chunks = b"%x\r\n%s\r\n" % (len(GOOD.body), GOOD.body) + b"%x\r\n%s\r\n" % (room + 1, b" " * (room + 1))
        head = post(PATH, QUERY, b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
        chunked = await ask(service, head + chunks + b"0\r\n\r\n")
        assert [answer.status for answer in (fits, announced, chunked) if answer is not None] == [200, 413, 413]
        assert announced == chunked
        assert announced is not None
        assert announced.body == b""
        assert service.kept == 1
        assert service.outcomes() == {"accepted": 1, "too_large": 2}


@on_uvloop
async def test_a_large_body_is_refused_before_it_comes(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service, Socket(service) as socket:
        socket.send(post(PATH, QUERY, b"", "X: y").replace(b"Content-Length: 0", b"Content-Length: 1000000000"))
        answer = await socket.answer()
        assert answer is not None
        assert (answer.status, answer.body, answer.closes) == (413, b"", True)


@on_uvloop
async def test_a_body_of_chunks_without_end_is_refused_and_ended(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service, Socket(service) as socket:
        socket.send(post(PATH, QUERY, b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b""))
        chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        with pytest.raises(ConnectionError):  # noqa: PT012
            async with asyncio.timeout(5):
                while True:
                    socket.send(chunk)
                    await socket.writer.drain()
        assert service.outcomes() == {"accepted": 0, "too_large": 1}
        assert service.kept == 0
