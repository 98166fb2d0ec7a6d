"""Employees, departments and employee tags as the API tells them, however incomplete the answer is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api_server import SECRET, ApiServer, json_answer
from wecom.client import WeComClient
from wecom.directory import (
    GET_DEPARTMENT,
    GET_TAG,
    GET_USER,
    Department,
    Member,
    MemberTag,
    Place,
    read_department,
    read_member,
    read_member_tag,
)
from wecom.errors import NotVisible, Retry

pytestmark = pytest.mark.asyncio

# The published samples of documents 90196, 95351 and 90213, shortened.
USER: dict[str, Any] = {
    "errcode": 0,
    "errmsg": "ok",
    "userid": "ZhangSan",
    "name": "张三",
    "department": [2, 1],
    "order": [10, 4294967295],
    "position": "后台工程师",
    "mobile": "13800000000",
    "gender": "1",
    "email": "zhangsan@example.com",
    "biz_mail": "zhangsan@corp.example.com",
    "is_leader_in_dept": [1, 0],
    "direct_leader": ["LiSi", "wangwu", "lisi"],
    "avatar": "https://p.example.com/0",
    "telephone": "020-123456",
    "alias": "jackzhang",
    "main_department": 1,
    "status": 1,
    "external_position": "产品经理",
}
DEPARTMENT: dict[str, Any] = {
    "id": 2,
    "name": "广州研发中心",
    "name_en": "RDGZ",
    "department_leader": ["ZhangSan", "lisi"],
    "parentid": 1,
    "order": 4294967295,
}
TAG: dict[str, Any] = {
    "tagname": "乒乓球协会",
    "userlist": [{"userid": "ZhangSan", "name": "李四"}, {"userid": "abel"}],
    "partylist": [2, 1],
}
NEWER_APP = ("mobile", "gender", "email", "biz_mail", "avatar")
WRONG: list[Any] = [None, 5, -1.5, True, "text", [], [None], ["x", 5], {}, [[["x"]]], 10**30, "x" * 20_000]


async def member(client: WeComClient, userid: str = "zhangsan") -> Member:
    return await read_member(client, SECRET.corpid, SECRET.name, userid)


async def department(client: WeComClient, number: int = 2) -> Department:
    return await read_department(client, SECRET.corpid, SECRET.name, number)


async def member_tag(client: WeComClient, number: int = 7) -> MemberTag:
    return await read_member_tag(client, SECRET.corpid, SECRET.name, number)


async def test_the_published_employee(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET_USER] = json_answer(USER)
    found = await member(client)
    same = ("userid", "name", "alias", "position", "external_position", "mobile", "telephone", "email", "biz_mail")
    for name in (*same, "avatar", "status", "main_department"):
        assert getattr(found, name) == USER[name]
    assert found.gender == 1
    assert found.direct_leaders == ("lisi", "wangwu")
    assert found.places == (Place(1, 0, 4294967295), Place(2, 1, 10))
    (call,) = server.asked(GET_USER)
    assert (call.method, call.query["userid"]) == ("GET", "zhangsan")


async def test_an_app_of_today_is_told_less_and_an_empty_text_is_told(server: ApiServer, client: WeComClient) -> None:
    shown = {name: value for name, value in USER.items() if name not in NEWER_APP} | {"telephone": ""}
    server.answers[GET_USER] = json_answer(shown)
    found = await member(client)
    assert [getattr(found, name) for name in NEWER_APP] == [None] * 5
    assert found.telephone == ""


@pytest.mark.parametrize(("sent", "kept"), [("0", 0), ("2", 2), (1, 1), ("3", None), ("", None), (True, None)])
async def test_gender_is_a_text_here(server: ApiServer, client: WeComClient, sent: Any, kept: int | None) -> None:
    server.answers[GET_USER] = json_answer(USER | {"gender": sent})
    assert (await member(client)).gender == kept


async def test_lists_that_are_shorter_than_the_departments(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET_USER] = json_answer(USER | {"order": [5], "is_leader_in_dept": []})
    assert (await member(client)).places == (Place(1, None, None), Place(2, None, 5))
    server.answers[GET_USER] = json_answer(USER | {"department": []})
    assert (await member(client)).places == ()
    server.answers[GET_USER] = json_answer({"errcode": 0, "userid": "zhangsan"})
    found = await member(client)
    assert (found.places, found.direct_leaders, found.name) == (None, (), None)


@pytest.mark.parametrize("shown", [{}, {"userid": "other"}, {"userid": 5}, {"userid": "x" * 129}])
async def test_an_answer_without_the_employee_is_none(
    server: ApiServer, client: WeComClient, shown: dict[str, Any]
) -> None:
    server.answers[GET_USER] = json_answer({"errcode": 0} | shown)
    with pytest.raises(Retry):
        await member(client)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: repr(value)[:20])
async def test_what_does_not_fit_is_left_out(server: ApiServer, client: WeComClient, wrong: Any) -> None:
    server.answers[GET_USER] = json_answer({"errcode": 0} | dict.fromkeys(USER, wrong) | {"errcode": 0, "userid": "a"})
    found = await member(client, "a")
    for name in (
        "name",
        "alias",
        "position",
        "external_position",
        "mobile",
        "telephone",
        "email",
        "biz_mail",
        "avatar",
    ):
        assert getattr(found, name) == (wrong[:10_000] if isinstance(wrong, str) else None)
    for name in ("status", "main_department", "gender"):
        assert getattr(found, name) == (5 if wrong == 5 and wrong is not True else None)
    assert found.direct_leaders == (("x",) if wrong == ["x", 5] else ())
    assert found.places == ((Place(5, 5, 5),) if wrong == ["x", 5] else () if isinstance(wrong, list) else None)

    server.answers[GET_DEPARTMENT] = json_answer({"department": dict.fromkeys(DEPARTMENT, wrong) | {"id": 2}})
    part = await department(client)
    text = wrong[:10_000] if isinstance(wrong, str) else None
    number = 5 if wrong == 5 and wrong is not True else None
    assert (part.name, part.name_en, part.parentid, part.sort_order) == (text, text, number, number)
    assert part.leaders == found.direct_leaders


async def test_the_published_department(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET_DEPARTMENT] = json_answer({"errcode": 0, "department": DEPARTMENT})
    assert await department(client) == Department(2, "广州研发中心", "RDGZ", 1, 4294967295, ("zhangsan", "lisi"))
    (call,) = server.asked(GET_DEPARTMENT)
    assert (call.method, call.query["id"]) == ("GET", "2")


@pytest.mark.parametrize("shown", [None, [], {}, {"id": 3}, {"id": "2"}, {"id": True}])
async def test_an_answer_without_the_department_is_none(server: ApiServer, client: WeComClient, shown: Any) -> None:
    server.answers[GET_DEPARTMENT] = json_answer({"errcode": 0, "department": shown})
    with pytest.raises(Retry):
        await department(client)


async def test_the_published_tag(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET_TAG] = json_answer({"errcode": 0} | TAG)
    assert await member_tag(client) == MemberTag(7, "乒乓球协会", ("abel", "zhangsan"), (1, 2))
    (call,) = server.asked(GET_TAG)
    assert (call.method, call.query["tagid"]) == ("GET", "7")


async def test_a_tag_that_nobody_has(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET_TAG] = json_answer({"errcode": 0, "tagname": "", "userlist": [], "partylist": []})
    assert await member_tag(client) == MemberTag(7, "", (), ())


async def test_members_that_are_none_are_left_out(server: ApiServer, client: WeComClient) -> None:
    users: list[Any] = [None, 5, "x", {}, {"userid": 5}, {"userid": ""}, {"userid": "Abel"}, {"userid": "abel"}]
    server.answers[GET_TAG] = json_answer({"userlist": users, "partylist": ["2", None, True, 2**63, 3, 3]})
    assert await member_tag(client) == MemberTag(7, None, ("abel",), (3,))


@pytest.mark.parametrize("shown", [{}, {"tagname": 5}, {"tagname": "a", "userlist": {}}, {"partylist": "2"}])
async def test_an_answer_without_the_tag_is_none(server: ApiServer, client: WeComClient, shown: dict[str, Any]) -> None:
    server.answers[GET_TAG] = json_answer({"errcode": 0} | shown)
    with pytest.raises(Retry):
        await member_tag(client)


@pytest.mark.parametrize(
    ("api", "code"),
    [
        *((GET_USER, code) for code in (40003, 46004, 60011, 60021, 60111)),
        *((GET_DEPARTMENT, code) for code in (60003, 60011, 60123)),
        *((GET_TAG, code) for code in (40068, 60011)),
    ],
)
async def test_what_is_not_there_or_out_of_range(server: ApiServer, client: WeComClient, api: str, code: int) -> None:
    server.answers[api] = json_answer({"errcode": code, "errmsg": ""})
    read: Any = {GET_USER: member, GET_DEPARTMENT: department, GET_TAG: member_tag}[api]
    with pytest.raises(NotVisible):
        await read(client)
