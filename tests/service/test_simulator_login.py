"""The simulator's login page, codes and tickets, as the platform's documents have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import pytest_asyncio

from tests.support.simulators import AGENTID, Clock, tiny_world
from wecom.simulator.oauth import ACCOUNT_COOKIE, account_cookie, read_account
from wecom.simulator.server import Simulator
from wecom.simulator.tickets import AGENT, APP_LIMIT, CONFIG

pytestmark = pytest.mark.asyncio

BACK = "https://crm.example.com/callback?page=1"
OTHER_AGENT = 1000003


class Bench:
    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.simulator = simulator
        self.session = session
        self.clock = clock

    async def authorize(self, account: str | None = None, **more: str) -> tuple[int, str]:
        """Status, and where it sends or what it says."""
        query = {
            "appid": "ww1",
            "redirect_uri": BACK,
            "response_type": "code",
            "scope": "snsapi_base",
            "state": "abc123",
            "agentid": str(AGENTID),
        } | more
        headers = {"Cookie": f"{ACCOUNT_COOKIE}={account}"} if account is not None else {}
        address = f"{self.simulator.url}/connect/oauth2/authorize"
        query = {name: value for name, value in query.items() if value != "-"}
        async with self.session.get(address, params=query, headers=headers, allow_redirects=False) as response:
            return response.status, response.headers.get("Location") or await response.text()

    async def code(self, account: str = account_cookie("ww1", "ZhangSan"), **more: str) -> str:
        status, location = await self.authorize(account, **more)
        assert status == 302
        return parse_qs(urlsplit(location).query)["code"][0]

    async def call(self, path: str, corpid: str = "ww1", secret: str | None = None, **params: str) -> dict[str, Any]:
        async def get(path: str, **params: str) -> dict[str, Any]:
            async with self.session.get(f"{self.simulator.url}/cgi-bin/{path}", params=params) as response:
                return dict(await response.json())

        token = await get("gettoken", corpid=corpid, corpsecret=secret or f"secret-{corpid}")
        return await get(path, access_token=token["access_token"], **params)

    async def redeem(self, code: str, **more: str) -> dict[str, Any]:
        answer = await self.call("auth/getuserinfo", code=code, **more)
        return {name: value for name, value in answer.items() if name != "errmsg"}

    @property
    def agent(self) -> Any:
        return self.simulator.world.corp("ww1").agents[0]


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = Clock()
    async with Simulator(tiny_world(clock)) as simulator, aiohttp.ClientSession() as session:
        yield Bench(simulator, session, clock)


async def test_an_employee_is_sent_back_with_code_and_state(bench: Bench) -> None:
    status, location = await bench.authorize(account_cookie("ww1", "ZhangSan"))
    assert status == 302
    assert location.startswith(BACK + "&code=")
    assert location.endswith("&state=abc123")
    assert await bench.redeem(await bench.code()) == {"errcode": 0, "userid": "ZhangSan"}


async def test_the_accounts_spelling_survives_the_cookie() -> None:
    for account in (("ww1", "ZhangSan"), ("a:b", "z;h=,ang san"), ("", "wmA")):
        assert read_account(account_cookie(*account)) == account
    assert read_account("") is None
    assert read_account("ww1:") is None


@pytest.mark.parametrize(
    ("more", "errcode"),
    [
        ({"appid": "ww9"}, 40013),
        ({"response_type": "token"}, 40035),
        ({"scope": "all"}, 40035),
        ({"state": "not-hex"}, 84025),
        ({"state": "a" * 129}, 84025),
        ({"agentid": "7"}, 40056),
        ({"redirect_uri": "javascript:alert(1)"}, 50001),
        ({"redirect_uri": "//evil.example"}, 50001),
    ],
)
async def test_a_wrong_parameter_is_said_and_sends_nowhere(bench: Bench, more: dict[str, str], errcode: int) -> None:
    status, words = await bench.authorize(account_cookie("ww1", "ZhangSan"), **more)
    assert status == 400
    assert f"errcode {errcode}" in words


async def test_without_an_account_it_is_no_client(bench: Bench) -> None:
    status, words = await bench.authorize()
    assert (status, "WeCom client" in words) == (200, True)


@pytest.mark.parametrize("account", [account_cookie("ww2", "ZhangSan"), account_cookie("ww1", "nobody"), ":wmZ"])
async def test_somebody_else_is_a_visitor(bench: Bench, account: str) -> None:
    answer = await bench.redeem(await bench.code(account))
    assert set(answer) == {"errcode", "openid"}


async def test_a_customer_is_told_by_their_id_if_somebody_has_them(bench: Bench) -> None:
    assert "external_userid" not in await bench.redeem(await bench.code(":wmA"))
    bench.simulator.world.add("ww1", "wmA", "ZhangSan")
    assert (await bench.redeem(await bench.code(":wmA")))["external_userid"] == "wmA"


async def test_a_code_counts_once_for_five_minutes_and_for_its_app(bench: Bench) -> None:
    code = await bench.code()
    assert (await bench.redeem(code, secret="blind-ww1"))["errcode"] == 40029
    assert (await bench.redeem(code, corpid="ww2"))["errcode"] == 40029
    assert (await bench.redeem(code))["errcode"] == 0
    assert (await bench.redeem(code))["errcode"] == 40029
    code = await bench.code()
    bench.clock.tick(301)
    assert (await bench.redeem(code))["errcode"] == 42003
    assert (await bench.redeem("junk"))["errcode"] == 40029
    assert (await bench.redeem(""))["errcode"] == 41008


async def test_a_code_without_an_app_is_for_each_of_the_corp(bench: Bench) -> None:
    assert (await bench.redeem(await bench.code(agentid="-"), secret="blind-ww1"))["userid"] == "ZhangSan"


async def test_the_trusted_domain(bench: Bench) -> None:
    code = await bench.code()
    bench.agent.trusted_domain = "other.example.com"
    assert (await bench.redeem(code))["errcode"] == 50001
    status, words = await bench.authorize(account_cookie("ww1", "ZhangSan"))
    assert (status, "50001" in words) == (400, True)
    bench.agent.trusted_domain = "crm.example.com"
    assert (await bench.redeem(await bench.code()))["errcode"] == 0


async def test_codes_can_be_made_to_fail(bench: Bench) -> None:
    bench.simulator.oauth.fail_next(40029)
    code = await bench.code()
    assert (await bench.redeem(code))["errcode"] == 40029
    assert (await bench.redeem(code))["errcode"] == 0


async def test_the_visible_range(bench: Bench) -> None:
    assert (await bench.call("user/get", userid="zhangsan"))["userid"] == "ZhangSan"
    assert (await bench.call("user/get", userid="nobody"))["errcode"] == 60111
    bench.agent.visible = frozenset({"lisi"})
    assert (await bench.call("user/get", userid="zhangsan"))["errcode"] == 60011


async def test_tickets_are_the_same_while_valid_and_of_two_kinds(bench: Bench) -> None:
    corp = await bench.call("get_jsapi_ticket")
    app = await bench.call("ticket/get", type="agent_config")
    assert (corp["expires_in"], app["expires_in"]) == (7200, 7200)
    assert corp["ticket"] != app["ticket"]
    assert (await bench.call("get_jsapi_ticket"))["ticket"] == corp["ticket"]
    tickets = bench.simulator.tickets
    assert tickets.valid("ww1", CONFIG, AGENTID) == [corp["ticket"]]
    assert tickets.valid("ww1", CONFIG, OTHER_AGENT) == [corp["ticket"]]
    assert tickets.valid("ww1", AGENT, AGENTID) == [app["ticket"]]
    assert tickets.valid("ww1", AGENT, OTHER_AGENT) == tickets.valid("ww2", CONFIG, AGENTID) == []
    assert (await bench.call("ticket/get", type="jsapi"))["errcode"] == 40035


async def test_tickets_end_and_can_be_revoked(bench: Bench) -> None:
    old = (await bench.call("get_jsapi_ticket"))["ticket"]
    async with bench.session.post(f"{bench.simulator.url}/simulator/faults", json={"revoke_tickets": True}) as answer:
        assert answer.status == 200
    assert bench.simulator.tickets.valid("ww1", CONFIG, AGENTID) == []
    new = (await bench.call("get_jsapi_ticket"))["ticket"]
    assert new != old
    bench.clock.tick(7200)
    assert bench.simulator.tickets.valid("ww1", CONFIG, AGENTID) == []
    assert bench.simulator.tickets.given() == [old, new]


async def test_an_app_may_ask_so_often_and_no_more(bench: Bench) -> None:
    answers = [(await bench.call("get_jsapi_ticket"))["errcode"] for _ in range(APP_LIMIT + 1)]
    assert answers == [0] * APP_LIMIT + [45009]
    bench.clock.tick(3600)
    assert (await bench.call("get_jsapi_ticket"))["errcode"] == 0
