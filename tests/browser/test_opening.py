"""The sidebar opens in a client: the right customer, or words for what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.browsing import Watched, failure_in, name_in
from tests.support.stage import AGENTID, ANNA, BOB, BOOKS, SHARED, TEA, Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_BYTES = 60 * 1024


async def said(page: Any) -> str:
    return str(await page.locator("main").inner_text())


async def calls(page: Any) -> list[str]:
    return [str(name) for name in await page.evaluate("simulatorClient.calls.map((call) => call.name)")]


async def test_a_current_client_needs_the_apps_signature_only(eyes: Watched) -> None:
    page = await eyes.sidebar(version="4.1.36")
    assert await name_in(page) == "安娜 of Tea"
    assert (await calls(page))[:3] == ["agentConfig", "getContext", "getCurExternalContact"]
    text = await said(page)
    for part in ("Anna-for-ZhangSan-of-Tea", "from the fair", "VIP", "名片分享"):
        assert part in text
    assert "LiSi" not in text


async def test_an_old_client_needs_both_signatures(eyes: Watched) -> None:
    page = await eyes.sidebar(version="3.0.16")
    assert await name_in(page) == "安娜 of Tea"
    assert (await calls(page))[:2] == ["preVerifyJSAPI", "agentConfig"]


async def test_colleagues_with_the_customer_are_told(eyes: Watched, stage: Stage) -> None:
    page = await eyes.sidebar(customer=SHARED)
    assert await name_in(page) == "Shared of Tea"
    text = await said(page)
    assert "lisi" in text
    assert "Shared-for-LiSi" not in text


async def test_what_a_customer_calls_himself_is_never_markup(eyes: Watched) -> None:
    page = await eyes.sidebar(userid="LiSi", customer=BOB)
    assert await name_in(page) == "Bob <b>of</b> Tea"
    assert await page.locator("article b").count() == 0


@pytest.mark.parametrize(
    ("client", "code", "words"),
    [
        ({"mode": "agent-ticket"}, "agent-ticket", "应用签名没有通过"),
        ({"mode": "agent-ticket", "version": "3.0.16"}, "agent-ticket", "应用签名没有通过"),
        ({"mode": "corp-ticket", "version": "3.0.16"}, "corp-ticket", "企业签名没有通过"),
        ({"mode": "domain"}, "domain", "网址不是可信域名"),
        ({"mode": "permission"}, "permission", "没有查看客户的权限"),
        ({"mode": "permission", "spelling": "mac"}, "permission", "没有查看客户的权限"),
        ({"entry": "normal"}, "entry", "这里没有打开的客户"),
        ({"entry": "some_future_entry"}, "entry", "这里没有打开的客户"),
        ({"entry": "group_chat_tools"}, "group-chat", "暂不支持群聊"),
        ({"entry": "normal", "version": "3.0.16"}, "entry", "这里没有打开的客户"),
        ({"entry": "normal", "version": "3.0.16", "spelling": "mac"}, "entry", "这里没有打开的客户"),
        ({"customer": ""}, "entry", "这里没有打开的客户"),
        ({"mode": "bridge-missing"}, "bridge-missing", "企业微信没有连接到此页面"),
        ({"mode": "silent"}, "bridge-silent", "企业微信没有响应"),
        ({"mode": "silent-customer"}, "bridge-silent", "企业微信没有响应"),
    ],
)
async def test_what_the_client_refuses_is_said(eyes: Watched, client: dict[str, str], code: str, words: str) -> None:
    page = await eyes.sidebar(**client)
    assert await failure_in(page) == code
    text = await said(page)
    assert words in text
    assert code in text
    assert "Anna-for" not in await page.content()


async def test_a_refused_ticket_is_told_to_the_service_once(eyes: Watched) -> None:
    page = await eyes.sidebar(mode="agent-ticket")
    assert await failure_in(page) == "agent-ticket"
    assert (await calls(page)).count("agentConfig") <= 2
    assert "40093" in await said(page)


async def test_a_ticket_that_died_early_is_replaced_without_a_word(eyes: Watched, stage: Stage) -> None:
    first = await eyes.sidebar()
    await name_in(first)
    before = stage.simulator.counts.calls(path="ticket/get")
    stage.simulator.tickets.revoke_all()
    page = await eyes.sidebar()
    assert await name_in(page) == "安娜 of Tea"
    assert (await calls(page)).count("agentConfig") == 2
    assert stage.simulator.counts.calls(path="ticket/get") == before + 1


async def test_a_token_that_died_early_is_replaced_without_a_word(eyes: Watched, stage: Stage) -> None:
    await name_in(await eyes.sidebar())
    asked = stage.simulator.counts.gettoken[TEA, AGENTID]
    before = len(asked)
    stage.simulator.api.revoke_tokens()
    # The login redeems its code with it.
    assert await name_in(await eyes.sidebar()) == "安娜 of Tea"
    assert len(asked) == before + 1


@pytest.mark.parametrize("mode", ["late", "late-silently"])
async def test_a_bridge_that_comes_late_is_waited_for(eyes: Watched, mode: str) -> None:
    assert await name_in(await eyes.sidebar(mode=mode)) == "安娜 of Tea"


async def test_a_client_of_another_corp_is_recognised(eyes: Watched, stage: Stage) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    # The page is of one corp, the client is logged in to another.
    other = await eyes.context.new_page()
    settings = json.dumps({"corpid": BOOKS, "customer": ANNA})
    await other.add_init_script(f"window.simulatorClient = {settings}")
    await other.goto(stage.page())
    assert await failure_in(other) == "identity"
    assert "92002" in await said(other)


async def test_a_plain_browser_is_told_where_the_page_belongs(eyes: Watched) -> None:
    page = await eyes.sidebar(mode="browser")
    assert await failure_in(page) == "browser"
    assert "请在企业微信中打开" in await said(page)
    # Nobody can log in there.
    assert not any("/login" in url or "/api/" in url for _, url in eyes.statuses)


@pytest.mark.expects("status of 404")
async def test_somebody_elses_customer_is_as_unknown_as_nobodys(eyes: Watched) -> None:
    theirs = await eyes.sidebar(customer=BOB)
    assert await failure_in(theirs) == "not_found"
    nobodys = await eyes.sidebar(customer="wmNobody00000000000000000000000000")
    assert await failure_in(nobodys) == "not_found"
    assert await said(theirs) == await said(nobodys)
    assert "Bob" not in await theirs.content()


async def test_english_by_the_clients_language(eyes: Watched) -> None:
    page = await eyes.sidebar(language="en")
    assert await name_in(page) == "安娜 of Tea"
    text = await said(page)
    for part in ("My notes", "Shared business card", "Refresh now", "Synced"):
        assert part in text
    assert await page.get_attribute("html", "lang") == "en"
    wrong = await eyes.sidebar(language="en", mode="permission")
    assert await failure_in(wrong) == "permission"
    assert "No permission to see customers" in await said(wrong)


async def test_chinese_by_the_pages_address(eyes: Watched) -> None:
    page = await eyes.sidebar(language="en", path="?lang=zh-CN")
    assert await name_in(page) == "安娜 of Tea"
    assert "我的备注" in await said(page)
    assert page.url.endswith("?lang=zh-CN")


async def background(page: Any) -> int:
    colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


async def test_dark_by_the_client_and_light_too(eyes: Watched) -> None:
    dark = await eyes.sidebar(scheme="Dark")
    await name_in(dark)
    assert await background(dark) < 3 * 60
    light = await eyes.sidebar(scheme="Light")
    await light.emulate_media(color_scheme="dark")
    await name_in(light)
    # The client's own setting counts, not the system's.
    assert await background(light) > 3 * 200


async def test_dark_by_the_system_where_the_client_says_nothing(eyes: Watched) -> None:
    page = await eyes.sidebar(mode="browser")
    await failure_in(page)
    assert await background(page) > 3 * 200
    await page.emulate_media(color_scheme="dark")
    assert await background(page) < 3 * 60


async def test_the_age_counts_up_by_itself(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    age = page.locator(".age")
    first = await age.inner_text()
    await page.wait_for_function("text => document.querySelector('.age').textContent !== text", arg=first)


async def test_the_first_load_is_small(eyes: Watched) -> None:
    page = await eyes.context.new_page()
    session = await eyes.context.new_cdp_session(page)
    await session.send("Network.enable")
    urls: dict[str, str] = {}
    sizes: dict[str, float] = {}
    session.on("Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]}))
    session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    await eyes.context.add_cookies([eyes.stage.account("ZhangSan")])
    client = {"corpid": TEA, "userid": "ZhangSan", "customer": ANNA}
    await page.add_init_script(f"window.simulatorClient = {json.dumps(client)}")
    await page.goto(eyes.stage.page())
    await name_in(page)
    # With the login, the signature, the customer and all headers; the bridge is the simulator's.
    ours = {urls[number]: size for number, size in sizes.items() if "/sidebar/" in urls[number]}
    assert 30 * 1024 < sum(ours.values()) <= MOST_BYTES, ours


async def test_narrow_and_wide_nothing_is_cut_off(eyes: Watched) -> None:
    page = await eyes.sidebar()
    await name_in(page)
    for width in (320, 360, 420):
        await page.set_viewport_size({"width": width, "height": 700})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
