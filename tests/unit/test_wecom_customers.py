"""Customers as the API tells them, however incomplete the answer is."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from tests.support.api_server import SECRET, ApiServer, assert_nothing_shown, json_answer
from wecom.client import WeComClient
from wecom.customers import GET, Customer, Follow, FollowTag, read_customer
from wecom.errors import CustomerNotVisible, NotVisible, Retry

pytestmark = pytest.mark.asyncio

ID = "woAJ2GCAAAXtWyujaWJHDDGi0mACHAAA"

NO_LISTS: tuple[Any, ...] = ({}, "rocky", 5, True)

# The published sample of document 92114.
SAMPLE: dict[str, Any] = {
    "errcode": 0,
    "errmsg": "ok",
    "external_contact": {
        "external_userid": ID,
        "name": "李四",
        "position": "Manager",
        "avatar": "https://p.example.com/bizmail/0",
        "corp_name": "腾讯",
        "corp_full_name": "腾讯科技有限公司",
        "type": 2,
        "gender": 1,
        "unionid": "ozynqsulJFCZ2z1aYeS8h-nuasdAAA",
        "external_profile": {"external_attr": [{"type": 0, "name": "文本名称", "text": {"value": "文本"}}]},
    },
    "follow_user": [
        {
            "userid": "rocky",
            "remark": "李部长",
            "description": "对接采购事务",
            "createtime": 1525779812,
            "tags": [
                {
                    "group_name": "标签分组名称",
                    "tag_name": "标签名称",
                    "tag_id": "etAJ2GCAAAXtWyujaWJHDDGi0m",
                    "type": 1,
                },
                {"group_name": "标签分组名称", "tag_name": "标签名称", "type": 2},
                {
                    "group_name": "标签分组名称",
                    "tag_name": "标签名称",
                    "tag_id": "stAJ2GCAAAXtWyujaWJHDDGi0m",
                    "type": 3,
                },
            ],
            "remark_corp_name": "腾讯科技",
            "remark_mobiles": ["13800000001", "13000000002"],
            "oper_userid": "rocky",
            "add_way": 10,
            "wechat_channels": {"nickname": "视频号名称", "source": 1},
        },
        {
            "userid": "tommy",
            "remark": "李总",
            "description": "采购问题咨询",
            "createtime": 1525881637,
            "state": "外联二维码1",
            "oper_userid": ID,
            "add_way": 3,
        },
    ],
}


async def read(client: WeComClient) -> Customer:
    return await read_customer(client, SECRET.corpid, SECRET.name, ID)


def answer(follows: Any = (), contact: Any = None, **more: Any) -> dict[str, Any]:
    found = {"external_userid": ID, "name": "x"} if contact is None else contact
    return {"errcode": 0, "external_contact": found, "follow_user": list(follows)} | more


def pages(server: ApiServer, *answers: dict[str, Any]) -> None:
    """One answer per call; the cursor that must be sent is the one of the answer before."""
    numbers = iter(range(len(answers)))

    async def turn(request: web.Request) -> web.StreamResponse:
        number = next(numbers)
        expected = {"access_token", "external_userid"} | ({"cursor"} if number else set())
        assert set(request.query) == expected
        if number:
            assert request.query["cursor"] == answers[number - 1]["next_cursor"]
        return web.json_response(answers[number])

    server.answers[GET] = turn


async def test_the_published_sample(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET] = json_answer(SAMPLE)
    rocky = Follow(
        userid="rocky",
        remark="李部长",
        description="对接采购事务",
        createtime=1525779812,
        tags=(
            FollowTag("标签分组名称", "标签名称", 1, "etAJ2GCAAAXtWyujaWJHDDGi0m"),
            FollowTag("标签分组名称", "标签名称", 2, None),
            FollowTag("标签分组名称", "标签名称", 3, "stAJ2GCAAAXtWyujaWJHDDGi0m"),
        ),
        remark_corp_name="腾讯科技",
        remark_mobiles=("13800000001", "13000000002"),
        oper_userid="rocky",
        add_way=10,
        state=None,
        wechat_channels={"nickname": "视频号名称", "source": 1},
    )
    found = await read(client)
    contact = SAMPLE["external_contact"]
    assert {name: getattr(found, name) for name in contact} == contact
    assert found.follows[0] == rocky
    assert (found.follows[1].userid, found.follows[1].state, found.follows[1].add_way) == ("tommy", "外联二维码1", 3)
    assert (found.follows[1].tags, found.follows[1].remark_mobiles) == ((), ())
    (call,) = server.asked(GET)
    assert (call.method, call.query["external_userid"]) == ("GET", ID)


async def test_three_pages_are_one_customer(server: ApiServer, client: WeComClient) -> None:
    pages(
        server,
        answer([{"userid": f"a{n}"} for n in range(500)], next_cursor="one"),
        answer([{"userid": f"b{n}"} for n in range(500)], next_cursor="two+/="),
        answer([{"userid": "c"}, {"userid": "a0", "remark": "later"}], next_cursor=""),
    )
    found = await read(client)
    assert len(server.asked(GET)) == 3
    assert len(found.follows) == 1001
    assert [follow.userid for follow in found.follows] == sorted(follow.userid for follow in found.follows)
    assert next(follow for follow in found.follows if follow.userid == "a0").remark == "later"


async def test_the_customer_need_not_come_again_on_later_pages(server: ApiServer, client: WeComClient) -> None:
    second = answer([{"userid": "b"}])
    del second["external_contact"]
    pages(server, answer([{"userid": "a"}], next_cursor="one"), second)
    found = await read(client)
    assert (found.name, [follow.userid for follow in found.follows]) == ("x", ["a", "b"])


@pytest.mark.parametrize("cursor", ["", None])
async def test_an_empty_cursor_is_the_end(server: ApiServer, client: WeComClient, cursor: str | None) -> None:
    pages(server, answer([{"userid": "a"}], next_cursor=cursor))
    assert len((await read(client)).follows) == 1


@pytest.mark.parametrize("cursor", [5, ["one"], {"c": 1}, True])
async def test_a_cursor_that_can_not_be_followed_is_not_the_end(
    server: ApiServer, client: WeComClient, cursor: Any
) -> None:
    server.answers[GET] = json_answer(answer([{"userid": "a"}], next_cursor=cursor))
    await failing(client, Retry)


async def failing(client: WeComClient, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        await read(client)
    assert type(raised.value) is kind
    assert_nothing_shown(raised.value)


async def test_the_same_cursor_twice_is_no_way_on(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET] = json_answer(answer([{"userid": "a"}], next_cursor="again"))
    await failing(client, Retry)
    assert len(server.asked(GET)) == 2


async def test_pages_have_an_end(server: ApiServer, client: WeComClient) -> None:
    async def endless(_request: web.Request) -> web.StreamResponse:
        return web.json_response(answer([], next_cursor=f"c{len(server.calls)}"))

    server.answers[GET] = endless
    await failing(client, Retry)
    assert len(server.asked(GET)) == 200


@pytest.mark.parametrize(
    "content",
    [
        *({}, {"external_contact": None}, {"external_contact": []}, {"external_contact": {}}),
        *({"external_contact": {"name": "x"}}, {"external_contact": {"external_userid": 5}}),
        *({"external_contact": {"external_userid": "woOther"}}, {"external_contact": {"external_userid": ID.lower()}}),
        {"follow_user": [{"userid": "rocky"}]},
        *({"external_contact": {"external_userid": ID}, "follow_user": wrong} for wrong in NO_LISTS),
    ],
    ids=str,
)
async def test_an_answer_without_the_customer_is_no_answer(
    server: ApiServer, client: WeComClient, content: dict[str, Any]
) -> None:
    server.answers[GET] = json_answer({"errcode": 0} | content)
    await failing(client, Retry)


async def test_an_error_on_a_later_page_is_the_error(server: ApiServer, client: WeComClient) -> None:
    pages(server, answer([{"userid": "a"}], next_cursor="one"), {"errcode": 50100, "errmsg": "invalid cursor"})
    with pytest.raises(Exception, match="50100"):
        await read(client)


async def test_a_customer_that_nobody_in_sight_has(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET] = json_answer({"errcode": 40096, "errmsg": "invalid external userid"})
    await failing(client, CustomerNotVisible)
    assert issubclass(CustomerNotVisible, NotVisible)


@pytest.mark.parametrize("follows", [[], None])
async def test_only_the_id_is_certain(server: ApiServer, client: WeComClient, follows: Any) -> None:
    server.answers[GET] = json_answer({"external_contact": {"external_userid": ID}, "follow_user": follows})
    found = await read(client)
    assert found == Customer(ID, None, None, None, None, None, None, None, None, None, ())
    server.answers[GET] = json_answer({"external_contact": {"external_userid": ID}})
    assert await read(client) == found


async def test_a_field_that_is_empty_is_empty_and_not_absent(server: ApiServer, client: WeComClient) -> None:
    contact = {"external_userid": ID, "name": "", "position": "", "external_profile": {}, "gender": 0}
    follow = {"userid": "a", "remark": "", "description": "", "tags": [], "remark_mobiles": [], "state": ""}
    server.answers[GET] = json_answer(answer([follow], contact))
    found = await read(client)
    assert (found.name, found.position, found.external_profile, found.gender, found.avatar) == ("", "", {}, 0, None)
    (relation,) = found.follows
    assert (relation.remark, relation.description, relation.state, relation.tags) == ("", "", "", ())
    assert (relation.remark_mobiles, relation.remark_corp_name, relation.createtime) == ((), None, None)


WRONG: list[Any] = [
    None,
    5,
    -1.5,
    True,
    "text",
    "5",
    [],
    [None],
    ["x", 5],
    {},
    {"a": [1]},
    [[["x"]]],
    10**30,
    "x" * 20_000,
]
CONTACT_FIELDS = tuple(set(SAMPLE["external_contact"]) - {"external_userid"})
FOLLOW_FIELDS = (*SAMPLE["follow_user"][0], "state")
TAG_FIELDS = ("group_name", "tag_name", "type", "tag_id")


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: repr(value)[:20])
async def test_what_does_not_fit_is_left_out(server: ApiServer, client: WeComClient, wrong: Any) -> None:
    contact = {"external_userid": ID} | dict.fromkeys(CONTACT_FIELDS, wrong)
    follows: list[Any] = [
        dict.fromkeys(FOLLOW_FIELDS, wrong) | {"userid": "whole"},
        {"userid": wrong},
        wrong,
        {"userid": "tagged", "tags": [wrong, dict.fromkeys(TAG_FIELDS, wrong), {"tag_id": "et1", "type": 1}]},
    ]
    server.answers[GET] = json_answer(answer(follows, contact))
    found = await read(client)
    known = {follow.userid: follow for follow in found.follows}
    assert {"whole", "tagged"} <= set(known)
    assert known["tagged"].tags[-1] == FollowTag(None, None, 1, "et1")
    for holder, names, kinds in (
        (found, ("name", "avatar", "unionid", "position", "corp_name", "corp_full_name"), str),
        (found, ("type", "gender"), int),
        (found, ("external_profile",), dict),
        (known["whole"], ("remark", "description", "remark_corp_name", "oper_userid", "state"), str),
        (known["whole"], ("createtime", "add_way"), int),
        (known["whole"], ("wechat_channels",), dict),
    ):
        for name in names:
            value = getattr(holder, name)
            assert value is None or (type(value) is kinds and value == (wrong[:10_000] if kinds is str else wrong))
    assert all(type(mobile) is str for mobile in known["whole"].remark_mobiles)
    assert known["whole"].remark_mobiles == (("x",) if wrong == ["x", 5] else ())


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        *((0, 0), (1525779812, 1525779812), (253_402_300_799, 253_402_300_799)),
        *((253_402_300_800, None), (2**62, None), (-1, None), (-(2**40), None), (True, None), (1.5, None)),
    ],
)
async def test_a_moment_is_one_that_a_date_can_have(
    server: ApiServer, client: WeComClient, sent: Any, kept: int | None
) -> None:
    server.answers[GET] = json_answer(answer([{"userid": "a", "createtime": sent}]))
    assert (await read(client)).follows[0].createtime == kept


@pytest.mark.parametrize("sent", [2**31, -(2**31), 10**40])
async def test_a_number_is_one_that_a_column_can_have(server: ApiServer, client: WeComClient, sent: int) -> None:
    server.answers[GET] = json_answer(answer([{"userid": "a", "add_way": sent}], {"external_userid": ID, "type": sent}))
    found = await read(client)
    assert (found.type, found.follows[0].add_way) == (None, None)


async def test_members_are_lower_case_and_customers_are_not(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET] = json_answer(
        answer(
            [{"userid": "ZhangSan", "oper_userid": ID}, {"userid": "LISI"}, {"userid": "zhangsan", "remark": "last"}]
        )
    )
    found = await read(client)
    assert found.external_userid == ID
    assert [follow.userid for follow in found.follows] == ["lisi", "zhangsan"]
    assert found.follows[1].remark == "last"
    assert found.follows[0].oper_userid is None


async def test_ids_longer_than_any_are_not_taken(server: ApiServer, client: WeComClient) -> None:
    follows = [{"userid": "x" * 129}, {"userid": "y" * 128, "tags": [{"tag_id": "t" * 129, "tag_name": "n"}]}]
    server.answers[GET] = json_answer(answer(follows))
    (follow,) = (await read(client)).follows
    assert follow.userid == "y" * 128
    assert follow.tags == (FollowTag(None, "n", None, None),)


async def test_long_texts_are_cut(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET] = json_answer(answer([{"userid": "a", "remark": "备" * 20_000}]))
    assert (await read(client)).follows[0].remark == "备" * 10_000
