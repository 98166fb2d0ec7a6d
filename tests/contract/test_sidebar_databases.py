"""Sessions and the customer page on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from core.db.tables import session
from tests.support.crm import rows
from tests.support.databases import database_on
from tests.support.servers.postgres import PostgresServer
from tests.support.sidebar import LEVEL, MINE, Bench, sidebar_bench
from wecom.simulator.oauth import account_cookie

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def bench(tmp_path: Path, migrated_url: str) -> AsyncIterator[Bench]:
    async with sidebar_bench(tmp_path, url=migrated_url) as bench:
        yield bench


async def test_from_login_to_refresh(bench: Bench) -> None:
    bench.world.add("ww1", "wmA", "ZhangSan", remark="小林 🎉")
    bench.world.add("ww1", "wmA", "LiSi")
    bench.world.mark("ww1", "wmA", "ZhangSan", add=[MINE, LEVEL])
    tab = bench.browser().tab()
    assert (await tab.open()).status == 200
    got = (await tab.customer()).json()
    assert got["relation"]["remark"] == "小林 🎉"
    assert [group["group"] for group in got["tags"]] == ["Level", "Mine"]
    assert [one["userid"] for one in got["colleagues"]] == ["lisi"]
    assert got["synced"]["age_seconds"] < 30
    bench.world.edit("ww1", "wmA", "ZhangSan", remark="new")
    refreshed = (await tab.refresh()).json()
    assert (refreshed["relation"]["remark"], refreshed["refreshed"]) == ("new", True)
    assert (await tab.customer("wma")).status == 404


async def test_sessions(bench: Bench) -> None:
    tab = bench.browser().tab()
    await tab.open()
    twin = tab.browser.tab()
    await twin.open()
    assert twin.marker == tab.marker
    tab.browser.account = account_cookie("ww1", "LiSi")
    other = tab.browser.tab()
    await other.open()
    assert (await tab.sign()).status == 409
    found = await rows(bench.database, session, "userid", "ended_at")
    assert sorted((row["userid"], row["ended_at"] is None) for row in found) == [
        ("lisi", True),
        ("zhangsan", False),
        ("zhangsan", False),
    ]


async def test_a_state_counts_once(bench: Bench) -> None:
    browser = bench.browser()
    begin = await browser.get("/sidebar/ww1/1000002/login")
    callback = await browser.authorize(begin.location)
    cookies = dict(browser.cookies)
    assert (await browser.get(callback)).status == 302
    browser.cookies = cookies
    assert (await browser.get(callback)).status == 400


async def test_a_server_that_dies_is_said_and_recovered_from(tmp_path: Path, private_postgres: PostgresServer) -> None:
    async with (
        database_on(private_postgres.address) as url,
        sidebar_bench(tmp_path, url=url, sync=False) as bench,
    ):
        await bench.acquaint()
        tab = bench.browser().tab()
        await tab.open()
        assert (await tab.customer()).status == 200
        private_postgres.kill()
        seen = await tab.customer()
        assert (seen.status, seen.json()) == (503, {"code": "database", "retry_after": 5})
        shown = await tab.browser.get(f"{tab.base}?lang=zh-CN")
        assert (shown.status, "系统暂时不可用" in shown.text) == (503, True)
        # A login does not begin that could not end the session before it.
        begin = await tab.browser.get(f"{tab.base}/login")
        assert (begin.status, begin.set_cookies) == (503, [])
        private_postgres.start()
        assert (await tab.customer()).status == 200
        assert (await tab.sign()).status == 200
