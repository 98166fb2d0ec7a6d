"""What is not HTTP, or not quite: refused without words, without a line in the log, without harm to anybody else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from tests.support.callbacks import (
    CORP,
    Answer,
    Socket,
    encoded,
    get,
    ingest,
    on_both_loops,
    on_uvloop,
    post,
    sealed,
    status,
)
from tests.support.logging import captured
from tests.support.waiting import until

PATH = f"/callback/{CORP}/contacts"
DELIVERY = sealed()
QUERY = encoded(DELIVERY.query)
GOOD = DELIVERY.request()


def raw(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def delivery(*headers: str, body: bytes = DELIVERY.body) -> bytes:
    """A delivery with these headers in place of its length."""
    return raw(f"POST {PATH}?{QUERY} HTTP/1.1", "Host: x", *headers, body=body)


LENGTH = f"Content-Length: {len(DELIVERY.body)}"
CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(DELIVERY.body), DELIVERY.body)
CORPUS = {
    "empty lines": b"\r\n\r\n\r\n\r\n",
    "a word": b"hello\r\n\r\n",
    "no version": raw(f"GET {PATH}", "Host: x"),
    "HTTP/0.9": raw(f"GET {PATH} HTTP/0.9", "Host: x"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": raw(f"POST {PATH}?{QUERY} HTTP/9.9", "Host: x", LENGTH, body=DELIVERY.body),
    "no host": raw(f"POST {PATH}?{QUERY} HTTP/1.1", LENGTH, body=DELIVERY.body),
    "lower case method": GOOD.replace(b"POST", b"post", 1),
    "unknown method": GOOD.replace(b"POST", b"BREW", 1),
    "blank in the target": raw(f"GET {PATH}?{QUERY} x HTTP/1.1", "Host: x"),
    "tab in the target": raw(f"GET {PATH}?a\tb HTTP/1.1", "Host: x"),
    "bytes in the target": f"GET /callback/客户?{QUERY} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "bytes in the query": b"GET " + PATH.encode() + b"?echostr=\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "broken encoding in the target": raw("GET /callback/%ZZ/%f0%28%8c%28?a=%zz HTTP/1.1", "Host: x"),
    "surrogates in the target": raw("GET /callback/%ed%a0%80 HTTP/1.1", "Host: x"),
    "brackets in the target": raw("GET http://[::1 HTTP/1.1", "Host: x"),
    "bad port in the target": raw("GET http://x:99999/ HTTP/1.1", "Host: x"),
    "bad host": raw(f"GET {PATH}?{QUERY} HTTP/1.1", "Host: [::1:80"),
    "long line": raw("GET /" + "a" * 9000 + " HTTP/1.1", "Host: x"),
    "long query": get(PATH, "x=" + "a" * 9000),
    "long header": get(PATH, QUERY, "X: " + "a" * 9000),
    "long header name": get(PATH, QUERY, "X" * 9000 + ": a"),
    "endless header": get(PATH, QUERY, "X: " + "a" * 500_000),
    "many headers": get(PATH, QUERY, *(f"X{number}: a" for number in range(1000))),
    "header without a colon": get(PATH, QUERY, "nonsense"),
    "header without a name": get(PATH, QUERY, ": a"),
    "blank before the colon": get(PATH, QUERY, "X : a"),
    "folded header": get(PATH, QUERY, "X: a\r\n b"),
    "NUL in a header": get(PATH, QUERY, "X: a\0b"),
    "two hosts": get(PATH, QUERY, "Host: y"),
    "bare CR in a header": get(PATH, QUERY, "X: a\rX-Y: b"),
    "bare CR as line end": GOOD.replace(b"\r\n", b"\r"),
    "bare LF as line end": GOOD.replace(b"\r\n", b"\n"),
    "length and chunks": delivery(LENGTH, CHUNKED, body=CHUNKS),
    "chunks and length": delivery(CHUNKED, LENGTH, body=CHUNKS),
    "two lengths": delivery(LENGTH, LENGTH),
    "two different lengths": delivery(LENGTH, "Content-Length: 0"),
    "listed lengths": delivery(LENGTH + f", {len(DELIVERY.body)}"),
    "signed length": delivery(LENGTH.replace(": ", ": +")),
    "negative length": delivery("Content-Length: -1"),
    "hex length": delivery("Content-Length: 0x10"),
    "length with an underscore": delivery("Content-Length: 1_0"),
    "length beyond 64 bits": delivery("Content-Length: 99999999999999999999"),
    "unknown transfer encoding": delivery("Transfer-Encoding: x"),
    "chunked twice": delivery("Transfer-Encoding: chunked, chunked", body=CHUNKS),
    "chunked not last": delivery("Transfer-Encoding: chunked, gzip", body=CHUNKS),
    "chunked in other letters": delivery("Transfer-Encoding: xchunked", body=CHUNKS),
    "chunked with a tab": delivery("Transfer-Encoding:\x0bchunked", body=CHUNKS),
    "bad chunk size": delivery(CHUNKED, body=b"zz\r\nabc\r\n0\r\n\r\n"),
    "negative chunk size": delivery(CHUNKED, body=b"-1\r\nabc\r\n0\r\n\r\n"),
    "huge chunk size": delivery(CHUNKED, body=b"f" * 17 + b"\r\nabc\r\n0\r\n\r\n"),
    "chunk longer than it said": delivery(CHUNKED, body=b"1\r\nabc\r\n0\r\n\r\n"),
    "chunk line ends": delivery(CHUNKED, body=CHUNKS.replace(b"\r\n", b"\n")),
    "chunk extension": delivery(CHUNKED, body=b"1;" + b"x" * 20_000 + b"\r\na\r\n0\r\n\r\n"),
    "upgrade": get(PATH, QUERY, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13") + b"\x81\x00",
    "upgrade to HTTP/2": get(PATH, QUERY, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: A"),
    "old websocket": get(PATH, QUERY, "Sec-WebSocket-Key1: a"),
    "CONNECT": raw(f"CONNECT {PATH} HTTP/1.1", "Host: x"),
    "CONNECT and more": raw("CONNECT x:1 HTTP/1.1", "Host: x", body=b"x" * 1000),
    "TLS": bytes.fromhex("16030100c8010000c40303") + random.Random(1).randbytes(190),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SMB": bytes.fromhex("00000045ff534d4272000000000801c8") + bytes(53),
    "noise": random.Random(2).randbytes(20_000),
    "NULs": bytes(20_000),
    "noise behind a head": post(PATH, QUERY, random.Random(3).randbytes(500)),
    "noise behind a request": get(PATH, QUERY) + random.Random(4).randbytes(500),
    "noise behind a delivery": post(PATH, "", b"x") + random.Random(5).randbytes(500),
}


@pytest.fixture
def logged() -> Iterator[StringIO]:
    with captured("INFO") as stream:
        yield stream


def answers_in(said: bytes) -> list[Answer]:
    """Every answer, held against the lengths that they claim."""
    found = []
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0"))
        found.append(Answer(int(first.split(" ")[1]), (), rest[:length]))
        assert first.startswith("HTTP/")
        said = rest[length:]
    return found


@pytest.mark.parametrize("case", CORPUS)
@on_uvloop
async def test_nothing_malformed_gets_more_than_a_refusal(case: str, logged: StringIO, tmp_path: Path) -> None:
    async with ingest(tmp_path, receive_seconds=0.3) as service:
        async with Socket(service) as socket:
            socket.send(CORPUS[case])
            answers = answers_in(await socket.ends())
        assert all(400 <= answer.status < 500 for answer in answers)
        assert {answer.body for answer in answers} <= {b""}
        assert service.kept == 0
        assert await status(service, GOOD) == 200
    assert logged.getvalue() == ""


@on_both_loops
async def test_thousands_of_bad_requests_leave_no_line_and_no_trace(logged: StringIO, tmp_path: Path) -> None:
    rng = random.Random(9)
    cases = list(CORPUS.values())
    requests = [cases[number % len(cases)] for number in range(1000)]
    # And good ones with some bytes replaced, which are malformed at all levels.
    for _ in range(1000):
        bad = bytearray(GOOD)
        for _ in range(rng.choice([1, 3, 30])):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        requests.append(bytes(bad))
    async with ingest(tmp_path, receive_seconds=1) as service:
        before = asyncio.all_tasks()
        gate = asyncio.Semaphore(50)
        statuses: set[int] = set()

        async def attack(request: bytes) -> None:
            async with gate, Socket(service) as socket:
                socket.send(request)
                socket.writer.write_eof()
                for answer in answers_in(await socket.ends()):
                    statuses.add(answer.status)
                    assert answer.body == b""

        await asyncio.gather(*map(attack, requests))
        assert statuses <= {200, 400, 403, 404, 405, 413, 417}
        assert service.kept == service.outcomes()["accepted"]
        assert "failed" not in service.outcomes()
        assert await status(service, GOOD) == 200
        await until(lambda: asyncio.all_tasks() == before)
    assert logged.getvalue() == ""
