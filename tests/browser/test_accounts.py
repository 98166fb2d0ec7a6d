"""Accounts, corps and tabs: what one account saw is in no document once it is another's turn."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from playwright.async_api import Page, Route

from tests.support.browsing import Watched, failure_in, name_in
from tests.support.stage import AGENTID, ANNA, BOB, BOOKS, SHARED, TEA, Stage
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.asyncio(loop_scope="session")

OF_ZHANGSAN = ("Anna-for-ZhangSan-of-Tea", "Shared-for-ZhangSan-of-Tea", "安娜 of Tea")


async def shown_in_frame(page: Page, text: str) -> None:
    await page.frame_locator("iframe").locator("main", has_text=text).wait_for(timeout=20_000)


async def change_account(page: Page, corpid: str, userid: str, **options: bool) -> None:
    await page.evaluate("([c, u, o]) => simulatorClient.switchAccount(c, u, o)", [corpid, userid, options])


async def client_page_of_zhangsan(eyes: Watched) -> Page:
    page = await eyes.client_page(f"?corpid={TEA}&userid=ZhangSan")
    await page.evaluate("customer => simulatorClient.switchChat(customer)", ANNA)
    await shown_in_frame(page, "Anna-for-ZhangSan-of-Tea")
    return page


@pytest.mark.context(viewport={"width": 1280, "height": 800})
async def test_another_account_sees_nothing_of_the_one_before(eyes: Watched) -> None:
    page = await client_page_of_zhangsan(eyes)
    await eyes.forbid(page, *OF_ZHANGSAN, open_ones=False)
    await change_account(page, TEA, "LiSi")
    await page.evaluate("customer => simulatorClient.switchChat(customer)", BOB)
    await shown_in_frame(page, "Bob-for-LiSi-of-Tea")


@pytest.mark.context(viewport={"width": 1280, "height": 800})
async def test_the_same_employee_of_another_corp_sees_that_corps_customer(eyes: Watched) -> None:
    page = await client_page_of_zhangsan(eyes)
    await eyes.forbid(page, *OF_ZHANGSAN, open_ones=False)
    await change_account(page, BOOKS, "ZhangSan")
    # The same external_userid, the same userid.
    await page.evaluate("customer => simulatorClient.switchChat(customer)", ANNA)
    await shown_in_frame(page, "Anna-for-ZhangSan-of-Books")
    await eyes.forbid(page, "Anna-for-ZhangSan-of-Books", open_ones=False)
    await change_account(page, TEA, "LiSi")
    await page.evaluate("customer => simulatorClient.switchChat(customer)", BOB)
    await shown_in_frame(page, "Bob-for-LiSi-of-Tea")


@pytest.mark.expects("status of 400", "status of 503", "status of 401", "status of 409")
@pytest.mark.context(viewport={"width": 1280, "height": 800})
@pytest.mark.parametrize("corpid", [TEA, BOOKS])
async def test_a_login_that_fails_in_between_shows_nobody(eyes: Watched, stage: Stage, corpid: str) -> None:
    page = await client_page_of_zhangsan(eyes)
    await eyes.forbid(page, *OF_ZHANGSAN, open_ones=False)
    # Each opening tries twice.
    stage.simulator.oauth.fail_next(40029, 4)
    await change_account(page, corpid, "LiSi")
    frame = page.frame_locator("iframe")
    await frame.locator("html[data-code]").wait_for(timeout=20_000)
    # Opened anew it fails again, and the session before is over.
    await page.evaluate("simulatorClient.openAnew()")
    await frame.locator("html[data-code]").wait_for(timeout=20_000)
    await page.evaluate("simulatorClient.openAnew()")
    await page.evaluate("customer => simulatorClient.switchChat(customer)", BOB)
    await shown_in_frame(page, f"Bob-for-LiSi-of-{'Tea' if corpid == TEA else 'Books'}")


@pytest.mark.expects("status of 409", "status of 401", "status of 404")
async def test_a_page_that_stays_open_notices_another_account(eyes: Watched) -> None:
    before = await eyes.sidebar()
    await name_in(before)
    asked = asyncio.Event()

    async def unreachable(route: Route) -> None:
        asked.set()
        # The browser stays where it is.
        await route.abort("aborted")

    await before.route(re.compile("/login"), unreachable)
    # The client changes its account in another window; both share the cookies.
    after = await eyes.sidebar(userid="LiSi", customer=BOB)
    assert await name_in(after) == "Bob <b>of</b> Tea"
    async with asyncio.timeout(DEADLINE):
        await asked.wait()
    # Nothing of the account before is left when the login begins, whether it succeeds or not.
    left = await before.content()
    assert not any(text in left for text in OF_ZHANGSAN)
    await eyes.forbid(before, *OF_ZHANGSAN)
    assert await failure_in(before) == "network"
    await before.unroute(re.compile("/login"))
    await before.get_by_role("button", name="重试").click()
    await before.locator("[data-failure=network]").wait_for(state="detached")
    # The window's client is still at Anna's chat, and she is no customer of LiSi's.
    assert await failure_in(before) == "not_found"


@pytest.mark.expects("status of 409", "status of 401")
async def test_a_session_that_is_over_is_begun_again_without_a_word(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    cookies = await eyes.context.cookies()
    (session,) = [cookie for cookie in cookies if "wecom-crm" in str(cookie.get("name"))]
    await eyes.context.clear_cookies(name=str(session.get("name")))
    logins = len([1 for _, url in eyes.statuses if "/login" in url])
    await page.wait_for_function("() => !document.querySelector('h1 .name')", timeout=20_000)
    assert await name_in(page) == "安娜 of Tea"
    assert len([1 for _, url in eyes.statuses if "/login" in url]) == logins + 1


async def test_two_tabs_of_one_account_do_not_push_one_another_out(eyes: Watched) -> None:
    first = await eyes.sidebar()
    await name_in(first)
    second = await eyes.sidebar(customer=SHARED)
    await name_in(second)
    await first.bring_to_front()
    await first.get_by_role("button", name="立即刷新").click()
    await first.locator("#status", has_text="已更新").wait_for(timeout=20_000)
    await first.reload()
    assert await name_in(first) == "安娜 of Tea"
    assert len([1 for _, url in eyes.statuses if "/login" in url]) == 2


async def test_two_corps_in_two_tabs_do_not_mix(eyes: Watched) -> None:
    tea = await eyes.sidebar()
    assert await name_in(tea) == "安娜 of Tea"
    books = await eyes.sidebar(corpid=BOOKS)
    assert await name_in(books) == "安娜 of Books"
    await tea.reload()
    assert await name_in(tea) == "安娜 of Tea"
    assert "Books" not in await tea.locator("main").inner_text()


async def test_a_fresh_opening_logs_in_again_and_a_reload_does_not(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    assert len([1 for _, url in eyes.statuses if "/login" in url]) == 1
    await page.reload()
    await name_in(page)
    assert len([1 for _, url in eyes.statuses if "/login" in url]) == 1
    assert "#" not in page.url
    assert "code=" not in page.url
    await eyes.sidebar()
    assert len([1 for _, url in eyes.statuses if "/login" in url]) == 2


async def test_without_cookies_the_page_says_so_and_does_not_go_in_circles(eyes: Watched) -> None:
    page = await eyes.context.new_page()
    await eyes.context.add_cookies([eyes.stage.account("ZhangSan")])
    client = {"corpid": TEA, "userid": "ZhangSan", "customer": ANNA}
    await page.add_init_script(f"window.simulatorClient = {json.dumps(client)}")
    # As a login of somebody else comes back.
    await page.goto(f"{eyes.stage.page()}#session={'0' * 32}")
    assert await failure_in(page) == "login_cookie"
    assert "#" not in page.url
    await page.get_by_role("button").click()
    assert await name_in(page) == "安娜 of Tea"


@pytest.mark.expects("status of 409", "status of 401")
async def test_logins_in_a_circle_end_with_words(eyes: Watched, stage: Stage) -> None:
    async def ended(route: object) -> None:
        await route.fulfill(status=401, content_type="application/json", body='{"code": "login_required"}')  # type: ignore[attr-defined]

    await eyes.context.route(f"**/sidebar/{TEA}/{AGENTID}/api/**", ended)
    page = await eyes.sidebar()
    assert await failure_in(page) == "login_loop"
    assert len([1 for _, url in eyes.statuses if "/login" in url]) == 3
    await eyes.context.unroute(f"**/sidebar/{TEA}/{AGENTID}/api/**")
    await page.get_by_role("button", name="重新登录").click()
    assert await name_in(page) == "安娜 of Tea"


@pytest.mark.expects("status of 403", "status of 400")
async def test_somebody_who_is_no_employee_is_told(eyes: Watched, stage: Stage) -> None:
    await eyes.context.add_cookies([{"name": "wecom_simulator_account", "value": f":{ANNA}", "url": stage.url}])
    page = await eyes.context.new_page()
    await page.add_init_script(f"window.simulatorClient = {json.dumps({'corpid': TEA})}")
    await page.goto(stage.page())
    await page.locator("html[data-code=not_employee]").wait_for()
    assert await page.locator("h1").inner_text() != ""


@pytest.mark.expects("status of 404")
async def test_an_address_of_no_app_is_told_without_a_button(eyes: Watched, stage: Stage) -> None:
    page = await eyes.sidebar(path="9")
    await page.locator("html[data-code=unknown_app]").wait_for()
    assert await page.locator("a").is_hidden()
