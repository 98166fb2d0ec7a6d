"""The page follows: another chat, another remark, an end of the relation; and no late answer is ever shown."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Page, Route

from tests.support.browsing import Watched, failure_in, name_in
from tests.support.stage import ANNA, BOB, SHARED, TEA, Stage, next_second
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def switch(page: Page, customer: str) -> None:
    await page.evaluate("customer => { simulatorClient.customer = customer }", customer)


async def until_shown(page: Page, text: str, timeout: float = 20.0) -> None:
    await page.wait_for_function("text => document.body.innerText.includes(text)", arg=text, timeout=timeout * 1000)


class Held:
    """Answers for one customer, kept back until told."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.answered = asyncio.Event()

    async def __call__(self, route: Route) -> None:
        self.asked.set()
        # The product has answered by then.
        response = await route.fetch()
        await self.go.wait()
        try:
            await route.fulfill(response=response)
        finally:
            self.answered.set()


async def test_an_edited_remark_shows_after_the_push(eyes: Watched, stage: Stage) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    change = stage.world.edit(TEA, ANNA, "ZhangSan", remark="Anna-after-lunch")
    assert change is not None
    await stage.push(change)
    await until_shown(page, "Anna-after-lunch")
    assert "Anna-for-ZhangSan" not in await page.content()


async def test_what_was_never_pushed_shows_after_refresh_now(eyes: Watched, stage: Stage) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    stage.world.edit(TEA, ANNA, "ZhangSan", remark="Anna-not-pushed")
    await page.get_by_role("button", name="立即刷新").click()
    await until_shown(page, "Anna-not-pushed")
    await until_shown(page, "已更新")
    assert await page.locator(".age").inner_text() in {f"{seconds} 秒前同步" for seconds in range(5)}


async def test_a_customer_who_deleted_the_employee_is_marked(eyes: Watched, stage: Stage) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    # The two events of one relation must not have the same second.
    await next_second()
    await stage.push(stage.world.customer_delete(TEA, ANNA, "ZhangSan"))
    await page.locator(".notice.ended").wait_for(timeout=20_000)
    assert await name_in(page) == "安娜 of Tea"


@pytest.mark.expects("status of 404")
async def test_a_customer_whom_the_employee_deleted_goes_away(eyes: Watched, stage: Stage) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    await next_second()
    await stage.push(stage.world.delete(TEA, ANNA, "ZhangSan"))
    assert await failure_in(page) == "not_found"
    assert "Anna-for" not in await page.content()


async def test_the_page_follows_the_chat(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    await switch(page, SHARED)
    await until_shown(page, "Shared-for-ZhangSan-of-Tea")
    assert "Anna-for" not in await page.content()
    await switch(page, ANNA)
    await until_shown(page, "Anna-for-ZhangSan-of-Tea")
    assert "Shared-for" not in await page.content()


async def test_a_late_answer_for_the_chat_before_is_dropped(eyes: Watched) -> None:
    held = Held()
    await eyes.context.route(re.compile(f"/api/customers/{ANNA}$"), held)
    page = await eyes.sidebar()
    async with asyncio.timeout(DEADLINE):
        await held.asked.wait()
    await switch(page, SHARED)
    await until_shown(page, "Shared-for-ZhangSan-of-Tea")
    await eyes.forbid(page, "Anna-for-ZhangSan")
    held.go.set()
    async with asyncio.timeout(DEADLINE):
        await held.answered.wait()
    # It has arrived, and what came after it as well.
    await page.get_by_role("button", name="立即刷新").click()
    await until_shown(page, "已更新")
    assert "Shared-for-ZhangSan-of-Tea" in await page.content()


async def test_an_answer_of_the_client_that_was_overtaken_is_dropped(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    # A slow answer, Anna, is under way when the chat is switched and the next question is answered at once.
    await page.evaluate("simulatorClient.delay = 2500; window.dispatchEvent(new Event('focus'))")
    await page.evaluate("simulatorClient.delay = 0")
    await switch(page, SHARED)
    await page.evaluate("window.dispatchEvent(new Event('focus'))")
    await until_shown(page, "Shared-for-ZhangSan-of-Tea")
    await eyes.forbid(page, "Anna-for-ZhangSan")
    # The overtaken one has been given by then, and so has every other.
    await page.wait_for_function("() => simulatorClient.calls.every((call) => call.answer)", timeout=20_000)
    await page.get_by_role("button", name="立即刷新").click()
    await until_shown(page, "已更新")
    assert "Shared-for-ZhangSan-of-Tea" in await page.content()


async def test_a_slow_client_is_followed_too(eyes: Watched) -> None:
    page = await eyes.sidebar(delay=1200)
    await name_in(page)
    await switch(page, SHARED)
    await until_shown(page, "Shared-for-ZhangSan-of-Tea")
    assert "Anna-for" not in await page.content()


@pytest.mark.expects("status of 404")
async def test_nobodys_chat_empties_the_page_and_the_next_one_fills_it(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    await switch(page, "")
    assert await failure_in(page) == "entry"
    assert "Anna-for" not in await page.content()
    await switch(page, BOB)
    await page.locator("[data-failure=not_found]").wait_for(timeout=20_000)
    await switch(page, SHARED)
    await until_shown(page, "Shared-for-ZhangSan-of-Tea")


async def test_one_question_without_an_answer_is_forgiven(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    await page.evaluate(
        """() => {
          const { invoke } = WeixinJSBridge;
          let left = 1;
          WeixinJSBridge.invoke = (...args) => (left-- > 0 ? undefined : invoke(...args));
        }"""
    )
    before = await page.evaluate("simulatorClient.calls.length")
    await page.wait_for_function(f"() => simulatorClient.calls.length >= {before} + 2", timeout=20_000)
    assert await name_in(page) == "安娜 of Tea"


async def test_a_client_that_stops_answering_leaves_nobody_beside_the_chat(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    await page.evaluate("WeixinJSBridge.invoke = () => {}")
    assert await failure_in(page, timeout=40) == "bridge-silent"
    assert "Anna-for" not in await page.content()


@pytest.mark.expects("net::ERR_FAILED")
async def test_a_lost_connection_is_said_and_passes(eyes: Watched) -> None:
    await eyes.context.route(re.compile("/api/customers/"), lambda route: route.abort())
    page = await eyes.sidebar()
    assert await failure_in(page) == "network"
    assert "网络连接失败" in await page.content()
    await eyes.context.unroute(re.compile("/api/customers/"))
    assert await name_in(page) == "安娜 of Tea"


@pytest.mark.expects("net::ERR_FAILED")
async def test_what_is_shown_stays_while_it_cant_be_brought_up_to_date(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    await eyes.context.route(re.compile("/api/customers/"), lambda route: route.abort())
    await until_shown(page, "暂时无法更新")
    assert await name_in(page) == "安娜 of Tea"


@pytest.mark.expects("net::ERR_FAILED", "Failed to fetch dynamically imported module")
async def test_an_sdk_that_does_not_load_is_a_lost_connection(eyes: Watched) -> None:
    await eyes.context.route(re.compile("wecom.prod.js"), lambda route: route.abort())
    page = await eyes.sidebar()
    assert await failure_in(page) == "network"


@pytest.mark.expects("status of 502")
async def test_words_of_a_proxy_in_between_are_not_taken_for_answers(eyes: Watched) -> None:
    async def proxy(route: Route) -> None:
        await route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")

    await eyes.context.route(re.compile("/api/signature"), proxy)
    page = await eyes.sidebar()
    assert await failure_in(page) == "unavailable"
    assert "502" in await page.content()
