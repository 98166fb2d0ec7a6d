"""A server on loopback that answers like the platform's API, or as wrongly as a test asks for."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from wecom.client import WeComClient
from wecom.errors import ApiError
from wecom.tokens import Secret, Stored, StoreUnavailable, TokenStore

SECRET = Secret("ww1", "agent:1000002", "S3cret+of/ww1=")
OTHER = Secret("ww2", "agent:1000002", "S3cret+of/ww2=")
API = "externalcontact/get"
TOKEN = "T0ken+/=&"
"""How every token begins; with signs that an address has to escape."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_answer(content: dict[str, Any], status: int = 200) -> Answer:
    """The same JSON to everybody."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(content, status=status)

    return answer


def raw_answer(body: bytes, status: int = 200, **headers: str) -> Answer:
    """The same bytes to everybody; ``headers`` with underscores for hyphens."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, status=status, headers={"Content-Type": "application/json"} | names)

    return answer


@dataclass
class Call:
    """A request as it came."""

    method: str
    api: str
    query: dict[str, str]
    body: bytes
    headers: str


@dataclass
class ApiServer:
    """``answers`` by API path; gettoken (unless it is among them) and the check of tokens as the platform does them."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    """Token that is valid, to its corp."""
    in_flight: int = 0
    most_in_flight: int = 0
    entered: int = 0
    handle_hook: Answer | None = None
    """Stands in front of everything else; calls ``handle`` when it has done its part."""

    def asked(self, api: str) -> list[Call]:
        """The requests for this path."""
        return [call for call in self.calls if call.api == api]

    def revoke(self) -> None:
        """No token that was given so far is valid any more."""
        self.tokens.clear()

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Every request comes in here."""
        self.entered += 1
        return await (self.handle_hook or self.handle)(request)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The answer to a request, whose token is checked first."""
        api = request.path.removeprefix("/cgi-bin/")
        self.calls.append(Call(request.method, api, dict(request.query), await request.read(), str(request.headers)))
        if api in self.answers and api == "gettoken":
            return await self.answers[api](request)
        if api == "gettoken":
            return self.new_token(request)
        if request.query.get("access_token") not in self.tokens:
            return web.json_response({"errcode": 40014, "errmsg": "invalid access_token"})
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.answers[api](request)
        finally:
            self.in_flight -= 1

    def new_token(self, request: web.Request, **more: Any) -> web.Response:
        """A token for a right secret, 40001 for a wrong one."""
        corpid = request.query["corpid"]
        if request.query["corpsecret"] not in {secret.value for secret in (SECRET, OTHER) if secret.corpid == corpid}:
            return web.json_response({"errcode": 40001, "errmsg": "invalid credential"})
        token = f"{TOKEN}{corpid}-{len(self.asked('gettoken'))}"
        self.tokens[token] = corpid
        return web.json_response({"errcode": 0, "access_token": token, "expires_in": 7200} | more)


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiServer]:
    """A server that is listening."""
    server = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.enter)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


@dataclass
class Observed:
    """The client's observer: what it was told."""

    calls: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: list[tuple[str, str, str]] = field(default_factory=list)

    def api_called(self, corpid: str, api: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append((corpid, api, outcome))

    def token_asked(self, corpid: str, kind: str, outcome: str) -> None:
        self.tokens.append((corpid, kind, outcome))


class NoStore:
    """A token store that can never be reached."""

    async def load(self, secret: Secret, kind: str) -> Stored | None:
        raise StoreUnavailable

    async def lease(self, secret: Secret, kind: str, seconds: float) -> bool:
        raise StoreUnavailable

    async def save(self, secret: Secret, kind: str, value: str, lifetime: float) -> None:
        raise StoreUnavailable

    async def refuse(self, secret: Secret, kind: str, code: int, seconds: float) -> None:
        raise StoreUnavailable

    async def release(self, secret: Secret, kind: str) -> None:
        raise StoreUnavailable


def client_of(
    server: ApiServer, store: TokenStore | None = None, observer: Observed | None = None, **more: Any
) -> WeComClient:
    """A client of this server that knows both secrets."""
    return WeComClient(
        base_url=more.pop("base_url", server.url),
        secrets={(secret.corpid, secret.name): secret for secret in (SECRET, OTHER)},
        store=store or NoStore(),
        observer=observer or Observed(),
        **more,
    )


def assert_nothing_shown(error: BaseException) -> None:
    """Neither the message nor what a traceback would print of the error has a token or a secret in it."""
    texts = [str(error), repr(error), str(error.args), str(vars(error)), *traceback.format_exception(error)]
    cause: BaseException | None = error
    while cause is not None:
        texts += [str(cause), repr(cause)]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    for text in texts:
        for private in (TOKEN, "T0ken", "S3cret", "access_token="):
            assert private not in text, text


async def gathered(*work: Awaitable[Any]) -> list[Any]:
    """All of them at once, in a bounded time."""
    async with asyncio.timeout(20):
        return list(await asyncio.gather(*work))


class Clock:
    """Seconds that a test moves; ``step`` is how much each look at it takes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


async def ask(client: WeComClient, secret: Secret = SECRET, api: str = API, **more: Any) -> dict[str, Any]:
    """One call with this secret."""
    return await client.call(secret.corpid, secret.name, api, **more)


async def refused(client: WeComClient, secret: Secret = SECRET, api: str = API) -> ApiError:
    """The error of a call that must fail, with nothing private in it."""
    with pytest.raises(ApiError) as raised:
        await ask(client, secret, api)
    assert_nothing_shown(raised.value)
    return raised.value
