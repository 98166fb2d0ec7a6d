"""The API of the small WeCom about employees, departments, tags and groups, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.simulators import RULE, STAGE, Clock, tiny_world
from wecom.simulator.server import Simulator
from wecom.simulator.state import PERSONAL_TAG, Place, Tag
from wecom.simulator.world import World

pytestmark = pytest.mark.asyncio

CORP_TAGS, RULE_TAGS = "externalcontact/get_corp_tag_list", "externalcontact/get_strategy_tag_list"
CHATS, CHAT = "externalcontact/groupchat/list", "externalcontact/groupchat/get"
BATCH = "externalcontact/batch/get_by_user"


class Bench:
    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.simulator = simulator
        self.world: World = simulator.world
        self.session = session
        self.clock = clock

    async def token(self, corpid: str = "ww1", secret: str | None = None) -> str:
        params = {"corpid": corpid, "corpsecret": secret or f"secret-{corpid}"}
        async with self.session.get(f"{self.simulator.url}/cgi-bin/gettoken", params=params) as response:
            return str((await response.json())["access_token"])

    async def get(self, path: str, **params: str) -> dict[str, Any]:
        query = {"access_token": await self.token(), **params}
        async with self.session.get(f"{self.simulator.url}/cgi-bin/{path}", params=query) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    async def post(self, path: str, body: Any = None, token: str | None = None) -> dict[str, Any]:
        query = {"access_token": token or await self.token()}
        sent = {"data": body} if isinstance(body, bytes) else {"json": body if body is not None else {}}
        async with self.session.post(f"{self.simulator.url}/cgi-bin/{path}", params=query, **sent) as response:
            assert response.status == 200
            answer: dict[str, Any] = await response.json()
            return answer

    async def code(self, path: str, body: Any = None, **params: str) -> int:
        answer = await (self.get(path, **params) if body is None else self.post(path, body))
        return int(answer["errcode"])


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = Clock()
    async with Simulator(tiny_world(clock)) as simulator, aiohttp.ClientSession() as session:
        yield Bench(simulator, session, clock)


async def test_an_employee_as_an_app_of_today_sees_them(bench: Bench) -> None:
    bench.world.create_department("ww1", "Sales")
    bench.world.update_employee("ww1", "LiSi", departments=[Place(2, 5, True), 1], leaders=["wangwu"], alias="li")
    answer = await bench.get("user/get", userid="LISI")
    assert {name: answer[name] for name in answer if name not in {"errcode", "errmsg", "extattr"}} == {
        "userid": "LiSi",
        "name": "LiSi",
        "department": [2, 1],
        "order": [5, 0],
        "is_leader_in_dept": [1, 0],
        "main_department": 2,
        "position": "",
        "direct_leader": ["wangwu"],
        "telephone": "",
        "alias": "li",
        "status": 1,
    }
    assert await bench.code("user/get", userid="nobody") == 60111
    assert await bench.code("user/get") == 41009
    bench.world.corp("ww1").agents[0].visible = frozenset({"wangwu"})
    assert await bench.code("user/get", userid="lisi") == 60011
    listed = await bench.get("user/simplelist", department_id="1")
    assert listed["userlist"] == [{"userid": "wangwu", "name": "wangwu", "department": [1]}]
    assert await bench.code("user/simplelist", department_id="9") == 60123
    assert await bench.code("user/simplelist") == 40058


async def test_departments(bench: Bench) -> None:
    bench.world.create_department("ww1", "Sales", name_en="S", order=4, leaders=["lisi"])
    bench.world.create_department("ww1", "East", parentid=2)
    shown = {"id": 2, "name": "Sales", "name_en": "S", "department_leader": ["LiSi"], "parentid": 1, "order": 4}
    assert (await bench.get("department/get", id="2"))["department"] == shown
    assert await bench.code("department/get", id="9") == 60123
    assert await bench.code("department/get", id="two") == 40058
    everything = (await bench.get("department/simplelist"))["department_id"]
    assert [(one["id"], one["parentid"]) for one in everything] == [(1, 0), (2, 1), (3, 2)]
    below = (await bench.get("department/list", id="2"))["department"]
    assert [one["id"] for one in below] == [2, 3]
    assert below[0] == shown
    assert await bench.code("department/list", id="9") == 60123


async def test_employee_tags(bench: Bench) -> None:
    bench.world.create_member_tag("ww1", "night")
    bench.world.update_member_tag("ww1", 1, add_users=["lisi", "wangwu"], add_parties=[1])
    answer = await bench.get("tag/get", tagid="1")
    assert (answer["tagname"], answer["partylist"]) == ("night", [1])
    assert answer["userlist"] == [{"userid": "LiSi", "name": "LiSi"}, {"userid": "wangwu", "name": "wangwu"}]
    assert (await bench.get("tag/list"))["taglist"] == [{"tagid": 1, "tagname": "night"}]
    bench.world.corp("ww1").agents[0].visible = frozenset({"wangwu"})
    assert len((await bench.get("tag/get", tagid="1"))["userlist"]) == 1
    bench.world.delete_member_tag("ww1", 1)
    assert await bench.code("tag/get", tagid="1") == 40068


async def test_tags_of_the_corp(bench: Bench) -> None:
    won = bench.world.create_tag("ww1", "Stage", "won", order=2).object_id
    (group,) = (await bench.post(CORP_TAGS))["tag_group"]
    assert set(group) == {"group_id", "group_name", "create_time", "order", "tag"}
    assert [(tag["id"], tag["name"]) for tag in group["tag"]] == [(STAGE.tag_id, "lead"), (won, "won")]
    assert set(group["tag"][1]) == {"id", "name", "create_time", "order"}
    bench.clock.tick()
    bench.world.delete_tag("ww1", won)
    assert [tag["id"] for tag in (await bench.post(CORP_TAGS))["tag_group"][0]["tag"]] == [STAGE.tag_id]
    (asked,) = (await bench.post(CORP_TAGS, {"tag_id": [won]}))["tag_group"]
    assert asked["deleted"] is False
    assert [(tag["id"], tag["deleted"]) for tag in asked["tag"]] == [(won, True)]
    (asked,) = (await bench.post(CORP_TAGS, {"group_id": [group["group_id"]], "tag_id": [won]}))["tag_group"]
    assert [(tag["id"], tag["deleted"]) for tag in asked["tag"]] == [(STAGE.tag_id, False), (won, True)]
    bench.world.delete_tag_group("ww1", "Stage")
    assert (await bench.post(CORP_TAGS))["tag_group"] == []
    (asked,) = (await bench.post(CORP_TAGS, {"group_id": [group["group_id"]]}))["tag_group"]
    assert (asked["deleted"], {tag["deleted"] for tag in asked["tag"]}) == (True, {True})
    assert (await bench.post(CORP_TAGS, {"tag_id": ["etNobody"]}))["tag_group"] == []
    assert await bench.code(CORP_TAGS, {"tag_id": "etNobody"}) == 40058


async def test_tags_of_rule_groups_are_in_another_list(bench: Bench) -> None:
    (group,) = (await bench.post(RULE_TAGS, {"strategy_id": 1}))["tag_group"]
    assert (group["strategy_id"], [tag["id"] for tag in group["tag"]]) == (1, [RULE.tag_id])
    assert (await bench.post(RULE_TAGS, {"strategy_id": 2}))["tag_group"] == []
    assert (await bench.post(CORP_TAGS, {"tag_id": [RULE.tag_id]}))["tag_group"] == []


async def test_a_group_with_and_without_names(bench: Bench) -> None:
    bench.simulator.faults.set(chat_lag_seconds=0)
    chat_id = bench.world.create_chat("ww1", "LiSi", members=["wmA"], name="Tea", admins=["wangwu"]).object_id
    shown = (await bench.post(CHAT, {"chat_id": chat_id, "need_name": 1}))["group_chat"]
    assert shown == {
        "chat_id": chat_id,
        "name": "Tea",
        "owner": "LiSi",
        "create_time": int(bench.clock.now),
        "notice": "",
        "member_list": shown["member_list"],
        "admin_list": [{"userid": "wangwu"}],
        "member_version": bench.world.corp("ww1").chats[chat_id].version,
    }
    assert shown["member_list"][2] == {
        "userid": "wmA",
        "type": 2,
        "join_time": int(bench.clock.now),
        "join_scene": 1,
        "group_nickname": "",
        "unionid": "oA",
        "invitor": {"userid": "LiSi"},
        "name": "Anna of ww1",
    }
    nameless = (await bench.post(CHAT, {"chat_id": chat_id}))["group_chat"]["member_list"]
    assert all("name" not in member for member in nameless)
    assert await bench.code(CHAT, {"chat_id": "wrNobody"}) == 40050
    assert await bench.code(CHAT, {}) == 40058
    bench.world.corp("ww1").agents[0].visible = frozenset({"wangwu"})
    assert await bench.code(CHAT, {"chat_id": chat_id}) == 60011
    bench.world.corp("ww1").agents[0].visible = None
    bench.clock.tick()
    bench.world.dismiss_chat("ww1", chat_id)
    assert await bench.code(CHAT, {"chat_id": chat_id}) == 49008


async def test_groups_are_listed_in_pages(bench: Bench) -> None:
    chats = [bench.world.create_chat("ww1", owner).object_id for owner in ("LiSi", "wangwu", "LiSi")]
    first = await bench.post(CHATS, {"limit": 2})
    assert [one["chat_id"] for one in first["group_chat_list"]] == chats[:2]
    last = await bench.post(CHATS, {"limit": 2, "cursor": first["next_cursor"]})
    assert [one["chat_id"] for one in last["group_chat_list"]] == chats[2:]
    assert last["next_cursor"] == ""
    assert await bench.code(CHATS, {"limit": 2, "cursor": "2"}) == 50100
    owned = {"limit": 2, "owner_filter": {"userid_list": ["LISI"]}}
    assert [one["chat_id"] for one in (await bench.post(CHATS, owned))["group_chat_list"]] == [chats[0], chats[2]]
    assert await bench.code(CHATS, owned | {"cursor": first["next_cursor"]}) == 50100
    for body in ({}, {"limit": 0}, {"limit": 1001}, {"limit": 1, "owner_filter": {"userid_list": ["x"] * 101}}):
        assert await bench.code(CHATS, body) == 40058
    bench.clock.tick()
    bench.world.delete_employee("ww1", "wangwu")
    assert [one["chat_id"] for one in (await bench.post(CHATS, {"limit": 9}))["group_chat_list"]] == [
        *(chats[0], chats[2])
    ]
    left = await bench.post(CHATS, {"limit": 9, "status_filter": 1, "owner_filter": {"userid_list": ["wangwu"]}})
    assert left["group_chat_list"] == [{"chat_id": chats[1], "status": 1}]


async def test_customers_of_many_employees_come_by_relation(bench: Bench) -> None:
    for customer in ("wmA", "woB"):
        for employee in ("LiSi", "wangwu"):
            bench.world.add("ww1", customer, employee)
    bench.world.mark("ww1", "wmA", "LiSi", add=[STAGE, RULE, Tag(PERSONAL_TAG, "mine", "tea")])
    first = await bench.post(BATCH, {"userid_list": ["lisi", "wangwu"], "limit": 3})
    listed = first["external_contact_list"]
    assert [(one["external_contact"]["name"], one["follow_info"]["userid"]) for one in listed] == [
        *(("Anna of ww1", "LiSi"), ("Anna of ww1", "wangwu")),
        ("Bob of ww1", "LiSi"),
    ]
    follow = listed[0]["follow_info"]
    assert (follow["tag_id"], "tags" in follow) == ([STAGE.tag_id, RULE.tag_id], False)
    body = {"userid_list": ["lisi", "wangwu"], "cursor": first["next_cursor"]}
    last = await bench.post(BATCH, body)
    assert (len(last["external_contact_list"]), last["next_cursor"]) == (1, "")
    assert await bench.code(BATCH, body | {"userid_list": ["lisi"]}) == 50100
    assert await bench.code(BATCH, {"userid_list": ["nobody"]}) == 60111
    for wrong in ([], ["x"] * 101, "lisi"):
        assert await bench.code(BATCH, {"userid_list": wrong}) == 40058


async def test_a_group_lags_two_seconds_and_by_the_switch(bench: Bench) -> None:
    chat_id = bench.world.create_chat("ww1", "LiSi", name="old").object_id
    assert await bench.code(CHAT, {"chat_id": chat_id}) == 40050
    bench.clock.tick(2)
    assert await bench.code(CHAT, {"chat_id": chat_id}) == 0
    bench.simulator.faults.set(chat_lag_seconds=5)
    bench.world.set_chat_name("ww1", chat_id, "new")
    names = []
    for _ in range(2):
        names.append((await bench.post(CHAT, {"chat_id": chat_id}))["group_chat"]["name"])
        bench.clock.tick(5)
    assert names == ["old", "new"]


async def test_other_objects_lag_by_chance(bench: Bench) -> None:
    bench.simulator.faults.set(lag_share=1.0, lag_seconds=3)
    bench.world.create_employee("ww1", "Chen", "Chen")
    bench.world.create_department("ww1", "Sales")
    bench.world.create_member_tag("ww1", "night")
    bench.world.update_member_tag("ww1", 1, add_users=["lisi"])
    asked = (("user/get", {"userid": "chen"}), ("department/get", {"id": "2"}))
    assert [await bench.code(path, **params) for path, params in asked] == [60111, 60123]
    assert (await bench.get("tag/get", tagid="1"))["userlist"] == []
    bench.clock.tick(3)
    assert [await bench.code(path, **params) for path, params in asked] == [0, 0]
    assert len((await bench.get("tag/get", tagid="1"))["userlist"]) == 1
    bench.world.rename_employee("ww1", "Chen", "Chen.2")
    assert [await bench.code("user/get", userid=userid) for userid in ("chen", "chen.2")] == [0, 60111]
    bench.clock.tick(3)
    assert [await bench.code("user/get", userid=userid) for userid in ("chen", "chen.2")] == [60111, 0]


async def test_limits_permissions_and_nonsense(bench: Bench) -> None:
    for body in (b"{", b"[1]", b'"x"'):
        assert await bench.code(CORP_TAGS, body) == 40058
    blind = await bench.token(secret="blind-ww1")
    for path in (CORP_TAGS, CHATS, CHAT, BATCH):
        assert (await bench.post(path, token=blind))["errcode"] == 48002
    assert (await bench.post(CORP_TAGS, token="nonsense"))["errcode"] == 40014
    async with bench.session.get(f"{bench.simulator.url}/cgi-bin/{CORP_TAGS}") as response:
        assert response.status == 405
    bench.simulator.faults.rate_limit("ww1", 60)
    assert await bench.code(CORP_TAGS, {}) == 45009
    assert await bench.code("user/get", userid="lisi") == 45009
    bench.simulator.faults.rate_limit("ww1", 0)
    bench.simulator.faults.answer_next("empty")
    async with bench.session.post(f"{bench.simulator.url}/cgi-bin/{CORP_TAGS}", json={}) as response:
        assert await response.json() == {}
