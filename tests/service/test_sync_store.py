"""Snapshots behind their guard: what overwrites what, what is cleared, and what an absence does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert

from core.db.engine import Database
from core.db.tables import customer, customer_follow, customer_follow_tag, employee_alias, tag, tag_group
from sync.facts import Facts
from sync.objects.base import Answer, Written
from sync.objects.customers import write_answers, write_facts
from sync.objects.relations import tag_key
from tests.support.crm import a_customer, a_follow, corp_tag, crm_database, day, personal_tag, rows
from wecom.customers import Customer, FollowTag

pytestmark = pytest.mark.asyncio


class Store:
    """Writes one customer's answers and facts, and shows the rows."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def answer(self, fetched_at: datetime, shown: Customer | None, userid: str = "wmA") -> Written:
        async with self.database.write() as conn:
            answers = [Answer(userid, fetched_at, shown)]
            done = await write_answers(conn, self.database.dialect, "ww1", answers, day(23))
            return done[userid]

    async def facts(self, member: str = "zhangsan", userid: str = "wmA", **facts: Any) -> None:
        async with self.database.write() as conn:
            await write_facts(conn, self.database.dialect, "ww1", {(userid, member): Facts(**facts)}, day(23))

    async def customer(self) -> dict[str, Any]:
        (found,) = await rows(self.database, customer)
        return found

    async def follow(self, member: str = "zhangsan") -> dict[str, Any]:
        found = await rows(self.database, customer_follow)
        return next(row for row in found if row["follow_userid"] == member)

    async def tags(self) -> list[dict[str, Any]]:
        return await rows(self.database, customer_follow_tag, "follow_userid", "tag_id", "group_name", "tag_name")


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with crm_database(tmp_path) as database:
        yield Store(database)


async def test_every_column_of_an_answer_is_kept_as_it_came(store: Store) -> None:
    told = a_customer(
        a_follow(
            *("lisi",),
            remark="备" * 200,
            description="met at 🎉",
            remark_corp_name="Tea & Co",
            remark_mobiles=("13800000000", "+86 138"),
            add_way=10,
            state="shop 7",
            oper_userid="wmA",
            wechat_channels={"nickname": "视频号", "source": 1},
        ),
        name="小林 🎉",
        type=2,
        gender=1,
        avatar="http://wx.qlogo.cn/a",
        unionid="ozyn",
        position="Manager",
        corp_name="Tea",
        corp_full_name="Tea Ltd",
        external_profile={"external_attr": [{"type": 0, "name": "n", "text": {"value": "值"}}]},
    )
    await store.answer(day(11), told)
    found = await store.customer()
    names = ("name", "type", "gender", "avatar", "unionid", "position", "corp_name", "corp_full_name")
    assert {name: found[name] for name in (*names, "external_profile")} == {
        name: getattr(told, name) for name in (*names, "external_profile")
    }
    assert (found["fetched_at"], found["first_seen_at"], found["gone_at"]) == (day(11), day(23), None)
    relation = await store.follow("lisi")
    assert relation["remark_mobiles"] == ["13800000000", "+86 138"]
    columns = ("remark", "description", "remark_corp_name", "add_way", "state", "oper_userid", "wechat_channels")
    assert {name: relation[name] for name in (*columns, "createtime")} == {
        name: getattr(told.follows[0], name) for name in (*columns, "createtime")
    }


async def test_what_is_cleared_in_wecom_is_cleared_here(store: Store) -> None:
    full = a_follow(
        *("zhangsan",),
        remark_mobiles=("138",),
        remark_corp_name="Tea",
        state="shop",
        wechat_channels={"source": 1},
        tags=(corp_tag("t1"), personal_tag("mine")),
    )
    await store.answer(day(11), a_customer(full, avatar="http://a", unionid="u", external_profile={"a": 1}))
    result = await store.answer(day(12), a_customer(a_follow(remark="", description=None), name=None))
    assert result.changed
    found = await store.customer()
    assert [found[name] for name in ("name", "avatar", "unionid", "external_profile")] == [None] * 4
    relation = await store.follow()
    assert [relation[name] for name in ("remark", "description", "remark_mobiles")] == ["", None, []]
    assert [relation[name] for name in ("remark_corp_name", "state", "wechat_channels")] == [None] * 3
    assert await store.tags() == []


async def test_an_older_answer_never_overwrites_a_newer_one(store: Store) -> None:
    await store.answer(day(12), a_customer(a_follow(remark="new", tags=(corp_tag("t2"),)), name="New"))
    before = (await store.customer(), await store.follow(), await store.tags())
    result = await store.answer(day(11), a_customer(a_follow(remark="old", tags=(corp_tag("t1"),)), name="Old"))
    assert not result.changed
    assert (await store.customer(), await store.follow(), await store.tags()) == before
    await store.answer(day(11), None)
    assert (await store.follow()) == before[1]


async def test_the_guard_is_one_per_relation(store: Store) -> None:
    """An older answer still brings what the newer one did not list."""
    await store.answer(day(12), a_customer(a_follow(remark="new"), name="New"))
    await store.answer(day(11), a_customer(a_follow(remark="old"), a_follow("lisi", remark="lisi's"), name="Old"))
    assert (await store.customer())["name"] == "New"
    assert (await store.follow())["remark"] == "new"
    lisi = await store.follow("lisi")
    assert (lisi["remark"], lisi["fetched_at"], lisi["unseen_since"]) == ("lisi's", day(11), day(12))


async def test_the_same_answer_again_changes_nothing(store: Store) -> None:
    told = a_customer(a_follow(tags=(corp_tag("t1"), personal_tag("mine")), remark_mobiles=("138",)))
    assert (await store.answer(day(11), told)).changed
    before = (await store.customer(), await store.follow(), await store.tags())
    for fetched_at in (day(11), day(12)):
        result = await store.answer(fetched_at, told)
        assert not result.changed
        assert result.previous_fetch == day(11)
    moved = {"fetched_at": day(12)}
    assert (await store.customer(), await store.follow(), await store.tags()) == (
        before[0] | moved,
        before[1] | moved,
        before[2],
    )


async def test_tags_are_replaced_by_exactly_what_the_answer_lists(store: Store) -> None:
    other = a_follow("lisi", tags=(corp_tag("t9"),))
    first = a_follow(tags=(corp_tag("t1"), corp_tag("t2"), personal_tag("old")))
    await store.answer(day(11), a_customer(first, other))
    renamed = FollowTag("Level", "Gold", 1, "t2")
    await store.answer(day(12), a_customer(a_follow(tags=(renamed, corp_tag("t3"), personal_tag("new"))), other))
    assert [(row["follow_userid"], row["tag_id"], row["tag_name"]) for row in await store.tags()] == [
        ("lisi", "t9", "VIP"),
        ("zhangsan", None, "new"),
        ("zhangsan", "t2", "Gold"),
        ("zhangsan", "t3", "VIP"),
    ]


async def test_a_tag_that_is_listed_twice_is_one_row(store: Store) -> None:
    tags = (corp_tag("t1"), personal_tag("mine"), corp_tag("t1"), personal_tag("mine"))
    await store.answer(day(11), a_customer(a_follow(tags=tags)))
    assert len(await store.tags()) == 2
    assert not (await store.answer(day(12), a_customer(a_follow(tags=tags)))).changed


async def test_personal_tags_are_told_apart_by_group_and_name(store: Store) -> None:
    tags = (personal_tag("a", "g"), personal_tag("b", "g"), personal_tag("a", "h"), personal_tag("ag", ""))
    await store.answer(day(11), a_customer(a_follow(tags=tags)))
    assert sorted((row["group_name"], row["tag_name"]) for row in await store.tags()) == [
        ("", "ag"),
        ("g", "a"),
        ("g", "b"),
        ("h", "a"),
    ]
    assert tag_key(personal_tag("bc", "a")) != tag_key(personal_tag("c", "ab"))


async def test_tags_of_a_relation_that_is_not_listed_stay(store: Store) -> None:
    await store.answer(day(11), a_customer(a_follow(tags=(corp_tag("t1"),)), a_follow("lisi")))
    await store.answer(day(12), a_customer(a_follow("lisi")))
    assert [row["tag_id"] for row in await store.tags()] == ["t1"]


@pytest.mark.parametrize(
    "shown", [pytest.param(a_customer(a_follow("lisi")), id="left out"), pytest.param(None, id="84061")]
)
async def test_absence_is_noted_and_ends_nothing(store: Store, shown: Customer | None) -> None:
    await store.answer(day(11), a_customer(a_follow(remark="kept", tags=(corp_tag("t1"),))))
    result = await store.answer(day(12), shown)
    assert result.unseen["zhangsan"] == day(12)
    relation = await store.follow()
    assert (relation["unseen_since"], relation["lost_at"], relation["remark"]) == (day(12), None, "kept")
    assert relation["fetched_at"] == day(11)
    await store.answer(day(13), shown)
    assert (await store.follow())["unseen_since"] == day(12)
    await store.answer(day(14), a_customer(a_follow(remark="kept")))
    assert (await store.follow())["unseen_since"] is None


async def test_nobody_shown_leaves_the_customer_as_it_was_read_last(store: Store) -> None:
    await store.answer(day(11), a_customer(a_follow()))
    before = await store.customer()
    await store.answer(day(12), None)
    await store.answer(day(13), None)
    assert await store.customer() == before | {"gone_at": day(12)}
    await store.answer(day(14), a_customer(a_follow()))
    assert await store.customer() == before | {"fetched_at": day(14)}


@pytest.mark.parametrize("order", list(permutations([0, 1, 2])))
async def test_a_listing_and_a_later_absence_come_in_any_order(store: Store, order: tuple[int, ...]) -> None:
    answers = [(day(11), a_customer(a_follow(remark="first"))), (day(12), a_customer(a_follow(remark="last")))]
    steps: list[tuple[datetime, Customer | None]] = [*answers, (day(13), None)]
    for index in order:
        await store.answer(*steps[index])
    relation = await store.follow()
    assert (relation["remark"], relation["fetched_at"], relation["unseen_since"]) == ("last", day(12), day(13))
    assert (await store.customer())["gone_at"] == day(13)


async def test_an_ended_relation_is_not_looked_for(store: Store) -> None:
    await store.answer(day(11), a_customer(a_follow()))
    await store.facts(loss_at=day(12), loss_by="employee")
    assert (await store.answer(day(13), None)).unseen == {}
    assert (await store.follow())["unseen_since"] is None


@pytest.mark.parametrize(("by", "left"), [("employee", None), ("transfer", None), ("customer", day(15))])
async def test_a_loss_ends_the_doubt_unless_the_platform_goes_on_listing_it_and_a_new_add_begins_it_anew(
    store: Store, by: str, left: datetime | None
) -> None:
    await store.facts(add_at=day(8))
    await store.answer(day(9), None)
    assert (await store.follow())["unseen_since"] == day(9)
    await store.facts(add_at=day(8))
    assert (await store.follow())["unseen_since"] == day(9)
    # Long after: the ladder of reads is climbed again, so the doubt must not look as old as it was.
    await store.facts(add_at=day(14))
    assert (await store.follow())["unseen_since"] is None
    assert (await store.answer(day(15), None)).unseen == {"zhangsan": day(15)}
    await store.facts(loss_at=day(16), loss_by=by)
    relation = await store.follow()
    assert (relation["unseen_since"], relation["lost_at"], relation["lost_by"]) == (left, day(16), by)


async def test_what_the_customer_ended_before_it_was_ever_listed_is_looked_for_until_it_is(store: Store) -> None:
    await store.facts(add_at=day(8), loss_at=day(9), loss_by="customer")
    assert (await store.answer(day(10), None)).unseen == {"zhangsan": day(10)}
    result = await store.answer(day(11), a_customer(a_follow(since=day(8))))
    relation = await store.follow()
    assert (result.unseen, relation["unseen_since"], relation["lost_by"]) == ({}, None, "customer")
    # Once its details are known, being listed no more is what an ended relation may be.
    assert (await store.answer(day(12), None)).unseen == {}


@pytest.mark.parametrize(("by", "refuted"), [("employee", True), ("transfer", True), ("customer", False)])
async def test_a_listing_more_than_a_day_later_refutes_the_employees_loss_only(
    store: Store, by: str, refuted: bool
) -> None:
    await store.facts(add_at=day(9), loss_at=day(10), loss_by=by)
    shown = a_customer(a_follow(since=day(9)))
    await store.answer(day(10) + timedelta(hours=24), shown)
    assert (await store.follow())["lost_at"] == day(10)
    result = await store.answer(day(10) + timedelta(hours=24, seconds=1), shown)
    relation = await store.follow()
    assert (relation["lost_at"], relation["lost_by"]) == ((None, None) if refuted else (day(10), by))
    assert result.changed == refuted


async def test_a_relation_that_began_after_its_loss_stands(store: Store) -> None:
    await store.facts(loss_at=day(10), loss_by="customer")
    await store.answer(day(11), a_customer(a_follow(since=day(9))))
    assert (await store.follow())["lost_at"] == day(10)
    await store.answer(day(12), a_customer(a_follow(since=day(10, 0, 1))))
    assert (await store.follow())["lost_at"] is None


async def test_facts_of_one_relation_leave_the_others_alone(store: Store) -> None:
    await store.answer(day(9), a_customer(a_follow(), a_follow("lisi")))
    await store.facts(loss_at=day(12), loss_by="customer")
    assert (await store.follow())["lost_by"] == "customer"
    assert (await store.follow("lisi"))["lost_at"] is None


async def renamed(store: Store, old: str, new: str) -> None:
    async with store.database.write() as conn:
        row = {"corpid": "ww1", "userid": old, "new_userid": new, "happened_at": day(8)}
        await conn.execute(insert(employee_alias), [row])


async def test_an_answer_that_names_an_old_id_counts_for_the_new_one(store: Store) -> None:
    await renamed(store, "zhangsan", "zhang.san")
    told = a_follow("zhangsan", remark="kept", oper_userid="zhangsan", tags=(corp_tag("t1"),))
    await store.answer(day(11), a_customer(told))
    (relation,) = await rows(store.database, customer_follow)
    # Who started it stays as told.
    assert (relation["follow_userid"], relation["remark"], relation["oper_userid"]) == ("zhang.san", "kept", "zhangsan")
    assert [row["follow_userid"] for row in await store.tags()] == ["zhang.san"]
    assert not (await store.answer(day(12), a_customer(told))).changed


@pytest.mark.parametrize("ids", [("aaa", "zhang.san"), ("zhang.san", "zzz")], ids=["old id first", "new id first"])
async def test_of_an_old_and_a_new_id_in_one_answer_the_new_one_counts(store: Store, ids: tuple[str, str]) -> None:
    (old,) = {*ids} - {"zhang.san"}
    await renamed(store, old, "zhang.san")
    follows = [a_follow(userid, remark=userid, tags=(corp_tag(userid),)) for userid in ids]
    await store.answer(day(11), a_customer(*follows))
    (relation,) = await rows(store.database, customer_follow)
    assert (relation["follow_userid"], relation["remark"]) == ("zhang.san", "zhang.san")
    assert [row["tag_id"] for row in await store.tags()] == ["zhang.san"]


async def test_a_row_of_an_old_id_is_left_to_those_who_move_it(store: Store) -> None:
    await store.answer(day(11), a_customer(a_follow("zhangsan", remark="old")))
    before = await store.follow()
    await renamed(store, "zhangsan", "zhang.san")
    result = await store.answer(day(12), a_customer(a_follow("zhang.san", remark="new")))
    assert result.unseen == {}
    assert await store.follow() == before
    assert (await store.follow("zhang.san"))["remark"] == "new"


async def known_tags(store: Store, *, fetched_at: datetime | None, deleted: Sequence[str] = ()) -> None:
    """Tags t1 and t2 as they were read themselves."""
    first = {"corpid": "ww1", "first_seen_at": day(8), "fetched_at": fetched_at}
    async with store.database.write() as conn:
        await conn.execute(insert(tag_group), [first | {"group_id": "g", "group_name": "Group of today"}])
        for tag_id in ("t1", "t2"):
            row = first | {"tag_id": tag_id, "group_id": "g", "tag_name": f"{tag_id} of today"}
            await conn.execute(insert(tag), [row | {"deleted_at": day(10) if tag_id in deleted else None}])


@pytest.mark.parametrize("kind", [1, 3])
async def test_a_tag_that_was_deleted_meanwhile_is_left_out(store: Store, kind: int) -> None:
    await known_tags(store, fetched_at=day(9), deleted=["t1"])
    tags = (FollowTag("g", "a", kind, "t1"), FollowTag("g", "b", kind, "t2"), personal_tag("mine"))
    await store.answer(day(11), a_customer(a_follow(tags=tags)))
    assert [row["tag_id"] for row in await store.tags()] == [None, "t2"]


async def test_a_tag_that_was_deleted_later_is_taken_away_by_the_next_answer(store: Store) -> None:
    told = a_customer(a_follow(tags=(corp_tag("t1"), corp_tag("t2"))))
    await store.answer(day(11), told)
    await known_tags(store, fetched_at=day(9), deleted=["t1"])
    assert (await store.answer(day(12), told)).changed
    assert [row["tag_id"] for row in await store.tags()] == ["t2"]


@pytest.mark.parametrize(
    ("fetched_at", "expected"),
    [
        (day(12), ("Group of today", "t1 of today")),
        (day(11), ("Level", "VIP")),
        (day(10), ("Level", "VIP")),
        (None, ("Level", "VIP")),
    ],
)
async def test_a_tag_is_called_as_it_was_read_last(
    store: Store, fetched_at: datetime | None, expected: tuple[str, str]
) -> None:
    await known_tags(store, fetched_at=fetched_at)
    await store.answer(day(11), a_customer(a_follow(tags=(corp_tag("t1"),))))
    (row,) = await store.tags()
    assert (row["group_name"], row["tag_name"]) == expected


async def test_equal_ids_of_two_corps_are_two_customers(tmp_path: Path) -> None:
    async with crm_database(tmp_path, ("ww1", "ww2")) as database:
        for corpid, name in (("ww1", "Lin"), ("ww2", "Wang")):
            async with database.write() as conn:
                told = Answer("wmA", day(11), a_customer(a_follow(remark=name, tags=(corp_tag(corpid),)), name=name))
                await write_answers(conn, database.dialect, corpid, [told], day(23))
        found = await rows(database, customer, "corpid", "name")
        assert found == [{"corpid": "ww1", "name": "Lin"}, {"corpid": "ww2", "name": "Wang"}]
        tags = await rows(database, customer_follow_tag, "corpid", "tag_id")
        assert tags == [{"corpid": "ww1", "tag_id": "ww1"}, {"corpid": "ww2", "tag_id": "ww2"}]
