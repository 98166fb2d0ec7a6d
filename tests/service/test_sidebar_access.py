"""Who may do what: every route for every kind of caller, made from the route table.

A route that is added without a line in ``EXPECTED`` fails the first test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import update

from core.db.tables import customer_follow
from sidebar.guard import SESSION_HEADER
from tests.support.sidebar import CRM, OTHER, PUBLIC_URL, Bench, Seen, sidebar_bench
from wecom.simulator.state import Employee

pytestmark = pytest.mark.asyncio

PAGE = "/sidebar/{corpid}/{agentid}"
API = f"{PAGE}/api"
CUSTOMER = f"{API}/customers/{{external_userid}}"

CALLERS = (
    "nobody",
    "junk cookie",
    "ended session",
    "session of another app",
    "session of another corp",
    "no header",
    "junk header",
    "somebody else's header",
    "colleague without the customer",
    "employee who let the customer go",
    "employee whom the customer left",
    "employee who has the customer",
)
_NOT_LOGGED_IN = dict.fromkeys(CALLERS[:5], 401) | {"no header": 400, "junk header": 400, "somebody else's header": 409}
_OF_ANYBODY = dict.fromkeys(CALLERS, 200)

EXPECTED: Mapping[tuple[str, str], Mapping[str, int]] = {
    # The shell has nothing of anybody in it.
    ("GET", PAGE): _OF_ANYBODY,
    ("GET", f"{PAGE}/login"): dict.fromkeys(CALLERS, 302),
    ("GET", f"{PAGE}/callback"): dict.fromkeys(CALLERS, 400),
    ("POST", f"{API}/signature"): _OF_ANYBODY | _NOT_LOGGED_IN,
    ("GET", CUSTOMER): _OF_ANYBODY
    | _NOT_LOGGED_IN
    | {"colleague without the customer": 404, "employee who let the customer go": 404},
    ("POST", f"{CUSTOMER}/refresh"): _OF_ANYBODY
    | _NOT_LOGGED_IN
    | {"colleague without the customer": 404, "employee who let the customer go": 404},
    ("GET", "/sidebar/static/{digest}/{name}"): _OF_ANYBODY,
    ("GET", "/WW_verify_a1.txt"): _OF_ANYBODY,
    ("GET", "/WW_verify_b2.txt"): _OF_ANYBODY,
    ("*", "/sidebar/{rest}"): dict.fromkeys(CALLERS, 404),
}
FILES = {"WW_verify_a1.txt": "a1", "WW_verify_b2.txt": "b2"}
NAMES = ("Anna of", "my own note", "13800000000")


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sidebar_bench(tmp_path, verify_files=FILES) as bench:
        bench.hurry(0.5)
        yield bench


async def caller(bench: Bench, kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """Cookies and headers of such a caller."""
    userid = {
        "colleague without the customer": "wangwu",
        "employee who let the customer go": "LiSi",
        "employee whom the customer left": "Former",
    }.get(kind, "ZhangSan")
    browser = bench.browser(userid=userid)
    if kind == "nobody":
        return {}, {SESSION_HEADER: "0" * 32}
    tab = browser.tab()
    await tab.open()
    header = {SESSION_HEADER: tab.marker}
    (name,) = browser.cookies
    if kind == "junk cookie":
        return {name: "x" * 43}, header
    if kind == "ended session":
        cookies = dict(browser.cookies)
        await browser.get(f"/sidebar/ww1/{CRM}/login")
        return cookies, header
    if kind in {"session of another app", "session of another corp"}:
        other = bench.browser("ww1" if "app" in kind else "ww2")
        there = other.tab("ww1", OTHER) if "app" in kind else other.tab("ww2", CRM)
        await there.open()
        # Under its own name, and under the name that this place looks at.
        (value,) = other.cookies.values()
        return other.cookies | {name: value}, {SESSION_HEADER: there.marker}
    if kind == "somebody else's header":
        other = bench.browser(userid="LiSi")
        there = other.tab()
        await there.open()
        header = {SESSION_HEADER: there.marker}
    return browser.cookies, {"no header": {}, "junk header": {SESSION_HEADER: "x"}}.get(kind, header)


def routes(bench: Bench) -> set[tuple[str, str]]:
    """Method and path of every route."""
    return {(route.method, route.resource.canonical) for route in bench.app.router.routes() if route.resource}


async def test_every_route_has_its_line(bench: Bench) -> None:
    assert routes(bench) == set(EXPECTED)
    assert all(set(line) == set(CALLERS) for line in EXPECTED.values())


async def ask(bench: Bench, method: str, path: str, cookies: dict[str, str], headers: dict[str, str]) -> Seen:
    values = {"corpid": "ww1", "agentid": str(CRM), "external_userid": "wmA", "digest": "0" * 16}
    address = path.format(**values, name="page.js", rest="ww1")
    more: dict[str, Any] = {}
    if path.endswith("signature"):
        more["json"] = {"kind": "agent", "url": f"{PUBLIC_URL}/sidebar/ww1/{CRM}"}
    browser = bench.browser()
    browser.cookies = dict(cookies)
    return await browser.ask("GET" if method == "*" else method, address, headers=headers, **more)


@pytest.mark.parametrize("kind", CALLERS)
async def test_the_matrix(bench: Bench, kind: str) -> None:
    await meet(bench)
    found: dict[tuple[str, str], int] = {}
    for method, path in EXPECTED:
        cookies, headers = await caller(bench, kind)
        seen = await ask(bench, method, path, cookies, headers)
        found[method, path] = seen.status
        if not (seen.status == 200 and path.startswith(CUSTOMER)):
            assert not [name for name in NAMES if name in seen.text], (path, kind)
    assert found == {route: line[kind] for route, line in EXPECTED.items()}


async def meet(bench: Bench) -> None:
    """ZhangSan has the customer; LiSi let them go; the customer left Former; wangwu never had them."""
    bench.world.corp("ww1").employees["former"] = Employee("Former", "Former")
    bench.world.add("ww1", "wmA", "ZhangSan", remark="my own note")
    bench.world.edit("ww1", "wmA", "ZhangSan", remark_mobiles=["13800000000"])
    bench.world.add("ww1", "wmA", "LiSi")
    bench.world.add("ww1", "wmA", "Former")
    bench.world.add("ww2", "wmA", "ZhangSan")
    await bench.know()
    await bench.know(corpid="ww2")
    f = customer_follow.c
    bench.clock.tick(2)
    bench.world.delete("ww1", "wmA", "LiSi")
    async with bench.database.write() as conn:
        now = await bench.database.clock(conn)
        for userid, by in (("lisi", "employee"), ("former", "customer")):
            values = {"lost_at": now, "lost_by": by, "last_loss_at": now, "last_loss_by": by}
            await conn.execute(
                update(customer_follow).where(f.corpid == "ww1", f.follow_userid == userid).values(values)
            )


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "POST", "GET"])
async def test_no_other_method_does_anything(bench: Bench, method: str) -> None:
    await meet(bench)
    cookies, headers = await caller(bench, "employee who has the customer")
    before = len(bench.statements)
    for wanted, path in EXPECTED:
        if method == wanted or wanted == "*" or not path.startswith("/sidebar"):
            continue
        seen = await ask(bench, method, path, cookies, headers)
        assert seen.status == 404, path
    assert bench.statements[before:] == []


async def test_every_answer_has_the_headers(bench: Bench) -> None:
    await meet(bench)
    for kind in ("nobody", "employee who has the customer"):
        for method, path in EXPECTED:
            await ask(bench, method, path, *(await caller(bench, kind)))
    for seen in bench.seen:
        headers = seen.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "aiohttp" not in str(headers)
        static = "/static/" in seen.url and seen.status == 200
        assert headers["Cache-Control"] == ("no-cache" if static else "no-store"), seen.url


async def test_the_scan_for_secrets_can_fail(bench: Bench) -> None:
    tab = bench.browser().tab()
    await tab.open()
    await tab.sign()
    assert bench.leaks() == []
    held = list(bench.seen)
    for secret in (bench.simulator.tickets.given()[0], bench.simulator.api.tokens.given()[0], "secret-of-crm-ww1"):
        bench.seen[:] = [Seen("GET", "/x", 200, {}, [], f'{{"a":"{secret}"}}'.encode())]
        assert bench.leaks() == ["GET /x 200"]
    bench.seen[:] = held
