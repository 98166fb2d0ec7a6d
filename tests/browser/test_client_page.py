"""The simulator's client page: what somebody who tries the product clicks."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.support.browsing import Watched
from tests.support.stage import ANNA, BOOKS, TEA, Stage, next_second

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.context(viewport={"width": 1280, "height": 800}),
]


async def opened(eyes: Watched, corpid: str = TEA, userid: str = "ZhangSan") -> Page:
    page = await eyes.client_page(f"?corpid={corpid}&userid={userid}")
    await page.get_by_role("button", name="Anna-for-ZhangSan").click()
    await in_sidebar(page, "Anna-for-ZhangSan")
    return page


async def in_sidebar(page: Page, text: str) -> None:
    await page.frame_locator("iframe").locator("main", has_text=text).wait_for(timeout=20_000)


async def logged(page: Page, text: str) -> None:
    await page.locator("#log li", has_text=text).first.wait_for(timeout=20_000)


async def test_an_edit_goes_all_the_way_round(eyes: Watched) -> None:
    page = await opened(eyes)
    await page.get_by_label("Remark").fill("Anna-edited-by-hand")
    await page.get_by_role("button", name="Edit").click()
    await logged(page, "edit_external_contact → acknowledged")
    await in_sidebar(page, "Anna-edited-by-hand")
    await page.get_by_role("button", name="Take").click()
    await logged(page, "untag")
    await page.frame_locator("iframe").locator(".tag").wait_for(state="detached", timeout=20_000)


async def test_dropped_pushes_leave_it_to_refresh_now(eyes: Watched) -> None:
    page = await opened(eyes)
    await page.get_by_label("drop pushes").check()
    await logged(page, "pushes are dropped")
    await page.get_by_label("Remark").fill("Anna-nobody-was-told")
    await page.get_by_role("button", name="Edit").click()
    await logged(page, "edit")
    frame = page.frame_locator("iframe")
    assert await frame.locator("main", has_text="Anna-nobody-was-told").count() == 0
    await frame.get_by_role("button", name="立即刷新").click()
    await in_sidebar(page, "Anna-nobody-was-told")


async def test_a_new_customer_is_there_at_once(eyes: Watched) -> None:
    page = await opened(eyes)
    await page.get_by_label("Name of a new customer").fill("Clara <i>")
    await page.get_by_role("button", name="Add", exact=True).click()
    await logged(page, "add_external_contact → acknowledged")
    await in_sidebar(page, "Clara <i>")


@pytest.mark.expects("status of 404")
async def test_both_sides_can_end_it(eyes: Watched) -> None:
    page = await opened(eyes)
    await next_second()
    await page.get_by_role("button", name="Customer deletes employee").click()
    await logged(page, "del_follow_user → acknowledged")
    await page.frame_locator("iframe").locator(".notice.ended").wait_for(timeout=20_000)
    await next_second()
    await page.get_by_role("button", name="Employee deletes customer").click()
    await logged(page, "del_external_contact → acknowledged")
    await page.frame_locator("iframe").locator("[data-failure=not_found]").wait_for(timeout=20_000)


async def test_chats_corps_and_employees_are_switched_by_hand(eyes: Watched) -> None:
    page = await opened(eyes)
    await page.get_by_role("button", name="Shared-for-ZhangSan").click()
    await in_sidebar(page, "Shared-for-ZhangSan-of-Tea")
    await page.locator("#employee").select_option("LiSi")
    await page.get_by_role("button", name="Bob-for-LiSi").click()
    await in_sidebar(page, "Bob-for-LiSi-of-Tea")
    await page.locator("#corp").select_option(BOOKS)
    await page.get_by_role("button", name="Anna-for-ZhangSan-of-Books").click()
    await in_sidebar(page, "Anna-for-ZhangSan-of-Books")


async def test_clients_and_what_goes_wrong_are_chosen_by_hand(eyes: Watched) -> None:
    page = await opened(eyes)
    await page.locator("#version").select_option("3.0.16")
    await in_sidebar(page, "Anna-for-ZhangSan-of-Tea")
    names = await page.evaluate("simulatorClient.calls.map((call) => call.name)")
    assert names[:2] == ["preVerifyJSAPI", "agentConfig"]
    await page.locator("#mode").select_option("corp-ticket")
    await page.frame_locator("iframe").locator("[data-failure=corp-ticket]").wait_for(timeout=20_000)
    await page.locator("#language").select_option("en")
    await in_sidebar(page, "The corporation’s signature was refused")
    await page.locator("#mode").select_option("browser")
    await page.frame_locator("iframe").locator("[data-failure=browser]").wait_for(timeout=20_000)


async def test_what_a_customer_calls_himself_is_text_here_too(eyes: Watched, stage: Stage) -> None:
    stage.world.set_profile(TEA, ANNA, name='<img src=x onerror="document.title=1">')
    await stage.push(stage.world.edit(TEA, ANNA, "ZhangSan", remark="<b>bold</b>"))  # type: ignore[arg-type]
    page = await eyes.client_page(f"?corpid={TEA}&userid=ZhangSan")
    await page.get_by_role("button", name="<b>bold</b>").click()
    await in_sidebar(page, "<b>bold</b>")
    assert await page.locator("#chats b, h1 b").count() == 0
