"""Tags of customers as the API tells them, however incomplete the answer is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api_server import SECRET, ApiServer, api_server, json_answer
from wecom.client import WeComClient
from wecom.customer_tags import (
    CORP_TAGS,
    STRATEGY_TAGS,
    Tag,
    TagGroup,
    read_all_tags,
    read_tag,
    read_tag_group,
)
from wecom.errors import CorpPaused, NotVisible, RateLimited, Retry

pytestmark = pytest.mark.asyncio

# The published sample of document 92117.
SAMPLE: dict[str, Any] = {
    "errcode": 0,
    "errmsg": "ok",
    "tag_group": [
        {
            "group_id": "TAG_GROUPID1",
            "group_name": "GOURP_NAME",
            "create_time": 1557838797,
            "order": 1,
            "deleted": False,
            "tag": [
                {"id": "TAG_ID1", "name": "NAME1", "create_time": 1557838797, "order": 1, "deleted": False},
                {"id": "TAG_ID2", "name": "NAME2", "create_time": 1557838797, "order": 2, "deleted": True},
            ],
        }
    ],
}
NONE: dict[str, Any] = {"errcode": 0, "tag_group": []}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as running:
        running.answers |= {CORP_TAGS: json_answer(NONE), STRATEGY_TAGS: json_answer(NONE)}
        yield running


async def one_tag(client: WeComClient, tag_id: str = "TAG_ID1") -> TagGroup:
    return await read_tag(client, SECRET.corpid, SECRET.name, tag_id)


async def one_group(client: WeComClient, group_id: str = "TAG_GROUPID1") -> TagGroup:
    return await read_tag_group(client, SECRET.corpid, SECRET.name, group_id)


async def everything(client: WeComClient) -> tuple[TagGroup, ...]:
    return await read_all_tags(client, SECRET.corpid, SECRET.name)


def bodies(server: ApiServer, api: str) -> list[Any]:
    assert all(call.method == "POST" for call in server.asked(api))
    return [json.loads(call.body) for call in server.asked(api)]


async def test_the_published_sample(server: ApiServer, client: WeComClient) -> None:
    server.answers[CORP_TAGS] = json_answer(SAMPLE)
    found = await one_group(client)
    one = Tag("TAG_ID1", "TAG_GROUPID1", "NAME1", 1, 1, 1557838797, deleted=False)
    two = Tag("TAG_ID2", "TAG_GROUPID1", "NAME2", 1, 2, 1557838797, deleted=True)
    assert found == TagGroup("TAG_GROUPID1", "GOURP_NAME", 1, 1557838797, None, False, (one, two))
    assert await one_tag(client) == TagGroup("TAG_GROUPID1", "GOURP_NAME", 1, 1557838797, None, False, (one,))
    assert (await one_tag(client, "TAG_ID2")).tags == (two,)
    assert bodies(server, CORP_TAGS) == [
        {"group_id": ["TAG_GROUPID1"]},
        {"tag_id": ["TAG_ID1"]},
        {"tag_id": ["TAG_ID2"]},
    ]
    assert server.asked(STRATEGY_TAGS) == []


async def test_a_rule_groups_tag_is_in_the_other_list(server: ApiServer, client: WeComClient) -> None:
    groups = [SAMPLE["tag_group"][0] | {"strategy_id": 1}]
    server.answers[STRATEGY_TAGS] = json_answer(SAMPLE | {"tag_group": groups})
    found = await one_tag(client)
    assert (found.strategy_id, found.tags[0].type) == ("1", 3)
    assert bodies(server, STRATEGY_TAGS) == [{"tag_id": ["TAG_ID1"]}]
    server.answers[CORP_TAGS] = json_answer({"errcode": 40068, "errmsg": "invalid tagid"})
    assert (await one_group(client)).strategy_id == "1"


@pytest.mark.parametrize(
    ("sent", "kept"), [(7, "7"), ("STRATEGY_ID", "STRATEGY_ID"), ("", None), (True, None), ([], None)]
)
async def test_a_strategy_is_a_number_or_a_text(
    server: ApiServer, client: WeComClient, sent: Any, kept: str | None
) -> None:
    group = SAMPLE["tag_group"][0] | {"strategy_id": sent}
    server.answers[STRATEGY_TAGS] = json_answer({"errcode": 0, "tag_group": [group]})
    assert (await one_group(client)).strategy_id == kept


@pytest.mark.parametrize("code", [0, 40068, 48002, 40058])
async def test_what_neither_list_has_is_not_visible(server: ApiServer, client: WeComClient, code: int) -> None:
    server.answers[STRATEGY_TAGS] = json_answer({"errcode": code, "errmsg": "", "tag_group": []})
    for reading in (one_tag(client), one_group(client)):
        with pytest.raises(NotVisible):
            await reading


async def test_answers_about_other_tags_are_not_taken(server: ApiServer, client: WeComClient) -> None:
    server.answers[CORP_TAGS] = json_answer(SAMPLE)
    for reading in (one_tag(client, "tag_id1"), one_group(client, "TAG_GROUPID1 ")):
        with pytest.raises(NotVisible):
            await reading


@pytest.mark.parametrize(("code", "kind"), [(60020, CorpPaused), (45009, RateLimited), (-1, Retry)])
@pytest.mark.parametrize("api", [CORP_TAGS, STRATEGY_TAGS])
async def test_other_trouble_is_not_taken_for_absence(
    server: ApiServer, client: WeComClient, api: str, code: int, kind: type[Exception]
) -> None:
    server.answers[api] = json_answer({"errcode": code, "errmsg": "words"})
    with pytest.raises(kind):
        await everything(client)
    with pytest.raises(kind):
        await one_tag(client)


@pytest.mark.parametrize("wrong", [{}, "text", 5, True])
async def test_groups_that_are_no_list_are_no_answer(server: ApiServer, client: WeComClient, wrong: Any) -> None:
    server.answers[CORP_TAGS] = json_answer({"errcode": 0, "tag_group": wrong})
    with pytest.raises(Retry):
        await one_tag(client)


async def test_everything_is_both_lists(server: ApiServer, client: WeComClient) -> None:
    server.answers[CORP_TAGS] = json_answer({"errcode": 0, "tag_group": [{"group_id": "a"}, {"group_id": "b"}]})
    server.answers[STRATEGY_TAGS] = json_answer({"errcode": 0, "tag_group": [{"group_id": "b"}, {"group_id": "c"}]})
    assert [group.group_id for group in await everything(client)] == ["a", "b", "c"]
    assert bodies(server, CORP_TAGS) == bodies(server, STRATEGY_TAGS) == [{}]


async def test_the_tags_of_a_deleted_group_are_deleted(server: ApiServer, client: WeComClient) -> None:
    group = {"group_id": "g", "deleted": True, "tag": [{"id": "t"}, {"id": "u", "deleted": False}]}
    server.answers[CORP_TAGS] = json_answer({"errcode": 0, "tag_group": [group]})
    found = await one_group(client, "g")
    assert (found.deleted, [tag.deleted for tag in found.tags]) == (True, [True, True])


@pytest.mark.parametrize(
    "wrong", [None, 5, -1.5, True, "text", [], {}, [None], 10**30, "x" * 20_000], ids=lambda v: repr(v)[:20]
)
async def test_what_does_not_fit_is_left_out(server: ApiServer, client: WeComClient, wrong: Any) -> None:
    names = ("name", "create_time", "order", "deleted")
    tags: list[Any] = [wrong, {"id": wrong}, {"id": "t"} | dict.fromkeys(names, wrong)]
    group = {"group_id": "g", "tag": tags} | dict.fromkeys(("group_name", "create_time", "order"), wrong)
    groups: list[Any] = [wrong, {"group_id": wrong}, group, {"group_id": "h", "tag": wrong}]
    server.answers[CORP_TAGS] = json_answer({"errcode": 0, "tag_group": groups})
    found = {one.group_id: one for one in await everything(client)}
    assert found["h"].tags == ()
    tag = {one.tag_id: one for one in found["g"].tags}["t"]
    text = wrong[:10_000] if isinstance(wrong, str) else None
    number = 5 if wrong == 5 else None
    assert (tag.tag_name, tag.create_time, tag.sort_order, tag.deleted) == (text, number, number, wrong is True)
    assert (found["g"].group_name, found["g"].create_time, found["g"].sort_order) == (text, number, number)


@pytest.mark.parametrize(("sent", "kept"), [(2**32 - 1, 2**32 - 1), (2**40, None), (0, 0)])
async def test_orders_are_larger_than_32_bits_with_a_sign(
    server: ApiServer, client: WeComClient, sent: int, kept: int | None
) -> None:
    server.answers[CORP_TAGS] = json_answer({"errcode": 0, "tag_group": [{"group_id": "g", "order": sent}]})
    assert (await one_group(client, "g")).sort_order == kept
