"""The listener with any application on it: its limits need no help from the handlers, and its faults are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from io import StringIO

import pytest
from aiohttp import web

from tests.support.callbacks import Listener, Socket, ask, listening, on_both_loops, on_uvloop, post, status
from tests.support.logging import captured

SECONDS = 0.3


@pytest.fixture
def logged() -> Iterator[StringIO]:
    with captured("INFO") as stream:
        yield stream


def app_of(handler: object) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
    return app


async def overdue(listener: Listener) -> None:
    """Until a connection that came after everything so far was ended for being overdue."""
    async with Socket(listener) as silent:
        assert await silent.ends() == b""


@pytest.mark.parametrize("reads", [False, True])
@on_both_loops
async def test_a_handler_may_take_its_time_if_the_request_is_there(reads: bool) -> None:
    gate = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        if reads:
            await request.read()
        await gate.wait()
        return web.Response(text="done")

    async with listening(app_of(handler), receive_seconds=SECONDS) as listener, Socket(listener) as socket:
        socket.send(post("/", "", b"xx"))
        await overdue(listener)
        gate.set()
        answer = await socket.answer()
        assert answer is not None
        assert answer.body == b"done"
        # And then it may be idle.
        await overdue(listener)
        socket.send(post("/", "", b"xx"))
        assert await socket.answer() == answer


@pytest.mark.parametrize("reads", [False, True])
@on_both_loops
async def test_a_request_that_is_not_there_is_cut_off_whatever_its_handler_does(reads: bool) -> None:
    ended = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        try:
            await (request.read() if reads else asyncio.wait_for(ended.wait(), 1))
        finally:
            ended.set()
        return web.Response()

    async with listening(app_of(handler), receive_seconds=SECONDS) as listener, Socket(listener) as socket:
        socket.send(post("/", "", b"xx")[:-1])
        assert await socket.ends(3) == b""
        if not reads:
            ended.set()
        await asyncio.wait_for(ended.wait(), 3)


@on_uvloop
async def test_a_handler_s_fault_is_told_without_its_words(logged: StringIO) -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise ValueError("Zhang San")

    async with listening(app_of(handler)) as listener:
        answer = await ask(listener, post("/", "", b""))
        assert answer is not None
        assert (answer.status, answer.body, answer.closes) == (500, b"", True)
    assert "callback.failed error=ValueError" in logged.getvalue()
    assert "Zhang" not in logged.getvalue()


@on_uvloop
async def test_a_fault_after_the_answer_began_ends_the_connection(logged: StringIO) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a part")
        raise ValueError("Zhang San")

    async with listening(app_of(handler)) as listener, Socket(listener) as socket:
        socket.send(post("/", "", b""))
        assert (await socket.ends()).count(b"HTTP/1.1") == 1
    assert logged.getvalue().count("callback.failed error=ValueError") == 1


@on_uvloop
async def test_a_fault_outside_the_handlers_is_told_too(logged: StringIO) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response()

    async def fails(_request: web.Request, _response: web.StreamResponse) -> None:
        raise ValueError("Zhang San")

    app = app_of(handler)
    app.on_response_prepare.append(fails)
    async with listening(app) as listener:
        assert await ask(listener, post("/", "", b"")) is None
    assert logged.getvalue().count("callback.failed error=ValueError") == 1
    assert "Zhang" not in logged.getvalue()


@pytest.mark.parametrize("error", [web.HTTPNotFound, web.HTTPInternalServerError, web.HTTPRequestEntityTooLarge])
@on_uvloop
async def test_errors_that_are_raised_as_answers_lose_their_words(error: type[web.HTTPError]) -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise error(1) if error is web.HTTPRequestEntityTooLarge else error()

    async with listening(app_of(handler)) as listener:
        answer = await ask(listener, post("/", "", b""))
        assert answer is not None
        assert (answer.status, answer.body) == (error.status_code, b"")


@on_uvloop
async def test_a_redirection_is_left_as_it_is() -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/there")

    async with listening(app_of(handler)) as listener:
        answer = await ask(listener, post("/", "", b""))
        assert answer is not None
        assert ("location", "/there") in answer.headers


@pytest.mark.parametrize("error", [web.RequestPayloadError, ConnectionResetError, TimeoutError])
@on_uvloop
async def test_a_body_that_breaks_is_no_fault_of_ours(error: type[Exception], logged: StringIO) -> None:
    """aiohttp says so when it reads what a handler left unread."""

    async def handler(request: web.Request) -> web.Response:
        request.content.set_exception(error("Zhang San"))
        return web.Response()

    async with listening(app_of(handler)) as listener:
        assert await status(listener, post("/", "", b"xx")[:-1]) == 200
    assert logged.getvalue() == ""
