"""Customer groups as the API tells them, however incomplete the answer is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.api_server import SECRET, ApiServer, json_answer
from wecom.client import WeComClient
from wecom.errors import NotVisible, Retry
from wecom.group_chats import GET, GroupChat, Member, read_group_chat

pytestmark = pytest.mark.asyncio

ID = "wrOgQhDgAAMYQiS5ol9G7gK9JVAAAA"

# The published sample of document 92122.
SAMPLE: dict[str, Any] = {
    "chat_id": ID,
    "name": "销售客服群",
    "owner": "ZhuShengBen",
    "create_time": 1572505490,
    "notice": "文明沟通，拒绝脏话",
    "member_list": [
        {
            "userid": "abel",
            "type": 1,
            "join_time": 1572505491,
            "join_scene": 1,
            "invitor": {"userid": "Jack"},
            "group_nickname": "客服小张",
            "name": "张三丰",
        },
        {
            "userid": "wmOgQhDgAAuXFJGwbve4g4iXknfOAAAA",
            "type": 2,
            "unionid": "ozynqsulJFCZ2z1aYeS8h-nuasdAAA",
            "join_time": 1572505491,
            "join_scene": 1,
            "group_nickname": "顾客老王",
            "name": "王语嫣",
            "state": "shop 5",
        },
    ],
    "admin_list": [{"userid": "Sam"}, {"userid": "pony"}],
    "member_version": "71217227bbd112ecfe3a49c482195cb4",
}


async def read(server: ApiServer, client: WeComClient, chat: Any) -> GroupChat:
    server.answers[GET] = json_answer({"errcode": 0, "group_chat": chat})
    return await read_group_chat(client, SECRET.corpid, SECRET.name, ID)


async def test_the_published_sample(server: ApiServer, client: WeComClient) -> None:
    abel = Member(1, "abel", 1572505491, 1, "jack", "客服小张", "张三丰", None, None)
    wang = Member(
        *(2, "wmOgQhDgAAuXFJGwbve4g4iXknfOAAAA", 1572505491, 1, None, "顾客老王", "王语嫣"),
        *("ozynqsulJFCZ2z1aYeS8h-nuasdAAA", "shop 5"),
    )
    assert await read(server, client, SAMPLE) == GroupChat(
        *(ID, "销售客服群", "zhushengben", "文明沟通，拒绝脏话", 1572505490, ("pony", "sam")),
        *("71217227bbd112ecfe3a49c482195cb4", (abel, wang)),
    )
    (call,) = server.asked(GET)
    assert (call.method, json.loads(call.body)) == ("POST", {"chat_id": ID, "need_name": 1})


async def test_only_the_id_is_certain(server: ApiServer, client: WeComClient) -> None:
    assert await read(server, client, {"chat_id": ID}) == GroupChat(ID, None, None, None, None, (), None, None)
    empty = {"chat_id": ID, "name": "", "notice": "", "owner": "", "admin_list": [], "member_list": []}
    assert await read(server, client, empty) == GroupChat(ID, "", None, "", None, (), None, ())


@pytest.mark.parametrize("wrong", [None, [], {}, {"chat_id": ID.lower()}, {"name": "x"}, SAMPLE | {"member_list": {}}])
async def test_an_answer_without_the_group_is_no_answer(server: ApiServer, client: WeComClient, wrong: Any) -> None:
    with pytest.raises(Retry):
        await read(server, client, wrong)


@pytest.mark.parametrize("code", [40050, 49008, 90501, 90509, 60111, 84074])
async def test_a_group_that_is_not_shown(server: ApiServer, client: WeComClient, code: int) -> None:
    server.answers[GET] = json_answer({"errcode": code, "errmsg": "words"})
    with pytest.raises(NotVisible):
        await read_group_chat(client, SECRET.corpid, SECRET.name, ID)


async def test_members_are_told_apart_by_type_and_id(server: ApiServer, client: WeComClient) -> None:
    listed: list[Any] = [
        {"userid": "Abel", "type": 1, "name": "first"},
        {"userid": "abel", "type": 1, "name": "again"},
        *({"userid": "abel", "type": 2}, {"userid": "ABEL", "type": 2}, {"userid": "Abel", "type": 9}),
    ]
    found = (await read(server, client, SAMPLE | {"member_list": listed})).members or ()
    members = [(member.type, member.userid, member.name) for member in found]
    assert members == [(1, "abel", "again"), (2, "ABEL", None), (2, "abel", None), (9, "Abel", None)]


WRONG: list[Any] = [None, 5, -1.5, True, "text", [], [None], {}, 10**30, "x" * 20_000]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: repr(value)[:20])
async def test_what_does_not_fit_is_left_out(server: ApiServer, client: WeComClient, wrong: Any) -> None:
    names = ("join_time", "join_scene", "group_nickname", "name", "unionid", "state")
    listed: list[Any] = [
        *(wrong, {"userid": wrong, "type": 1}, {"userid": "", "type": 1}),
        {"userid": "a", "type": 1, "invitor": wrong} | dict.fromkeys(names, wrong),
        {"userid": "b", "type": 2, "invitor": {"userid": wrong}},
    ]
    columns = ("name", "owner", "notice", "create_time", "admin_list", "member_version")
    found = await read(server, client, {"chat_id": ID, "member_list": listed} | dict.fromkeys(columns, wrong))
    text = wrong[:10_000] if isinstance(wrong, str) else None
    short = wrong if wrong == "text" else None
    number = 5 if wrong == 5 else None
    assert (found.name, found.notice, found.create_time, found.admins) == (text, text, number, ())
    assert (found.owner, found.member_version) == (short, short)
    known = {member.userid: member for member in found.members or ()}
    assert set(known) == {"a", "b"} | ({"text"} if short else set())
    a = known["a"]
    assert (a.join_time, a.join_scene, a.group_nickname, a.name, a.state) == (number, number, text, text, text)
    assert (a.unionid, a.invitor, known["b"].invitor) == (short, None, short)
