"""Two corps, two apps and two tabs in one browser, all at once, and many browsers: nothing ever mixes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from core.db.tables import session
from tests.support.crm import rows
from tests.support.sidebar import CORPIDS, CRM, OTHER, PUBLIC_URL, Bench, Tab, sidebar_bench
from wecom.jssdk import signature
from wecom.simulator.oauth import account_cookie

pytestmark = pytest.mark.asyncio

EMPLOYEES = ("ZhangSan", "LiSi")


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sidebar_bench(tmp_path, sync=False) as bench:
        for corpid in CORPIDS:
            for userid in EMPLOYEES:
                bench.world.add(corpid, "wmA", userid, remark=f"note of {userid} of {corpid}")
            await bench.know(corpid=corpid)
        yield bench


async def use(bench: Bench, tab: Tab, corpid: str, agentid: int, userid: str) -> None:
    """One opening: what it is shown is this corp's and this employee's, and signed with this app's tickets."""
    await tab.open()
    got = (await tab.customer()).json()
    assert got["customer"]["name"] == f"Anna of {corpid}"
    assert got["relation"]["remark"] == f"note of {userid} of {corpid}"
    for kind in ("config", "agent"):
        signed = (await tab.sign(kind=kind)).json()
        valid = bench.simulator.tickets.valid(corpid, kind, agentid)
        made = {signature(one, signed["nonceStr"], signed["timestamp"], PUBLIC_URL + tab.base) for one in valid}
        assert signed["signature"] in made


async def test_all_at_once(bench: Bench) -> None:
    """Each browser has two accounts in two corps, and in each both apps open in two tabs."""
    source = random.Random(5)
    work = []
    for _ in range(6):
        userids = {corpid: source.choice(EMPLOYEES) for corpid in CORPIDS}
        browser = bench.browser()
        for corpid in CORPIDS:
            for agentid in (CRM, OTHER):
                work += [(browser, corpid, agentid, userids[corpid])] * 2
    source.shuffle(work)

    async def one(number: int) -> None:
        browser, corpid, agentid, userid = work[number]
        # The platform's login page is asked by the client of that account.
        tab = bench.browser(corpid, userid).tab(corpid, agentid)
        tab.browser.cookies = browser.cookies
        for _ in range(3):
            await use_patiently(bench, tab, corpid, agentid, userid)

    await asyncio.gather(*(one(number) for number in range(len(work))))
    stored = await rows(bench.database, session, "corpid", "agentid", "userid")
    assert len({(row["corpid"], row["agentid"]) for row in stored}) == 4


async def use_patiently(bench: Bench, tab: Tab, corpid: str, agentid: int, userid: str) -> None:
    """As ``use``; a tab that another one pushes out while both log in does what the page does: log in again."""
    for _ in range(40):
        await tab.open()
        seen = await tab.customer()
        if seen.status == 200:
            got = seen.json()
            assert got["customer"]["name"] == f"Anna of {corpid}"
            assert got["relation"]["remark"] == f"note of {userid} of {corpid}"
            return
        assert seen.status in {400, 401, 409}
        tab.marker = ""
    raise AssertionError("two tabs of one account push each other out")


async def test_one_after_the_other_in_one_browser(bench: Bench) -> None:
    browser = bench.browser()
    tabs = {}
    for corpid in CORPIDS:
        for agentid in (CRM, OTHER):
            browser.account = account_cookie(corpid, "LiSi")
            tabs[corpid, agentid] = browser.tab(corpid, agentid)
            await use(bench, tabs[corpid, agentid], corpid, agentid, "LiSi")
    assert len(browser.cookies) == 4
    # All of them are still logged in, none by another's cookie.
    for (corpid, agentid), tab in tabs.items():
        await use(bench, tab, corpid, agentid, "LiSi")
    assert len(await rows(bench.database, session, "digest")) == 4


async def test_an_account_switch_in_the_middle_of_everything(bench: Bench) -> None:
    """Whatever the moment of the switch, a tab gets its own account's data or none."""
    browser = bench.browser()
    answers: list[tuple[str, str]] = []

    async def reading(tab: Tab, userid: str) -> None:
        for _ in range(20):
            seen = await tab.customer()
            if seen.status == 200:
                answers.append((userid, seen.json()["relation"]["remark"]))
            else:
                assert seen.status in {401, 409}

    tab = browser.tab()
    await tab.open()
    for number in range(6):
        userid = EMPLOYEES[number % 2]
        reader = asyncio.create_task(reading(tab, EMPLOYEES[(number + 1) % 2] if number else "ZhangSan"))
        browser.account = account_cookie("ww1", userid)
        fresh = browser.tab()
        await fresh.open()
        await reader
        tab = fresh
    assert answers
    assert all(remark == f"note of {userid} of ww1" for userid, remark in answers)
