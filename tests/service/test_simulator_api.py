"""The API of the small WeCom over HTTP: tokens, pages, every error code, every fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.simulators import AGENTID, Clock, tiny_world
from tests.support.waiting import until
from wecom.simulator.faults import ANSWERS
from wecom.simulator.server import Simulator
from wecom.simulator.world import World

pytestmark = pytest.mark.asyncio

GET, LIST, FOLLOW_USERS = "externalcontact/get", "externalcontact/list", "externalcontact/get_follow_user_list"


class Bench:
    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.simulator = simulator
        self.world: World = simulator.world
        self.session = session
        self.clock = clock

    async def raw(self, path: str, **params: str) -> tuple[int, str, bytes]:
        async with self.session.get(f"{self.simulator.url}/cgi-bin/{path}", params=params) as response:
            return response.status, response.content_type, await response.read()

    async def call(self, path: str, **params: str) -> dict[str, Any]:
        status, kind, body = await self.raw(path, **params)
        assert (status, kind) == (200, "application/json")
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def token(self, corpid: str = "ww1", secret: str | None = None) -> str:
        answer = await self.call("gettoken", corpid=corpid, corpsecret=secret or f"secret-{corpid}")
        assert answer["errcode"] == 0
        return str(answer["access_token"])

    async def errcode(self, path: str, **params: str) -> int:
        answer = await self.call(path, **params)
        assert list(answer)[:2] == ["errcode", "errmsg"]
        if answer["errcode"]:
            assert f"devtool/query?e={answer['errcode']}" in answer["errmsg"]
        else:
            assert answer["errmsg"] == "ok"
        return int(answer["errcode"])


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = Clock()
    async with Simulator(tiny_world(clock), page_size=2) as simulator, aiohttp.ClientSession() as session:
        yield Bench(simulator, session, clock)


async def test_a_token_is_the_same_while_it_is_valid(bench: Bench) -> None:
    first = await bench.call("gettoken", corpid="ww1", corpsecret="secret-ww1")
    assert (first["errcode"], first["errmsg"], first["expires_in"]) == (0, "ok", 7200)
    bench.clock.tick(7000)
    again = await bench.call("gettoken", corpid="ww1", corpsecret="secret-ww1")
    assert (again["access_token"], again["expires_in"]) == (first["access_token"], 200)
    bench.clock.tick(200)
    assert await bench.token() != first["access_token"]
    times = bench.simulator.counts.gettoken["ww1", AGENTID]
    assert [moment - times[0] for moment in times] == [0, 7000, 7200]


async def test_each_app_and_corp_has_a_token_of_its_own(bench: Bench) -> None:
    tokens = {await bench.token("ww1"), await bench.token("ww2"), await bench.token("ww1", "blind-ww1")}
    assert len(tokens) == 3
    assert max(map(len, tokens)) <= 512


async def test_gettoken_refuses(bench: Bench) -> None:
    assert await bench.errcode("gettoken", corpid="ww1", corpsecret="wrong") == 40001
    assert await bench.errcode("gettoken", corpid="ww9", corpsecret="wrong") == 40013
    assert await bench.errcode("gettoken", corpid="ww1") == 41004
    assert await bench.errcode("gettoken", corpsecret="secret-ww1") == 41002
    assert bench.simulator.counts.gettoken["ww1", None] == [bench.clock.now]
    assert bench.simulator.counts.by_outcome("ww1") == {40001: 1, 41004: 1}
    assert bench.simulator.counts.foreign == 0


async def test_tokens_that_are_refused(bench: Bench) -> None:
    token = await bench.token()
    assert await bench.errcode(FOLLOW_USERS) == 41001
    assert await bench.errcode(FOLLOW_USERS, access_token="nonsense") == 40014
    assert await bench.errcode(FOLLOW_USERS, access_token=token) == 0
    bench.simulator.api.revoke_tokens()
    assert await bench.errcode(FOLLOW_USERS, access_token=token) == 40014
    token = await bench.token()
    bench.clock.tick(7200)
    assert await bench.errcode(FOLLOW_USERS, access_token=token) == 42001
    assert bench.simulator.counts.by_outcome() == {0: 3, 41001: 1, 40014: 2, 42001: 1}


async def test_tokens_are_revoked_after_so_many_calls(bench: Bench) -> None:
    bench.simulator.faults.set(revoke_every=3)
    for _ in range(2):
        token = await bench.token()
        assert [await bench.errcode(FOLLOW_USERS, access_token=token) for _ in range(3)] == [0, 0, 40014]
    assert bench.simulator.counts.revocations == 2


async def test_the_customer_is_shown_by_its_own_corp(bench: Bench) -> None:
    bench.world.add("ww1", "woB", "zhangsan")
    bench.world.add("ww2", "woB", "LISI")
    answer = await bench.call(GET, access_token=await bench.token(), external_userid="woB")
    assert answer["external_contact"] == {
        "external_userid": "woB",
        "name": "Bob of ww1",
        "type": 2,
        "gender": 1,
        "avatar": "https://b",
        "position": "Buyer",
        "corp_name": "Blue",
    }
    assert [follow["userid"] for follow in answer["follow_user"]] == ["ZhangSan"]
    assert "next_cursor" not in answer
    other = await bench.call(GET, access_token=await bench.token("ww2"), external_userid="woB")
    assert other["external_contact"]["name"] == "Bob of ww2"
    assert other["follow_user"][0]["userid"] == "LiSi"


async def test_names_that_utf_8_can_not_carry_are_escaped(bench: Bench) -> None:
    bench.world.add("ww1", "wmA", "LiSi")
    token = await bench.token()
    for name in ("🌸\0", "half \ud83c"):
        bench.world.set_profile("ww1", "wmA", name=name)
        answer = await bench.call(GET, access_token=token, external_userid="wmA")
        assert answer["external_contact"]["name"] == name


async def test_followers_come_in_pages(bench: Bench) -> None:
    for employee in ("ZhangSan", "LiSi", "wangwu"):
        bench.world.add("ww1", "wmA", employee)
    params = {"access_token": await bench.token(), "external_userid": "wmA"}
    first = await bench.call(GET, **params)
    last = await bench.call(GET, **params, cursor=first["next_cursor"])
    pages = [[follow["userid"] for follow in page["follow_user"]] for page in (first, last)]
    assert pages == [["ZhangSan", "LiSi"], ["wangwu"]]
    assert last["external_contact"] == first["external_contact"]
    assert last["next_cursor"] == ""
    for cursor in ("2", "nonsense", first["next_cursor"] + "0", "4" + first["next_cursor"][1:]):
        assert await bench.errcode(GET, **params, cursor=cursor) == 50100
    bench.world.add("ww1", "woB", "LiSi")
    of_another = params | {"external_userid": "woB"}
    assert await bench.errcode(GET, **of_another, cursor=first["next_cursor"]) == 50100


async def test_customers_who_are_not_shown(bench: Bench) -> None:
    token = await bench.token()
    assert await bench.errcode(GET, access_token=token) == 41035
    assert await bench.errcode(GET, access_token=token, external_userid="wmNobody") == 40096
    assert await bench.errcode(GET, access_token=token, external_userid="wmA") == 40096
    bench.world.add("ww1", "wmA", "LiSi")
    assert await bench.errcode(GET, access_token=token, external_userid="wmA") == 0
    assert await bench.errcode(GET, access_token=token, external_userid="WMA") == 40096
    bench.clock.tick(1)
    bench.world.customer_delete("ww1", "wmA", "LiSi")
    assert await bench.errcode(GET, access_token=token, external_userid="wmA") == 0
    bench.clock.tick(1)
    bench.world.delete("ww1", "wmA", "LiSi")
    assert await bench.errcode(GET, access_token=token, external_userid="wmA") == 40096
    assert bench.simulator.counts.foreign == 0


async def test_the_first_read_after_an_add_may_show_nobody_or_not_the_new_one(bench: Bench) -> None:
    bench.simulator.faults.set(unseen_share=1.0)
    token = await bench.token()
    bench.world.add("ww1", "wmA", "LiSi")
    assert [await bench.errcode(GET, access_token=token, external_userid="wmA") for _ in range(2)] == [84061, 0]
    bench.world.add("ww1", "wmA", "ZhangSan")
    answers = [await bench.call(GET, access_token=token, external_userid="wmA") for _ in range(2)]
    assert [len(answer["follow_user"]) for answer in answers] == [1, 2]


async def test_an_add_that_lags_is_84061_until_it_is_shown(bench: Bench) -> None:
    bench.simulator.faults.set(lag_share=1.0, lag_seconds=2)
    token = await bench.token()
    bench.world.add("ww1", "wmA", "LiSi")
    assert await bench.errcode(GET, access_token=token, external_userid="wmA") == 84061
    bench.clock.tick(2)
    assert await bench.errcode(GET, access_token=token, external_userid="wmA") == 0


async def test_an_app_without_customer_data_is_refused(bench: Bench) -> None:
    token = await bench.token(secret="blind-ww1")
    for path in (GET, LIST, FOLLOW_USERS):
        assert await bench.errcode(path, access_token=token, external_userid="wmA", userid="LiSi") == 48002


async def test_lists(bench: Bench) -> None:
    token = await bench.token()
    assert (await bench.call(FOLLOW_USERS, access_token=token))["follow_user"] == ["ZhangSan", "LiSi", "wangwu"]
    for customer in ("wmA", "woB"):
        bench.world.add("ww1", customer, "LiSi")
    assert (await bench.call(LIST, access_token=token, userid="lisi"))["external_userid"] == ["wmA", "woB"]
    assert (await bench.call(LIST, access_token=token, userid="wangwu"))["external_userid"] == []
    bench.clock.tick(1)
    bench.world.delete("ww1", "wmA", "LiSi")
    bench.world.customer_delete("ww1", "woB", "LiSi")
    assert (await bench.call(LIST, access_token=token, userid="LiSi"))["external_userid"] == ["woB"]
    assert await bench.errcode(LIST, access_token=token, userid="nobody") == 60111
    assert await bench.errcode(LIST, access_token=token) == 41009


async def test_what_belongs_to_another_corp_is_refused_and_counted(bench: Bench) -> None:
    """Once each: a customer, a secret, an employee of another corp."""
    token = await bench.token("ww1")
    counts = bench.simulator.counts
    bench.world.add("ww2", "wmOnly-ww2", "LiSi")
    # The same id in both corps is nobody's mistake.
    bench.world.add("ww2", "wmA", "LiSi")
    assert await bench.errcode(GET, access_token=token, external_userid="wmA") == 40096
    assert counts.foreign == 0
    assert await bench.errcode(GET, access_token=token, external_userid="wmOnly-ww2") == 40096
    assert counts.foreign == 1
    assert await bench.errcode("gettoken", corpid="ww1", corpsecret="secret-ww2") == 40001
    assert counts.foreign == 2
    bench.world.corp("ww2").employees["guest"] = bench.world.corp("ww2").employees["lisi"]
    assert await bench.errcode(LIST, access_token=token, userid="guest") == 60111
    assert counts.foreign == 3


async def test_a_limited_corp_gets_45009_on_everything_but_gettoken(bench: Bench) -> None:
    one, two = await bench.token("ww1"), await bench.token("ww2")
    bench.simulator.faults.rate_limit("ww1", 3600)
    assert await bench.errcode(FOLLOW_USERS, access_token=one) == 45009
    assert await bench.errcode(GET, access_token=one, external_userid="wmA") == 45009
    assert await bench.errcode(FOLLOW_USERS, access_token=two) == 0
    assert await bench.token("ww1") == one
    bench.clock.tick(3600)
    assert await bench.errcode(FOLLOW_USERS, access_token=one) == 0
    counts = bench.simulator.counts
    assert counts.calls(outcome=45009) == counts.calls(corpid="ww1", outcome=45009) == 2
    assert counts.calls(corpid="ww1", path=GET) == counts.calls(corpid="ww1", path=GET, outcome=45009) == 1


async def test_too_many_calls_at_once(bench: Bench) -> None:
    token, other = await bench.token("ww1"), await bench.token("ww2")
    bench.simulator.faults.set(at_once=2, latency_seconds=0.05)
    calls = [bench.errcode(FOLLOW_USERS, access_token=token) for _ in range(5)]
    calls += [bench.errcode(FOLLOW_USERS, access_token=other), bench.errcode(LIST, access_token=token, userid="LiSi")]
    codes = await asyncio.gather(*calls)
    assert sorted(codes[:5]) == [0, 0, 45033, 45033, 45033]
    assert codes[5:] == [0, 0]
    assert await bench.errcode(FOLLOW_USERS, access_token=token) == 0


async def test_answers_that_are_none(bench: Bench) -> None:
    token = await bench.token()
    seen = {}
    for kind in ANSWERS:
        if kind != "slow":
            bench.simulator.faults.answer_next(kind)
            seen[kind] = await bench.raw(FOLLOW_USERS, access_token=token)
            assert await bench.errcode(FOLLOW_USERS, access_token=token) == 0
    assert seen["html"][:2] == (200, "text/html")
    assert seen["bad_gateway"][:2] == (502, "text/html")
    assert seen["truncated"][:2] == (200, "application/json")
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(seen["truncated"][2])
    assert seen["empty"][2] == b"{}"
    assert json.loads(seen["busy"][2])["errcode"] == -1
    assert bench.simulator.counts.calls(outcome="html") == 1


async def test_a_slow_answer_is_late_and_right(bench: Bench) -> None:
    token = await bench.token()
    bench.simulator.faults.set(slow_seconds=1)
    bench.simulator.faults.answer_next("slow")
    slow = asyncio.create_task(bench.errcode(FOLLOW_USERS, access_token=token))
    await until(lambda: not bench.simulator.faults.as_json()["next_answers"])
    assert await bench.errcode(LIST, access_token=token, userid="LiSi") == 0
    assert not slow.done()
    assert await slow == 0


async def test_what_it_does_not_have(bench: Bench) -> None:
    token = await bench.token()
    assert (await bench.raw("externalcontact/nonsense", access_token=token))[0] == 404
    async with bench.session.post(f"{bench.simulator.url}/cgi-bin/{GET}", json={}) as response:
        assert response.status == 405
    assert bench.simulator.counts.calls(path=GET) == 0


async def test_it_listens_on_loopback_only() -> None:
    world = tiny_world(Clock())
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com", ""):
        with pytest.raises(ValueError, match="loopback"):
            Simulator(world, host=host)
    async with Simulator(world, host="localhost") as simulator:
        assert simulator.url.startswith("http://")
        port = int(simulator.url.rpartition(":")[2])
    assert world.observers == []
    # The port is free again at once.
    async with Simulator(world, port=port) as simulator:
        assert simulator.url == f"http://127.0.0.1:{port}"
