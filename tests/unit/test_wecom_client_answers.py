"""Every way in which an answer can be no answer, and what may stand in one, against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.api_server import (
    API,
    SECRET,
    TOKEN,
    ApiServer,
    Clock,
    NoStore,
    api_server,
    ask,
    client_of,
    gathered,
    json_answer,
    raw_answer,
    refused,
)
from wecom import client as client_module
from wecom.client import WeComClient
from wecom.errors import ApiError, CorpPaused, CustomerNotVisible, RequestRefused, Retry
from wecom.tokens import Secret, StoreUnavailable

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as running:
        running.answers[API] = json_answer({"errcode": 0, "errmsg": "ok", "fine": True})
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def client(server: ApiServer, clock: Clock) -> AsyncIterator[WeComClient]:
    async with client_of(server, clock=clock) as made:
        yield made


async def closed(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def cut_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"errcode": 0, ')
    assert request.transport is not None
    request.transport.close()
    return response


async def elsewhere(request: web.Request) -> web.StreamResponse:
    return web.json_response({"errcode": 0}, status=302, headers={"Location": "/cgi-bin/elsewhere"})


HTML = b"<html><body>Bad gateway</body></html>"

NO_ANSWER: dict[str, tuple[Any, type[ApiError]]] = {
    "HTML": (raw_answer(HTML), Retry),
    "HTML and 502": (raw_answer(HTML, 502), Retry),
    "HTML and 403": (raw_answer(HTML, 403), Retry),
    "nothing": (raw_answer(b""), Retry),
    "204": (raw_answer(b"", 204), Retry),
    "cut JSON": (raw_answer(b'{"errcode": 0, "external_con'), Retry),
    "no UTF-8": (raw_answer(b'{"errcode": 0, "name": "\xff\xfe"}'), Retry),
    "a list": (raw_answer(b"[]"), Retry),
    "null": (raw_answer(b"null"), Retry),
    "a text": (raw_answer(b'"ok"'), Retry),
    "a number": (raw_answer(b"0"), Retry),
    "a long number": (raw_answer(b'{"errcode": ' + b"1" * 5000 + b"}"), Retry),
    "nested without end": (raw_answer(b"[" * 200_000), Retry),
    "nested objects without end": (raw_answer(b'{"\\ud800":' * 200_000), Retry),
    "errcode null": (raw_answer(b'{"errcode": null}'), Retry),
    "errcode a list": (raw_answer(b'{"errcode": []}'), Retry),
    "errcode a fraction": (raw_answer(b'{"errcode": 0.5}'), Retry),
    "errcode of words": (raw_answer(b'{"errcode": "bad"}'), Retry),
    "errcode of two signs": (raw_answer(b'{"errcode": "--5"}'), Retry),
    "errcode of no digits": (raw_answer(b'{"errcode": ""}'), Retry),
    "errcode a long text": (raw_answer(b'{"errcode": "' + b"1" * 5000 + b'"}'), Retry),
    "errcode as text": (raw_answer(b'{"errcode": "40096"}'), CustomerNotVisible),
    "errcode as text, system busy": (raw_answer(b'{"errcode": "-1"}'), Retry),
    "errcode and 500": (raw_answer(b'{"errcode": 40096}', 500), CustomerNotVisible),
    "unknown errcode": (raw_answer(b'{"errcode": 123456, "errmsg": ["x"]}'), RequestRefused),
    "trusted IP": (raw_answer(b'{"errcode": 60020, "errmsg": "not allow to access from your ip"}'), CorpPaused),
    "500": (json_answer({"errcode": 0}, 500), Retry),
    "503 without errcode": (json_answer({}, 503), Retry),
    "400": (json_answer({}, 400), RequestRefused),
    "404": (json_answer({"errcode": 0}, 404), RequestRefused),
    "408": (json_answer({}, 408), Retry),
    "429": (json_answer({}, 429), Retry),
    "redirect": (elsewhere, Retry),
    "redirect to HTML": (raw_answer(HTML, 301, Location="/cgi-bin/elsewhere"), Retry),
    "no gzip": (raw_answer(b"no gzip", Content_Encoding="gzip"), Retry),
    "closed": (closed, Retry),
    "cut off": (cut_off, Retry),
}

# aiohttp itself sends a GET a second time when the connection ends without an answer: a kept one may have gone stale.
ONCE = {"closed": 2}


@pytest.mark.parametrize("case", NO_ANSWER)
async def test_what_is_no_answer_has_its_class_and_shows_nothing(
    server: ApiServer, client: WeComClient, case: str
) -> None:
    answer, kind = NO_ANSWER[case]
    server.answers[API] = answer
    error = await refused(client)
    assert type(error) is kind
    assert error.api == API
    assert len(server.asked(API)) == ONCE.get(case, 1), "asked again by whoever waits, not here"
    assert not server.asked("elsewhere")


@pytest.mark.parametrize("case", NO_ANSWER)
async def test_a_gettoken_without_answer_is_not_asked_by_everybody_in_turn(
    server: ApiServer, client: WeComClient, clock: Clock, case: str
) -> None:
    server.answers["gettoken"], _ = NO_ANSWER[case]
    results = await gathered(*(refused(client) for _ in range(10)))
    assert {type(error) for error in results} <= {Retry, CorpPaused}
    assert {error.api for error in results} == {"gettoken"}
    assert len(server.asked("gettoken")) == ONCE.get(case, 1)
    assert not server.asked(API)
    del server.answers["gettoken"]
    clock.now += 601
    await ask(client)


@pytest.mark.parametrize("body", [b'{"errcode": 0}', b"{}", b'{"errcode": "0"}', b'\xef\xbb\xbf{"errcode": 0}'])
async def test_what_is_an_answer(server: ApiServer, client: WeComClient, body: bytes) -> None:
    server.answers[API] = raw_answer(body)
    assert isinstance(await ask(client), dict)


@pytest.mark.parametrize("depth", range(100, 1000, 50))
async def test_no_depth_is_too_deep_to_be_cleaned(server: ApiServer, client: WeComClient, depth: int) -> None:
    # How deep Python reads and walks differs; beyond it there is no answer, and never another error.
    server.answers[API] = raw_answer(b'{"x": ' + b"[" * depth + b'"\\ud83d"' + b"]" * depth + b"}")
    try:
        await ask(client)
    except Retry:
        assert depth > 300


async def test_no_answer_in_time(server: ApiServer) -> None:
    gate = asyncio.Event()

    async def never(_request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    server.answers[API] = never
    async with client_of(server, total_seconds=0.3) as client:
        error = await refused(client)
    assert type(error) is Retry
    gate.set()


async def test_no_end_of_the_answer_in_time(server: ApiServer) -> None:
    gate = asyncio.Event()

    async def drips(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"errcode": 0, ')
        await gate.wait()
        return response

    server.answers[API] = drips
    async with client_of(server, total_seconds=0.3) as client:
        error = await refused(client)
    assert type(error) is Retry
    gate.set()


async def test_nobody_listening(server: ApiServer, unused_tcp_port: int) -> None:
    async with client_of(server, base_url=f"http://127.0.0.1:{unused_tcp_port}") as client:
        error = await refused(client)
    assert type(error) is Retry


async def test_a_proxy_that_is_away_shows_nothing_of_itself(server: ApiServer, unused_tcp_port: int) -> None:
    async with client_of(server, proxy=f"http://user:S3cret@127.0.0.1:{unused_tcp_port}") as client:
        assert type(await refused(client)) is Retry


async def test_through_a_proxy(server: ApiServer) -> None:
    async with client_of(server, base_url="http://platform.invalid", proxy=server.url) as client:
        assert (await ask(client))["fine"]


async def test_an_answer_without_end_is_not_read_to_the_end(
    server: ApiServer, client: WeComClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 100_000)
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while written < 500_000_000:
                await response.write(b" " * 100_000)
                written += 100_000
        except ConnectionError:
            pass
        return response

    server.answers[API] = endless
    assert type(await refused(client)) is Retry
    assert written < 100_000_000
    server.answers[API] = raw_answer(b'{"errcode": 0}' + b" " * 90_000)
    await ask(client)


@pytest.mark.parametrize("before", [0, 280, 290, 295, 299])
async def test_what_we_sent_is_cut_out_of_the_platforms_words(
    server: ApiServer, client: WeComClient, before: int
) -> None:
    words = "x" * before + f"{TOKEN}ww1-1 and {SECRET.value}, hint: [1576065934_28], from ip: 9.30.0.138"
    server.answers[API] = json_answer({"errcode": 60020, "errmsg": words})
    error = await refused(client)
    assert len(error.detail) <= 300
    if not before:
        assert error.detail == "*** and ***, hint: [1576065934_28], from ip: 9.30.0.138"


@pytest.mark.parametrize(
    ("raw", "lifetime"),
    [
        *(("7200", 7200), ("600.5", 600.5), ("0", 30), ("-5", 30), ("1e999", 86_400), ("1" + "0" * 400, 86_400)),
        *(("NaN", 30), ('"7200"', 7200), ("null", 7200), ("[]", 7200)),
    ],
)
async def test_a_token_lives_as_long_as_it_can_be_believed(server: ApiServer, raw: str, lifetime: float) -> None:
    saved: list[float] = []

    class Saving(NoStore):
        async def save(self, secret: Secret, kind: str, value: str, lifetime: float) -> None:
            saved.append(lifetime)
            raise StoreUnavailable

    async def answer(request: web.Request) -> web.StreamResponse:
        server.new_token(request)
        token = next(iter(server.tokens))
        return web.Response(text=f'{{"errcode": 0, "access_token": {json.dumps(token)}, "expires_in": {raw}}}')

    server.answers["gettoken"] = answer
    async with client_of(server, store=Saving()) as client:
        await ask(client)
    assert saved == [lifetime]


@pytest.mark.parametrize("token", [None, "", 5, ["x"], {}])
async def test_an_answer_without_a_token_is_none(server: ApiServer, client: WeComClient, token: Any) -> None:
    server.answers["gettoken"] = json_answer({"errcode": 0, "access_token": token, "expires_in": 7200})
    assert type(await refused(client)) is Retry
    assert not server.asked(API)


TEXTS = {
    b'{"a": "x\\u0000y", "b": ["\\u0000"], "\\u0000c": {"d": "\\u0000"}}': {"a": "xy", "b": [""], "c": {"d": ""}},
    b'{"a": "x\\ud800y", "b": "\\udc00", "c": "\\uD83D"}': {"a": "xy", "b": "", "c": ""},
    b'{"a": "x\xed\xa0\x80y"}': {"a": "xy"},  # three bytes that json takes for half of a pair
    b'{"a": "\xed\xa0\xbd\xed\xb8\x80"}': {"a": ""},
    b'{"a": "\\ud83d\\ude00\\u0000", "b": "\xf0\x9f\x98\x80"}': {"a": "😀", "b": "😀"},
    '{"a": "张三😀\U0001f468‍👩"}'.encode(): {"a": "张三😀\U0001f468‍👩"},
    b'{"a": "\\\\u0000 \\\\ud800"}': {"a": "\\u0000 \\ud800"},
    '{"a": "x"}'.encode("utf-16"): {"a": "x"},
    '{"a": "\\u0000\ud83d"}'.encode("utf-16", "surrogatepass"): {"a": ""},
}


@pytest.mark.parametrize("body", TEXTS)
async def test_texts_can_be_stored_everywhere(server: ApiServer, client: WeComClient, body: bytes) -> None:
    server.answers[API] = raw_answer(body)
    answer = await ask(client)
    assert answer == TEXTS[body]
    json.dumps(answer, ensure_ascii=False).encode()
