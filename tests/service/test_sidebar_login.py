"""The silent login: who gets a session, who does not, and what the employee is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pytest
import pytest_asyncio

from core.db.tables import contact_event, login_state, session
from sidebar.session import KEPT, LIFETIME, Sessions
from sidebar.states import MOST_AT_ONCE, STATE_SECONDS
from tests.support.crm import rows
from tests.support.sidebar import CRM, OTHER, PUBLIC_URL, Bench, Browser, Seen, Tab, query_of, sidebar_bench
from tests.support.url_tricks import foreign_addresses
from wecom.simulator.oauth import account_cookie

pytestmark = pytest.mark.asyncio

BASE = f"/sidebar/ww1/{CRM}"


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sidebar_bench(tmp_path, sync=False) as bench:
        yield bench


async def sessions(bench: Bench) -> int:
    return len(await rows(bench.database, session, "digest"))


async def begun(browser: Browser, base: str = BASE) -> dict[str, str]:
    """A login that has begun: the parameters that the platform got."""
    seen = await browser.get(f"{base}/login")
    assert seen.status == 302
    return query_of(seen.location)


async def arrive(browser: Browser, state: str, code: str, base: str = BASE) -> Seen:
    return await browser.get(f"{base}/callback?code={quote(code, safe='')}&state={quote(state, safe='')}")


def code_of(seen: Seen) -> str:
    found = re.search(r'data-code="([^"]*)"', seen.text)
    return found[1] if found else ""


async def test_an_opening_logs_in_and_the_code_is_gone_from_the_address(bench: Bench) -> None:
    tab = bench.browser().tab()
    shown = await tab.open("?lang=en")
    assert (shown.status, shown.url) == (200, f"{BASE}?lang=en")
    assert shown.data("session") == tab.marker != ""
    assert (shown.data("base"), shown.data("page-url")) == (BASE, PUBLIC_URL + BASE)
    (row,) = await rows(bench.database, session)
    assert (row["corpid"], row["agentid"], row["userid"], row["ended_at"]) == ("ww1", CRM, "zhangsan", None)
    assert row["expires_at"] - row["created_at"] == LIFETIME


async def test_the_id_in_the_cookie_is_not_in_the_database(bench: Bench) -> None:
    tab = bench.browser().tab()
    await tab.open()
    (cookie,) = tab.browser.cookies.values()
    assert cookie not in str(await rows(bench.database, session))


async def test_a_reload_does_not_log_in_again_and_a_fresh_opening_does(bench: Bench) -> None:
    tab = bench.browser().tab()
    await tab.open()
    await tab.open()
    assert await sessions(bench) == 1
    again = tab.browser.tab()
    await again.open()
    live = [row for row in await rows(bench.database, session) if row["ended_at"] is None]
    assert (await sessions(bench), len(live)) == (2, 1)
    # The same account: the first tab goes on.
    assert again.marker == tab.marker
    assert (await tab.sign()).status == 200


async def test_beginning_a_login_ends_the_session_whatever_becomes_of_it(bench: Bench) -> None:
    tab = bench.browser().tab()
    await tab.open()
    await begun(tab.browser)
    assert (await tab.sign()).json() == {"code": "login_required"}
    assert (await tab.browser.get(BASE)).data("session") == ""


async def test_another_account_in_the_same_client(bench: Bench) -> None:
    first = bench.browser().tab()
    await first.open()
    first.browser.account = account_cookie("ww1", "LiSi")
    second = first.browser.tab()
    await second.open()
    assert second.marker != first.marker
    assert (await first.sign()).status == 409
    assert (await first.sign()).json() == {"code": "session_changed"}
    assert (await second.sign()).status == 200


async def test_a_login_that_fails_leaves_nobody_logged_in(bench: Bench) -> None:
    tab = bench.browser().tab()
    await tab.open()
    tab.browser.account = ":wmA"
    again = tab.browser.tab()
    shown = await again.open()
    assert (shown.status, code_of(shown)) == (403, "not_employee")
    assert (await tab.sign()).status == 401
    assert (await tab.browser.get(BASE)).data("session") == ""


@pytest.mark.parametrize("account", [":wmA", account_cookie("ww2", "ZhangSan"), account_cookie("ww1", "nobody")])
async def test_who_is_no_employee_is_told_so(bench: Bench, account: str) -> None:
    browser = bench.browser()
    browser.account = account
    shown = await browser.tab().open()
    assert (shown.status, code_of(shown)) == (403, "not_employee")
    assert "not an employee" in shown.text
    assert await sessions(bench) == 0


async def test_who_is_outside_the_visible_range_is_told_so(bench: Bench) -> None:
    bench.world.corp("ww1").agents[0].visible = frozenset({"lisi"})
    shown = await bench.browser().tab().open()
    assert (shown.status, code_of(shown)) == (403, "out_of_range")
    assert await sessions(bench) == 0
    assert (await bench.browser(userid="LiSi").tab().open()).status == 200


async def test_a_refused_code_is_asked_for_once_more(bench: Bench) -> None:
    bench.simulator.oauth.fail_next(40029)
    shown = await bench.browser().tab().open()
    assert shown.status == 200
    assert bench.simulator.counts.calls(path="auth/getuserinfo") == 2


@pytest.mark.parametrize("errcode", [40029, 42003])
async def test_and_no_further(bench: Bench, errcode: int) -> None:
    bench.simulator.oauth.fail_next(errcode, 100)
    shown = await bench.browser().tab().open()
    assert (shown.status, code_of(shown)) == (400, "login_code")
    assert bench.simulator.counts.calls(path="auth/getuserinfo") == 2
    assert await sessions(bench) == 0


async def test_a_domain_that_is_not_trusted_is_said_by_name(bench: Bench) -> None:
    bench.simulator.oauth.fail_next(50001)
    shown = await bench.browser().tab().open()
    assert (shown.status, code_of(shown)) == (503, "domain")
    assert "trusted domain" in shown.text


@pytest.mark.parametrize(("fault", "code"), [("busy", "platform--1"), ("html", "platform-none")])
async def test_a_platform_that_does_not_answer(bench: Bench, fault: str, code: str) -> None:
    browser = bench.browser()
    wanted = await begun(browser)
    there = bench.simulator.oauth.issue("ww1", CRM, "ZhangSan")
    bench.simulator.faults.answer_next(fault, 10)
    shown = await arrive(browser, wanted["state"], there)
    assert (shown.status, code_of(shown)) == (503, code)
    assert await sessions(bench) == 0


async def test_a_token_that_was_revoked_in_between(bench: Bench) -> None:
    await bench.browser().tab().open()
    bench.simulator.api.revoke_tokens()
    assert (await bench.browser(userid="LiSi").tab().open()).status == 200
    assert len(bench.simulator.counts.gettoken["ww1", CRM]) == 2


async def test_a_browser_that_keeps_no_cookies_is_told_and_not_sent_round(bench: Bench) -> None:
    browser = bench.browser()
    wanted = await begun(browser)
    browser.cookies.clear()
    shown = await arrive(browser, wanted["state"], bench.simulator.oauth.issue("ww1", CRM, "ZhangSan"))
    assert (shown.status, code_of(shown)) == (400, "login_cookie")


async def test_the_words_are_in_the_language_of_the_page(bench: Bench) -> None:
    bench.world.corp("ww1").agents[0].visible = frozenset()
    shown = await bench.browser().tab().open("?lang=zh-CN")
    assert 'lang="zh-CN"' in shown.text
    assert "可见范围" in shown.text
    # And so is the way to try again.
    assert f'href="{BASE}/login?return={quote(BASE + "?lang=zh-CN", safe="")}"' in shown.text


async def test_no_replayed_crossed_expired_or_foreign_code_or_state_makes_a_session(bench: Bench) -> None:
    """Every state with every code in every browser but the one that is right."""
    issue = bench.simulator.oauth.issue
    elsewhere = f"/sidebar/ww1/{OTHER}", f"/sidebar/ww2/{CRM}"
    states = ("own", "used", "expired", "other browser", "other app", "other corp", "made up", "none")
    codes = ("own", "used", "expired", "other app", "other corp", "made up", "none")
    jars = ("own", "none", "other")
    tried = 0
    for which_state, which_code, jar in product(states, codes, jars):
        if (which_state, which_code, jar) == ("own", "own", "own"):
            continue
        browser, other = bench.browser(), bench.browser(userid="LiSi")
        base = {"other app": elsewhere[0], "other corp": elsewhere[1]}.get(which_state, BASE)
        owner = other if which_state == "other browser" else browser
        state = (await begun(owner, base))["state"]
        if which_state == "expired":
            bench.clock.tick(STATE_SECONDS)
        if which_state == "used":
            first = await arrive(browser, state, issue("ww1", CRM, "ZhangSan"))
            assert first.status == 302
            browser.cookies = {name: value for name, value in browser.cookies.items() if "login" in name}
        code = issue("ww1", CRM, "ZhangSan") if which_code == "own" else ""
        if which_code in {"used", "expired"}:
            code = issue("ww1", CRM, "ZhangSan")
        if which_code == "used":
            one = (await begun(other))["state"]
            assert (await arrive(other, one, code)).status == 302
        if which_code in {"other app", "other corp"}:
            code = issue("ww1", OTHER, "ZhangSan") if which_code == "other app" else issue("ww2", CRM, "ZhangSan")
        code = {"made up": "Ym9ndXM", "none": ""}.get(which_code, code)
        state = {"made up": "ab" * 20, "none": ""}.get(which_state, state)
        if which_code == "expired":
            bench.clock.tick(301)
        cookies = browser.cookies if jar == "own" else {} if jar == "none" else other.cookies
        if which_state == "other browser" and jar == "other":
            # That browser's own login, with nothing wrong in it but the code.
            if which_code == "own":
                continue
            cookies = dict(other.cookies)
        before = await sessions(bench)
        stranger = bench.browser()
        stranger.cookies = dict(cookies)
        seen = await arrive(stranger, state, code)
        assert not [line for line in seen.set_cookies if "wecom-crm" in line], (which_state, which_code, jar)
        assert await sessions(bench) == before, (which_state, which_code, jar)
        tried += 1
    assert tried > 150


async def test_a_state_counts_once_even_for_two_at_the_same_time(bench: Bench) -> None:
    browser = bench.browser()
    wanted = await begun(browser)
    twin = bench.browser()
    twin.cookies = dict(browser.cookies)
    seen = await asyncio.gather(
        *(arrive(one, wanted["state"], bench.simulator.oauth.issue("ww1", CRM, "ZhangSan")) for one in (browser, twin))
    )
    assert sorted(one.status for one in seen) == [302, 400]
    assert (await sessions(bench), len(await rows(bench.database, login_state))) == (1, 1)


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "swap"])
async def test_a_state_cookie_that_was_tampered_with_is_none(bench: Bench, change: str) -> None:
    browser = bench.browser()
    wanted = await begun(browser)
    (name,) = browser.cookies
    value = browser.cookies[name]
    body, _, mac = value.partition(".")
    other = bench.browser()
    await begun(other)
    swapped = next(iter(other.cookies.values()))
    changed = {
        "flip": f"{body}.{'0' if mac[0] != '0' else '1'}{mac[1:]}",
        "cut": body,
        "empty": "",
        "swap": swapped,
    }
    browser.cookies[name] = changed[change]
    shown = await arrive(browser, wanted["state"], bench.simulator.oauth.issue("ww1", CRM, "ZhangSan"))
    assert (shown.status, code_of(shown)) == (400, "login_state")


async def test_a_session_id_that_somebody_planted_becomes_nobodys_session(bench: Bench) -> None:
    """Fixation: the id after a login is never the one before it."""
    attacker = bench.browser(userid="LiSi")
    await attacker.tab().open()
    (name,) = attacker.cookies
    for planted in (attacker.cookies[name], "A" * 43):
        victim = bench.browser()
        victim.cookies[name] = planted
        await victim.tab().open()
        assert victim.cookies[name] != planted
        copy = bench.browser()
        copy.cookies[name] = planted
        assert (await copy.get(BASE)).data("session") == ""


async def test_a_cookie_moved_to_another_place_names_nothing(bench: Bench) -> None:
    browser = bench.browser()
    await browser.tab().open()
    (value,) = browser.cookies.values()
    other = Tab(browser, f"/sidebar/ww2/{CRM}")
    browser.account = account_cookie("ww2", "LiSi")
    await other.open()
    (name,) = set(browser.cookies) - {next(iter(browser.cookies))}
    browser.cookies[name] = value
    assert (await other.sign(PUBLIC_URL + other.base)).status == 401


async def test_a_login_comes_back_to_its_own_page_whatever_was_asked_for(bench: Bench) -> None:
    """More than two hundred addresses, each through the whole login: nobody is ever sent anywhere else."""
    tried = 0
    for wanted in dict.fromkeys(foreign_addresses()):
        browser = bench.browser()
        begin = await browser.get(f"{BASE}/login?return={quote(wanted, safe='')}")
        assert begin.location.startswith(f"{bench.simulator.url}/connect/oauth2/authorize?")
        assert query_of(begin.location)["redirect_uri"] == f"{PUBLIC_URL}{BASE}/callback"
        there = bench.simulator.oauth.issue("ww1", CRM, "ZhangSan")
        seen = await arrive(browser, query_of(begin.location)["state"], there)
        assert seen.status == 302
        where = urlsplit(urljoin(f"{PUBLIC_URL}{BASE}/callback", seen.location))
        assert f"{where.scheme}://{where.netloc}{where.path}" == PUBLIC_URL + BASE, wanted
        tried += 1
    assert tried > 200


async def test_the_way_back_is_not_read_from_the_callback(bench: Bench) -> None:
    browser = bench.browser()
    wanted = await begun(browser)
    there = bench.simulator.oauth.issue("ww1", CRM, "ZhangSan")
    seen = await browser.get(f"{BASE}/callback?code={there}&state={wanted['state']}&return=https://evil.example")
    assert seen.location.partition("#")[0] == BASE


async def test_a_repeated_parameter_is_none(bench: Bench) -> None:
    browser = bench.browser()
    wanted = await begun(browser)
    there = bench.simulator.oauth.issue("ww1", CRM, "ZhangSan")
    shown = await browser.get(f"{BASE}/callback?code={there}&code={there}&state={wanted['state']}")
    assert (shown.status, code_of(shown)) == (400, "login_code")


async def test_logins_that_never_come_back_do_not_fill_the_browser_or_the_database(bench: Bench) -> None:
    browser = bench.browser()
    for _ in range(3 * MOST_AT_ONCE):
        await begun(browser)
    assert len(browser.cookies) == MOST_AT_ONCE
    assert await rows(bench.database, login_state) == []
    # The newest still works.
    wanted = await begun(browser)
    assert (await arrive(browser, wanted["state"], bench.simulator.oauth.issue("ww1", CRM, "ZhangSan"))).status == 302


async def test_an_employee_who_leaves_is_out(bench: Bench) -> None:
    """At the next login in any case, and at once if the address book's events reach us."""
    tab = bench.browser().tab()
    await tab.open()
    assert (await tab.sign()).status == 200
    del bench.world.corp("ww1").employees["zhangsan"]
    async with bench.database.write() as conn:
        now = await bench.database.clock(conn)
        row = {"corpid": "ww1", "event_id": "1", "event": "change_contact", "change": "delete_user", "kind": "member"}
        row |= {"object_id": "zhangsan", "userid": "zhangsan", "callback": "contacts", "outcome": "unknown"}
        moments = dict.fromkeys(("happened_at", "received_at", "recorded_at"), now)
        await conn.execute(contact_event.insert(), row | moments | {"leaves": []})
    assert (await tab.sign()).status == 401
    shown = await tab.login()
    assert (shown.status, code_of(shown)) == (403, "not_employee")
    # Who has the same id in another corp stays.
    assert (await bench.browser("ww2").tab("ww2").open()).status == 200


async def test_a_session_ends_by_itself(tmp_path: Path) -> None:
    async with sidebar_bench(tmp_path, sync=False) as bench:
        tab = bench.browser().tab()
        await tab.open()
        async with bench.database.write() as conn:
            await conn.execute(session.update().values(expires_at=await bench.database.clock(conn)))
        assert (await tab.sign()).status == 401


async def test_what_is_long_over_is_removed(bench: Bench) -> None:
    for userid in ("ZhangSan", "LiSi"):
        await bench.browser(userid=userid).tab().open()
    async with bench.database.write() as conn:
        now = await bench.database.clock(conn)
        for table in (session, login_state):
            first = table.select().limit(1).with_only_columns(table.c.digest).scalar_subquery()
            await conn.execute(table.update().where(table.c.digest == first).values(expires_at=now - KEPT))
    await Sessions(bench.database).sweep()
    assert (await sessions(bench), len(await rows(bench.database, login_state))) == (1, 1)


async def test_unknown_corps_and_apps_have_no_login(bench: Bench) -> None:
    for base in (f"/sidebar/ww9/{CRM}", "/sidebar/ww1/7", f"/sidebar/ww1/0{CRM}"):
        for path in (base, f"{base}/login", f"{base}/callback?code=a&state=b"):
            shown = await bench.browser().get(path)
            assert (shown.status, code_of(shown), shown.set_cookies) == (404, "unknown_app", [])


async def test_over_plain_http_on_loopback_cookies_do_without_the_prefix(tmp_path: Path) -> None:
    async with sidebar_bench(tmp_path, sync=False, public_url="http://127.0.0.1:8080") as bench:
        tab = bench.browser().tab()
        await tab.open()
        (line,) = [line for seen in bench.seen for line in seen.set_cookies if "wecom-crm" in line]
        assert "Secure" not in line
        assert "__Host-" not in line
