"""The client against a real server: tokens and budgets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.api_server import (
    API,
    OTHER,
    SECRET,
    TOKEN,
    ApiServer,
    Clock,
    Observed,
    api_server,
    ask,
    client_of,
    gathered,
    json_answer,
    refused,
)
from tests.support.waiting import until
from wecom.client import WeComClient
from wecom.errors import CorpPaused, RateLimited, TokenRejected, TooConcurrent
from wecom.tokens import Secret

pytestmark = pytest.mark.asyncio

AT_ONCE_OF_EVENTS = 25
"""Of 32, the share that is asked with unless another is named."""


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


async def test_the_token_is_in_the_query_only(server: ApiServer, client: WeComClient) -> None:
    assert await ask(client, params={"external_userid": "wmA b&c"}) == {"errcode": 0, "errmsg": "ok", "fine": True}
    assert await ask(client, json={"tag_id": []}, params={"debug": "0"})
    (got,), (read, written) = server.asked("gettoken"), server.asked(API)
    token = f"{TOKEN}ww1-1"
    assert (got.method, got.query, got.body) == ("GET", {"corpid": "ww1", "corpsecret": SECRET.value}, b"")
    assert (read.method, read.query, read.body) == ("GET", {"external_userid": "wmA b&c", "access_token": token}, b"")
    assert (written.method, written.query) == ("POST", {"debug": "0", "access_token": token})
    assert json.loads(written.body) == {"tag_id": []}
    assert not [call for call in server.calls if "T0ken" in call.headers or "S3cret" in call.headers]


async def test_each_corp_has_a_token_of_its_own(server: ApiServer, client: WeComClient) -> None:
    await gathered(*(ask(client, secret) for secret in (SECRET, OTHER) for _ in range(10)))
    assert len(server.asked("gettoken")) == 2
    assert {call.query["access_token"] for call in server.asked(API)} == {f"{TOKEN}ww1-1", f"{TOKEN}ww2-2"}


async def test_many_at_once_cause_one_gettoken(server: ApiServer, client: WeComClient) -> None:
    await gathered(*(ask(client) for _ in range(50)))
    assert (len(server.asked("gettoken")), len(server.asked(API))) == (1, 50)


@pytest.mark.parametrize("code", [40014, 42001])
async def test_a_dead_token_is_renewed_and_the_call_repeated_once(
    server: ApiServer, client: WeComClient, code: int
) -> None:
    seen: list[str] = []

    async def dies_early(request: web.Request) -> web.StreamResponse:
        seen.append(request.query["access_token"])
        if seen.count(seen[0]) == len(seen):
            return web.json_response({"errcode": code, "errmsg": "access_token expired"})
        return web.json_response({"errcode": 0, "body": (await request.read()).decode()})

    server.answers[API] = dies_early
    answer = await ask(client, json={"x": 1})
    assert json.loads(answer["body"]) == {"x": 1}
    assert seen == [f"{TOKEN}ww1-1", f"{TOKEN}ww1-2"]
    await ask(client)
    assert len(server.asked("gettoken")) == 2


@pytest.mark.parametrize("code", [40014, 42001])
async def test_it_is_never_repeated_twice(server: ApiServer, client: WeComClient, clock: Clock, code: int) -> None:
    server.answers[API] = json_answer({"errcode": code, "errmsg": "invalid access_token"})
    error = await refused(client)
    assert type(error) is TokenRejected
    assert error.errcode == code
    assert (len(server.asked(API)), len(server.asked("gettoken"))) == (2, 2)
    # And the next caller does not begin the same again at once.
    assert type(await refused(client)) is TokenRejected
    assert (len(server.asked(API)), len(server.asked("gettoken"))) == (3, 2)
    clock.now += 1.1
    server.answers[API] = json_answer({"errcode": 0})
    await ask(client)


async def test_many_with_the_same_dead_token_cause_one_gettoken(server: ApiServer, client: WeComClient) -> None:
    await ask(client)
    server.revoke()
    dead = f"{TOKEN}ww1-1"
    waiting, all_here = 0, asyncio.Event()
    plain = server.handle

    async def together(request: web.Request) -> web.StreamResponse:
        # Nobody gets an answer before as many as may ask at once have asked with the dead token.
        nonlocal waiting
        if request.query.get("access_token") == dead:
            waiting += 1
            if waiting == AT_ONCE_OF_EVENTS:
                all_here.set()
            await all_here.wait()
        return await plain(request)

    server.handle_hook = together
    await gathered(*(ask(client) for _ in range(50)))
    assert len(server.asked("gettoken")) == 2
    assert waiting >= AT_ONCE_OF_EVENTS
    assert len(server.asked(API)) == 1 + waiting + 50


async def test_a_late_rejection_of_an_old_token_renews_nothing(server: ApiServer, client: WeComClient) -> None:
    await ask(client)
    slow, plain = asyncio.Event(), server.handle

    async def held(request: web.Request) -> web.StreamResponse:
        if request.query.get("slow") == "1" and request.query["access_token"].endswith("-1"):
            await slow.wait()
        return await plain(request)

    server.handle_hook = held
    late = asyncio.create_task(ask(client, params={"slow": "1"}))
    await until(lambda: server.entered == 3)
    server.revoke()
    await ask(client)
    slow.set()
    await late
    assert len(server.asked("gettoken")) == 2


async def test_45009_blocks_this_path_of_this_corp_only(server: ApiServer, client: WeComClient, clock: Clock) -> None:
    server.answers["tags"] = json_answer({"errcode": 0})
    server.answers[API] = json_answer({"errcode": 45009, "errmsg": "api freq out of limit"})
    error = await refused(client)
    assert isinstance(error, RateLimited)
    assert (error.errcode, error.retry_after) == (45009, 60)
    clock.now += 50
    error = await refused(client)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 10
    assert len(server.asked(API)) == 1, "not asked while blocked"
    await ask(client, api="tags")
    server.answers[API] = json_answer({"errcode": 0})
    await ask(client, OTHER)
    clock.now += 10
    await ask(client)


async def test_45009_again_blocks_for_longer(server: ApiServer, client: WeComClient, clock: Clock) -> None:
    server.answers[API] = json_answer({"errcode": 45009})
    waits = []
    for _ in range(5):
        error = await refused(client)
        assert isinstance(error, RateLimited)
        waits.append(error.retry_after)
        clock.now += error.retry_after
    assert waits == [60, 300, 900, 3600, 3600]


async def test_an_answer_from_before_the_block_does_not_shorten_the_next(
    server: ApiServer, client: WeComClient, clock: Clock
) -> None:
    held = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.query.get("slow"):
            await held.wait()
            return web.json_response({"errcode": 0})
        return web.json_response({"errcode": 45009})

    server.answers[API] = answer
    slow = asyncio.create_task(ask(client, params={"slow": "1"}))
    await until(lambda: server.in_flight == 1)
    await refused(client)
    held.set()
    await slow
    clock.now += 60
    error = await refused(client)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 300


async def test_the_end_of_a_block_is_not_taken_for_another(
    server: ApiServer, client: WeComClient, clock: Clock
) -> None:
    server.answers[API] = json_answer({"errcode": 45009})
    await refused(client)
    server.answers[API] = json_answer({"errcode": 0})
    # It ends while the refusal is on its way out.
    clock.now += 59.9985
    clock.step = 0.001
    await refused(client)
    await ask(client)


async def test_a_block_of_gettoken_is_not_one_of_the_path(server: ApiServer, client: WeComClient, clock: Clock) -> None:
    server.answers["gettoken"] = json_answer({"errcode": 45009, "errmsg": "api freq out of limit"})
    for _ in range(3):
        error = await refused(client)
        assert isinstance(error, RateLimited)
        assert (error.api, error.retry_after) == ("gettoken", 600)
    assert len(server.asked("gettoken")) == 1
    other = await refused(client, OTHER)
    assert isinstance(other, RateLimited)
    del server.answers["gettoken"]
    clock.now += 600
    await ask(client)


@pytest.mark.parametrize(("api", "most"), [(API, 12), ("gettoken", AT_ONCE_OF_EVENTS)])
async def test_45033_halves_what_is_asked_at_once(
    server: ApiServer, client: WeComClient, clock: Clock, api: str, most: int
) -> None:
    good = server.answers[API]
    server.answers[api] = json_answer({"errcode": 45033, "errmsg": "too many concurrent calls"})
    error = await refused(client)
    assert type(error) is TooConcurrent
    assert error.api == api
    server.answers.pop("gettoken", None)
    clock.now += 1.5
    gate = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await good(request)

    server.answers[API] = held
    server.most_in_flight = 0
    callers = [asyncio.create_task(ask(client)) for _ in range(60)]
    await until(lambda: server.in_flight == most)
    gate.set()
    await gathered(*callers)
    assert server.most_in_flight == most


async def test_a_wrong_secret_pauses_its_corp_and_is_asked_once(server: ApiServer, clock: Clock) -> None:
    observer = Observed()
    wrong = Secret("ww1", SECRET.name, "S3cret of nobody")
    async with client_of(server, observer=observer, clock=clock) as client:
        client._secrets = {("ww1", SECRET.name): wrong, ("ww2", OTHER.name): OTHER}
        for _ in range(20):
            error = await refused(client)
            assert isinstance(error, CorpPaused)
            assert (error.api, error.errcode, error.retry_after) == ("gettoken", 40001, 600)
        await gathered(*(refused(client) for _ in range(20)), ask(client, OTHER))
        assert len(server.asked("gettoken")) == 2
    assert observer.tokens == [("ww1", "access_token", "refused"), ("ww2", "access_token", "ok")]


async def test_every_call_is_told_with_what_became_of_it(server: ApiServer) -> None:
    observer = Observed()
    gate = asyncio.Event()

    async def never(_request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    async with client_of(server, observer=observer) as client:
        await ask(client)
        server.answers[API] = json_answer({"errcode": 40096})
        await refused(client)
        server.answers[API] = never
        given_up = asyncio.create_task(ask(client))
        await until(lambda: server.in_flight == 1)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        gate.set()
    assert observer.calls == [
        ("ww1", "gettoken", "ok"),
        ("ww1", API, "ok"),
        ("ww1", API, "CustomerNotVisible"),
        ("ww1", API, "CancelledError"),
    ]


async def test_one_who_gives_up_while_fetching_leaves_the_next_a_way(server: ApiServer, client: WeComClient) -> None:
    gate = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return server.new_token(request)

    server.answers["gettoken"] = held
    first, second = (asyncio.create_task(ask(client)) for _ in range(2))
    await until(lambda: len(server.asked("gettoken")) == 1)
    first.cancel()
    await until(lambda: len(server.asked("gettoken")) == 2)
    gate.set()
    assert (await second)["fine"]
    assert first.cancelled()


async def test_what_is_not_configured_and_what_is_not_open(server: ApiServer, client: WeComClient) -> None:
    with pytest.raises(LookupError, match="agent:9"):
        await client.call("ww1", "agent:9", API)
    with pytest.raises(LookupError):
        await client.call("ww3", SECRET.name, API)
    with pytest.raises(RuntimeError):
        await ask(client_of(server))
    assert not server.calls
