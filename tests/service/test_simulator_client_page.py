"""The simulator's client page without a browser: what the bridge checks, and what the proxy passes on."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.simulators import AGENTID, Clock, tiny_world
from wecom.jssdk import signature
from wecom.simulator.client_proxy import with_shim
from wecom.simulator.server import Simulator
from wecom.simulator.tickets import AGENT, CONFIG

pytestmark = pytest.mark.asyncio

URL = "http://127.0.0.1:8080/sidebar/ww1/1000002?a=%E5%BC%A0"
SHIM = b'<head><script src="/simulator/client/shim.js"></script>'


@pytest_asyncio.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(tiny_world(Clock())) as running:
        yield running


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session:
        yield session


async def verify(simulator: Simulator, http: aiohttp.ClientSession, ticket: str, **changed: Any) -> int:
    """The errcode that the bridge is told; 0 when it may go on."""
    asked = {"kind": AGENT, "corpid": "ww1", "agentid": str(AGENTID), "url": URL, "nonceStr": "n", "timestamp": "17"}
    asked |= {"signature": signature(ticket, "n", 17, URL)} | changed
    async with http.post(f"{simulator.url}/simulator/client/verify", json=asked) as answer:
        told = await answer.json()
        assert answer.status == 200
        assert ticket not in str(told)
        assert bool(told["refused"]) == bool(told.get("errcode"))
        return int(told.get("errcode", 0))


def ticket(simulator: Simulator, corpid: str = "ww1", kind: str = AGENT, agentid: int = AGENTID) -> str:
    return simulator.tickets.issue(corpid, kind, agentid)[0]


async def test_a_signature_for_the_pages_own_address_is_right(
    simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    assert await verify(simulator, http, ticket(simulator)) == 0
    assert await verify(simulator, http, ticket(simulator, kind=CONFIG), kind=CONFIG, agentid=None) == 0


async def test_every_other_ticket_is_refused(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    own = ticket(simulator)
    for other in (
        ticket(simulator, kind=CONFIG),
        ticket(simulator, "ww2"),
        ticket(simulator, agentid=1000003),
        "made up",
    ):
        assert await verify(simulator, http, other) == 40093
    assert await verify(simulator, http, own, kind=CONFIG) == 40093
    simulator.tickets.revoke_all()
    assert await verify(simulator, http, own) == 40093


async def test_mistakes_that_pages_make_are_refused(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    own = ticket(simulator)
    # Encoded once more, decoded once more, with what follows the #, another path.
    for wrong in (quote(URL), URL.replace("%E5%BC%A0", "张"), f"{URL}#x", URL.replace("sidebar", "sidebar/")):
        assert await verify(simulator, http, own, signature=signature(own, "n", 17, wrong)) == 40093
    milliseconds = 1_700_000_000_000
    assert (
        await verify(
            *(simulator, http, own),
            timestamp=str(milliseconds),
            signature=signature(own, "n", milliseconds, URL),
        )
        == 40093
    )
    assert await verify(simulator, http, own, nonceStr="N") == 40093
    assert await verify(simulator, http, own, signature=signature(own, "n", 17, URL).upper()) == 40093


async def test_corp_app_and_domain_have_codes_of_their_own(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    own = ticket(simulator)
    assert await verify(simulator, http, own, corpid="ww9") == 40013
    assert await verify(simulator, http, own, agentid="7") == 40056
    agent = simulator.world.corp("ww1").agents[0]
    agent.trusted_domain = "example.com"
    assert await verify(simulator, http, own) == 40048
    for host in ("example.com", "crm.example.com"):
        url = f"https://{host}/x"
        assert await verify(simulator, http, own, url=url, signature=signature(own, "n", 17, url)) == 0
    assert await verify(simulator, http, own, url="https://badexample.com/x") == 40048


async def test_foreign_names_and_foreign_pages_get_nothing(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    for path in ("", "/state", "/chats?corpid=ww1&userid=LiSi", "/shim.js"):
        async with http.get(f"{simulator.url}/simulator/client{path}", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403
    form = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    async with http.post(f"{simulator.url}/simulator/client/verify", data="{}", headers=form) as answer:
        assert answer.status == 403


async def test_the_page_and_the_chats_are_told(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.world.add("ww1", "wmA", "ZhangSan", remark="Ann")
    async with http.get(f"{simulator.url}/") as answer:
        assert answer.status == 200
        assert answer.url.path == "/simulator/client"
    async with http.get(f"{simulator.url}/simulator/client/state") as answer:
        state = await answer.json()
        assert [corp["corpid"] for corp in state["corps"]] == ["ww1", "ww2"]
        assert "secret-ww1" not in await answer.text()
    async with http.get(f"{simulator.url}/simulator/client/chats?corpid=ww1&userid=zhangsan") as answer:
        (chat,) = (await answer.json())["chats"]
        assert (chat["external_userid"], chat["remark"], chat["stands"]) == ("wmA", "Ann", True)
    async with http.get(f"{simulator.url}/simulator/client/chats?corpid=ww1&userid=nobody") as answer:
        assert answer.status == 400


async def test_the_bridge_comes_before_everything_else_in_the_head() -> None:
    assert with_shim(b'<html><head><script src="a.js">').startswith(b"<html>" + SHIM + b'<script src="a.js">')
    assert with_shim(b"<p>no head") == b"<p>no head"


@pytest_asyncio.fixture
async def seen(simulator: Simulator) -> AsyncIterator[list[web.Request]]:
    """What a product in the proxy's back was asked."""
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(request)
        await request.read()
        if request.path.endswith("/page"):
            page = gzip.compress(b"<html><head></head></html>")
            response = web.Response(body=page, content_type="text/html", headers={"Content-Encoding": "gzip"})
        elif request.path.endswith("/login"):
            response = web.Response(status=302, headers={"Location": "/elsewhere?a=%2F"})
        else:
            body = gzip.compress(b"<head> in a script")
            response = web.Response(body=body, content_type="text/javascript", headers={"Content-Encoding": "gzip"})
        response.set_cookie("one", "1", httponly=True)
        response.set_cookie("two", "2")
        response.headers["Content-Security-Policy"] = "default-src 'none'"
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    simulator.callback_base_url = "http://127.0.0.1:{1}".format(*runner.addresses[0])
    yield requests
    await runner.cleanup()


async def test_pages_get_the_bridge_and_nothing_else_is_changed(
    simulator: Simulator, http: aiohttp.ClientSession, seen: list[web.Request]
) -> None:
    async with http.get(f"{simulator.url}/sidebar/ww1/page", headers={"Cookie": "session=x"}) as answer:
        assert await answer.read() == b"<html>" + SHIM + b"</head></html>"
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
        assert [cookie.split(";")[0] for cookie in answer.headers.getall("Set-Cookie")] == ["one=1", "two=2"]
    assert seen[0].headers["Cookie"] == "session=x"
    # The product sees the host that the browser named: it is its own public one.
    assert seen[0].host == simulator.url.removeprefix("http://")
    async with http.get(f"{simulator.url}/sidebar/static/x.js") as answer:
        assert gzip.decompress(await answer.read()) == b"<head> in a script"


async def test_redirects_and_paths_pass_as_they_are(
    simulator: Simulator, http: aiohttp.ClientSession, seen: list[web.Request]
) -> None:
    path = "/sidebar/a%2Fb/login?return=%2Fx%3Fy&code=%E5"
    async with http.get(f"{simulator.url}{path}", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/elsewhere?a=%2F")
    async with http.post(f"{simulator.url}/sidebar/ww1/api/x", data=b"body") as answer:
        assert answer.status == 200
    async with http.get(f"{simulator.url}/WW_verify_AbC.txt") as answer:
        assert answer.status == 200
    assert [request.path for request in seen[1:]] == ["/sidebar/ww1/api/x", "/WW_verify_AbC.txt"]
    assert await seen[1].read() == b"body"


async def test_a_product_that_is_away_is_said(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{simulator.url}/sidebar/ww1/1") as answer:
        assert answer.status == 502
    simulator.callback_base_url = "http://127.0.0.1:9"
    async with http.get(f"{simulator.url}/sidebar/ww1/1") as answer:
        assert answer.status == 502
        assert "does not answer" in await answer.text()
