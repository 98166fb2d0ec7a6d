"""Customers' tags and their groups in the tables, and in the relations that have them: the same on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert, select

from core.db.engine import Database
from core.db.tables import HISTORY, customer, customer_follow, customer_follow_tag, pending_read, tag, tag_group
from sync.effects import EVERYTHING, TAG, TAG_GROUP
from sync.facts import Existence
from sync.objects.base import Answer, Cause, Kind, Written
from sync.objects.existence import write_existence
from sync.objects.tag_groups import TagGroups
from sync.objects.tags import Tags
from tests.support.crm import crm_database_at, day, rows
from tests.support.versions import check_history, versions
from wecom.customer_tags import Tag, TagGroup

pytestmark = pytest.mark.asyncio

EVENT = Cause("event", "e1", day(9))
LONG_AGO = day(1)
LATER = Cause("event", "e2", day(10))
NAMES = ("tag_id", "tag_name", "group_name")


@pytest_asyncio.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    async with crm_database_at(migrated_url) as opened:
        yield opened


def a_tag(tag_id: str, name: str | None = "VIP", group: str = "g", *, deleted: bool = False, order: int = 1) -> Tag:
    return Tag(tag_id, group, name, 1, order, 1557838797, deleted)


def a_group(*tags: Tag, group_id: str = "g", name: str = "Level", deleted: bool = False, order: int = 1) -> TagGroup:
    return TagGroup(group_id, name, order, 1557838797, None, deleted, tags)


async def write(database: Database, kind: Kind, *answers: Answer) -> dict[str, Written]:
    async with database.write() as conn:
        now = await database.clock(conn)
        return await kind.write(conn, database.dialect, "ww1", answers, now)


async def tags_say(
    database: Database, found: TagGroup | None, hour: int, tag_id: str = "t", cause: Cause = EVENT
) -> Written:
    return (await write(database, Tags(), Answer(tag_id, day(hour), found, cause)))[tag_id]


async def groups_say(database: Database, found: Any, hour: int, group_id: str = "g", cause: Cause = EVENT) -> Written:
    return (await write(database, TagGroups(), Answer(group_id, day(hour), found, cause)))[group_id]


async def told(database: Database, kind: str, object_id: str, **moments: datetime) -> None:
    async with database.write() as conn:
        now = await database.clock(conn)
        facts = {(kind, object_id): Existence(**moments, cause=EVENT)}
        await write_existence(conn, database.dialect, "ww1", facts, now)


async def tagged(
    database: Database,
    customers: Iterable[str],
    *tags: tuple[str, str, str],
    member: str = "lisi",
    read_at: datetime = LONG_AGO,
) -> None:
    """Relations of these customers, last read then, with these tags: id, name, name of the group."""
    customers = list(customers)
    async with database.write() as conn:
        known = set((await conn.execute(select(customer.c.userid))).scalars())
        fresh = [{"corpid": "ww1", "userid": one, "first_seen_at": day(1)} for one in customers if one not in known]
        if fresh:
            await conn.execute(insert(customer), fresh)
        keys = [{"corpid": "ww1", "userid": one, "follow_userid": member} for one in customers]
        await conn.execute(insert(customer_follow), [key | {"fetched_at": read_at} for key in keys])
        lines = [
            {**key, "tag_key": tag_id, "type": 1, "tag_id": tag_id, "tag_name": name, "group_name": group}
            for key in keys
            for tag_id, name, group in tags
        ]
        personal: dict[str, Any] = {"tag_key": "personal:1", "type": 2, "tag_id": None, "tag_name": "VIP"}
        lines += [{**key, **personal, "group_name": "Level"} for key in keys]
        await conn.execute(insert(customer_follow_tag), lines)
        opened = {"valid_from": day(1), "valid_to": None, "source": "upgrade", "event_id": None, "happened_at": None}
        await conn.execute(insert(HISTORY["customer_follow_tag"]), [line | opened for line in lines])


async def corp_tags(database: Database, *columns: str) -> list[tuple[Any, ...]]:
    """Of the relations' tags those that are the corp's."""
    wanted = columns or NAMES
    found = await rows(database, customer_follow_tag)
    return [tuple(row[name] for name in wanted) for row in found if row["type"] == 1]


async def the_tag(database: Database, tag_id: str = "t") -> dict[str, Any]:
    return next(row for row in await rows(database, tag) if row["tag_id"] == tag_id)


async def the_group(database: Database, group_id: str = "g") -> dict[str, Any]:
    return next(row for row in await rows(database, tag_group) if row["group_id"] == group_id)


async def agree(database: Database) -> None:
    await check_history(database, tag)
    await check_history(database, tag_group)
    await check_history(database, customer_follow_tag, gaps=True)


async def wishes(database: Database) -> set[tuple[str, str]]:
    return {(row["kind"], row["object_id"]) for row in await rows(database, pending_read)}


async def test_a_tag_comes_with_its_group(database: Database) -> None:
    result = await tags_say(database, a_group(a_tag("t", order=2**32 - 1)), 10)
    assert (result.changed, result.previous_fetch, result.unseen, result.unfinished) == (True, None, {}, False)
    row = await the_tag(database)
    assert (row["tag_name"], row["group_id"], row["type"], row["sort_order"]) == ("VIP", "g", 1, 2**32 - 1)
    assert (row["create_time"], row["fetched_at"], row["gone_at"]) == (1557838797, day(10), None)
    group = await the_group(database)
    assert (group["group_name"], group["sort_order"], group["fetched_at"]) == ("Level", 1, day(10))
    for table in (tag, tag_group):
        (version,) = await versions(database, table)
        assert (version["source"], version["event_id"], version["happened_at"]) == ("event", "e1", day(9))
    await agree(database)
    assert await wishes(database) == set()


async def test_the_same_again_changes_nothing(database: Database) -> None:
    await tags_say(database, a_group(a_tag("t")), 10)
    result = await tags_say(database, a_group(a_tag("t")), 11)
    assert (result.changed, result.previous_fetch, (await the_tag(database))["fetched_at"]) == (False, day(10), day(11))
    assert len(await versions(database, tag)) == len(await versions(database, tag_group)) == 1


@pytest.mark.parametrize("hour", [9, 10])
async def test_an_answer_that_is_not_newer_changes_nothing(database: Database, hour: int) -> None:
    await tags_say(database, a_group(a_tag("t")), 10)
    for older in (a_group(a_tag("t", "old"), name="old"), None, a_group(a_tag("t", deleted=True))):
        result = await tags_say(database, older, hour)
        assert (result.changed, result.unseen) == (False, {})
    row = await the_tag(database)
    assert (row["tag_name"], row["gone_at"], row["deleted_at"]) == ("VIP", None, None)
    assert (await the_group(database))["group_name"] == "Level"
    await agree(database)


async def test_absence_is_not_the_end(database: Database) -> None:
    await tagged(database, ["wmA"], ("t", "VIP", "Level"))
    await tags_say(database, a_group(a_tag("t")), 10)
    assert (await tags_say(database, None, 12)).changed
    assert not (await tags_say(database, None, 13)).changed
    row = await the_tag(database)
    assert (row["tag_name"], row["gone_at"], row["deleted_at"], row["fetched_at"]) == ("VIP", day(12), None, day(10))
    await tags_say(database, a_group(a_tag("t")), 11)
    assert (await the_tag(database))["gone_at"] == day(12)
    await tags_say(database, a_group(a_tag("t")), 14)
    assert (await the_tag(database))["gone_at"] is None
    assert await corp_tags(database) == [("t", "VIP", "Level")]
    await agree(database)


async def test_a_tag_that_events_made_and_no_answer_has_is_looked_for(database: Database) -> None:
    await told(database, TAG, "t", created_at=day(9))
    assert (await tags_say(database, None, 10)).unseen == {"": day(10)}
    assert (await tags_say(database, None, 11)).unseen == {"": day(10)}
    assert (await tags_say(database, a_group(a_tag("t")), 12)).unseen == {}
    await agree(database)


async def test_a_deleted_tag_leaves_every_relation(database: Database) -> None:
    await tagged(database, ["wmA", "wmB"], ("t", "VIP", "Level"), ("u", "New", "Level"))
    await tagged(database, ["wmA"], ("t", "VIP", "Level"), member="zhangsan")
    result = await tags_say(database, a_group(a_tag("t", deleted=True)), 10)
    # Read once more: a writer of customers may have been at work.
    assert (result.changed, result.unseen, result.unfinished) == (False, {}, False)
    row = await the_tag(database)
    assert (row["deleted_at"], row["gone_at"], row["tag_name"]) == (day(10), day(10), "VIP")
    assert await corp_tags(database, "userid", "tag_id") == [("wmA", "u"), ("wmB", "u")]
    closed = await versions(database, customer_follow_tag, tag_key="t")
    assert len(closed) == 3
    assert all(version["valid_to"] is not None for version in closed)
    await agree(database)


async def test_a_deletion_that_events_tell_needs_no_answer(database: Database) -> None:
    await tagged(database, ["wmA"], ("t", "VIP", "Level"))
    await told(database, TAG, "t", deleted_at=day(9))
    result = await tags_say(database, None, 10)
    assert result.unseen == {}
    assert (await the_tag(database))["deleted_at"] == day(9)
    assert await corp_tags(database) == []
    await agree(database)


async def test_a_late_answer_brings_no_deleted_tag_back(database: Database) -> None:
    await told(database, TAG, "t", created_at=day(1), deleted_at=day(9))
    result = await tags_say(database, a_group(a_tag("t")), 10)
    assert result.unseen == {"": day(9)}
    row = await the_tag(database)
    assert (row["deleted_at"], row["gone_at"], row["tag_name"]) == (day(9), None, "VIP")
    answer = Answer("t", day(9) + timedelta(hours=24), a_group(a_tag("t")), EVENT)
    await write(database, Tags(), answer)
    assert (await the_tag(database))["deleted_at"] == day(9)
    answer = Answer("t", day(9) + timedelta(hours=24, seconds=1), a_group(a_tag("t")), EVENT)
    assert (await write(database, Tags(), answer))["t"].unseen == {}
    assert (await the_tag(database))["deleted_at"] is None
    await agree(database)


async def test_that_the_platform_says_deleted_is_final(database: Database) -> None:
    await tags_say(database, a_group(a_tag("t", deleted=True)), 10)
    await tags_say(database, a_group(a_tag("t")), 20)
    assert (await the_tag(database))["deleted_at"] == day(10)
    await agree(database)


@pytest.mark.parametrize("name", ["Gold", "vip", "VIP ", "ＶＩＰ", "贵宾🎉"])
async def test_relations_have_the_new_name_of_a_tag(database: Database, name: str) -> None:
    await tagged(database, ["wmA", "wmB"], ("t", "VIP", "Level"), ("T", "VIP", "Level"), ("t ", "VIP", "Level"))
    await tagged(database, ["wmC"], ("t", "read later", "Level"), read_at=day(11))
    await tags_say(database, a_group(a_tag("t")), 9)
    result = await tags_say(database, a_group(a_tag("t", name)), 10, cause=LATER)
    assert (result.changed, result.unfinished) == (False, False)
    others = [("T", "VIP", "Level"), ("t", name, "Level"), ("t ", "VIP", "Level")]
    assert await corp_tags(database) == [*others, *others, ("t", "read later", "Level")]
    before, after = await versions(database, customer_follow_tag, userid="wmA", tag_key="t")
    assert (before["tag_name"], before["valid_to"]) == ("VIP", after["valid_from"])
    assert (after["tag_name"], after["event_id"], after["happened_at"]) == (name, "e2", day(10))
    await agree(database)


async def test_a_tag_says_that_its_group_was_renamed_and_the_group_is_read(database: Database) -> None:
    await tagged(database, ["wmA"], ("t", "VIP", "Level"), ("u", "New", "Level"))
    await tags_say(database, a_group(a_tag("t")), 9)
    await tags_say(database, a_group(a_tag("t"), name="Grade"), 10)
    assert await corp_tags(database) == [("t", "VIP", "Grade"), ("u", "New", "Level")]
    assert await wishes(database) == {(TAG_GROUP, "g")}
    await groups_say(database, a_group(a_tag("t"), a_tag("u", "New"), name="Grade"), 11)
    assert await corp_tags(database) == [("t", "VIP", "Grade"), ("u", "New", "Grade")]
    await agree(database)


async def test_relations_have_the_new_name_of_a_group(database: Database) -> None:
    await tagged(database, ["wmA"], ("t", "VIP", "Level"), ("u", "New", "Level"), ("w", "Other", "Level"))
    await tagged(database, ["wmB"], ("t", "VIP", "read later"), read_at=day(11))
    await groups_say(database, a_group(a_tag("t"), a_tag("u", "New")), 9)
    result = await groups_say(database, a_group(a_tag("t"), a_tag("u", "Newer"), name="level"), 10)
    assert (result.changed, result.unfinished) == (False, False)
    expected = [("t", "VIP", "level"), ("u", "Newer", "level"), ("w", "Other", "Level"), ("t", "VIP", "read later")]
    assert await corp_tags(database) == expected
    await agree(database)


async def test_of_several_answers_about_a_group_the_newest_counts(database: Database) -> None:
    ages = {"t": ("older", 9), "u": ("newest", 11), "v": ("old", 10)}
    answers = [Answer(one, day(hour), a_group(a_tag(one), name=name), EVENT) for one, (name, hour) in ages.items()]
    await write(database, Tags(), *answers)
    group = await the_group(database)
    assert (group["group_name"], group["fetched_at"]) == ("newest", day(11))
    await agree(database)


async def test_a_group_comes_with_all_its_tags(database: Database) -> None:
    result = await groups_say(database, a_group(a_tag("t"), a_tag("u", "New"), a_tag("v", "Old")), 10)
    assert (result.changed, result.unfinished) == (True, False)
    await groups_say(database, a_group(a_tag("w", group="h"), group_id="h"), 10, "h")
    assert [row["tag_name"] for row in await rows(database, tag)] == ["VIP", "New", "Old", "VIP"]
    result = await groups_say(database, a_group(a_tag("t"), a_tag("u", order=7)), 11)
    found = {row["tag_id"]: (row["sort_order"], row["gone_at"], row["deleted_at"]) for row in await rows(database, tag)}
    assert found == {"t": (1, None, None), "u": (7, None, None), "v": (1, day(11), None), "w": (1, None, None)}
    assert not (await groups_say(database, a_group(a_tag("t"), a_tag("u", order=7)), 12)).changed
    await groups_say(database, a_group(a_tag("v", "Old")), 10)
    assert (await the_tag(database, "v"))["gone_at"] == day(11)
    await agree(database)


async def test_a_change_of_order_alone_is_a_change(database: Database) -> None:
    first = a_group(a_tag("t", order=1), a_tag("u", "New", order=2))
    second = a_group(a_tag("t", order=2), a_tag("u", "New", order=1))
    await groups_say(database, first, 10)
    assert (await groups_say(database, second, 11)).changed
    assert [row["sort_order"] for row in await rows(database, tag)] == [2, 1]


@pytest.mark.parametrize("answer", [None, a_group(deleted=True), a_group(a_tag("t"), a_tag("u", "New"))])
async def test_a_deleted_group_takes_its_tags_along(database: Database, answer: TagGroup | None) -> None:
    await tagged(database, ["wmA", "wmB"], ("t", "VIP", "Level"), ("u", "New", "Level"), ("w", "Other", "Else"))
    await groups_say(database, a_group(a_tag("t"), a_tag("u", "New")), 8)
    await groups_say(database, a_group(a_tag("w", "Other", "h"), group_id="h", name="Else"), 8, "h")
    await told(database, TAG_GROUP, "g", deleted_at=day(9))
    result = await groups_say(database, answer, 10)
    shown = answer is not None and not answer.deleted
    assert (result.changed, result.unseen) == (False, {"": day(9)} if shown else {})
    for found in (await the_tag(database, "t"), await the_tag(database, "u"), await the_group(database)):
        assert (found["deleted_at"], found["last_delete_at"]) == (day(9), day(9))
        assert found["gone_at"] == (None if shown else day(10))
    assert (await the_tag(database, "w"))["deleted_at"] is None
    assert await corp_tags(database) == [("w", "Other", "Else")] * 2
    await agree(database)


async def test_a_group_that_the_platform_calls_deleted(database: Database) -> None:
    await tagged(database, ["wmA"], ("t", "VIP", "Level"), ("u", "New", "Level"))
    await groups_say(database, a_group(a_tag("t"), a_tag("u", "New")), 8)
    await groups_say(database, a_group(a_tag("t", deleted=True), deleted=True), 10)
    assert [row["deleted_at"] for row in await rows(database, tag)] == [day(10), day(10)]
    assert (await the_group(database))["deleted_at"] == day(10)
    assert await corp_tags(database) == []
    await agree(database)


async def test_tags_that_were_never_read_are_asked_for_when_their_group_is_deleted(database: Database) -> None:
    await tagged(database, ["wmA", "wmB"], ("t", "VIP", "Level"), ("u", "New", "Level"), ("w", "Other", "Else"))
    await tags_say(database, a_group(a_tag("t")), 8)
    await told(database, TAG_GROUP, "g", deleted_at=day(9))
    await groups_say(database, None, 10)
    assert await wishes(database) == {(TAG, "u")}
    assert await corp_tags(database) == [("u", "New", "Level"), ("w", "Other", "Else")] * 2
    await tags_say(database, a_group(a_tag("u", "New", deleted=True), deleted=True), 11, "u")
    assert await corp_tags(database) == [("w", "Other", "Else")] * 2
    await agree(database)


async def test_a_group_that_is_not_shown_any_more(database: Database) -> None:
    await groups_say(database, a_group(a_tag("t")), 8)
    await groups_say(database, None, 10)
    for found in (await the_tag(database), await the_group(database)):
        assert (found["gone_at"], found["deleted_at"]) == (day(10), None)
    await groups_say(database, a_group(a_tag("t")), 11)
    for found in (await the_tag(database), await the_group(database)):
        assert found["gone_at"] is None
    await agree(database)


async def passes(database: Database, kind: Kind, object_id: str, found: Any, *, first: int = 10) -> int:
    """Answer until nothing is left; how often that was."""
    for number in range(20):
        answer = Answer(object_id, day(first) + timedelta(seconds=number), found, EVENT)
        if not (await write(database, kind, answer))[object_id].unfinished:
            return number + 1
    raise AssertionError("it does not end")


async def test_many_relations_are_swept_in_parts(database: Database) -> None:
    crowd = [f"wm{number:04}" for number in range(620)]
    await tagged(database, crowd, ("t", "VIP", "Level"), ("u", "New", "Level"))
    await tags_say(database, a_group(a_tag("t")), 9)
    assert await passes(database, Tags(), "t", a_group(a_tag("t", "Gold"))) == 2
    assert {found for found in await corp_tags(database) if found[0] == "t"} == {("t", "Gold", "Level")}
    assert await passes(database, TagGroups(), "g", a_group(deleted=True), first=11) == 2
    assert await passes(database, Tags(), "u", a_group(a_tag("u", "New", deleted=True)), first=12) == 2
    assert await corp_tags(database) == []
    assert len(await rows(database, customer_follow_tag)) == len(crowd)
    await agree(database)


async def test_all_groups_at_once(database: Database) -> None:
    await tagged(database, ["wmA"], ("t", "VIP", "Level"), ("x", "Else", "Hidden"))
    await groups_say(database, a_group(a_tag("x", "Else", "h"), group_id="h", name="Hidden"), 8, "h")
    await groups_say(database, a_group(a_tag("t"), a_tag("v", "Old")), 8)
    found = (a_group(a_tag("t"), order=9), a_group(a_tag("n", "New", "new"), group_id="new", name="New", order=2))
    assert (await groups_say(database, found, 10, EVERYTHING)).changed
    assert not (await groups_say(database, found, 11, EVERYTHING)).changed
    groups = {row["group_id"]: (row["sort_order"], row["gone_at"]) for row in await rows(database, tag_group)}
    assert groups == {"g": (9, None), "h": (1, None), "new": (2, None)}
    gone = {row["tag_id"]: row["gone_at"] for row in await rows(database, tag)}
    assert gone == {"n": None, "t": None, "v": day(10), "x": None}
    assert await wishes(database) == set()
    await agree(database)


async def test_what_all_groups_show_to_be_renamed_is_put_right_one_by_one(database: Database) -> None:
    await tagged(database, ["wmA"], ("t", "VIP", "Level"), ("w", "Other", "Else"))
    before = (a_group(a_tag("t")), a_group(a_tag("w", "Other", "h"), group_id="h", name="Else"))
    await groups_say(database, before, 8, EVERYTHING)
    after = (a_group(a_tag("t"), name="Grade"), a_group(a_tag("w", "Another", "h"), group_id="h", name="Else"))
    await groups_say(database, after, 10, EVERYTHING)
    assert await wishes(database) == {(TAG_GROUP, "g"), (TAG_GROUP, "h")}
    await write(database, TagGroups(), *(Answer(group.group_id, day(11), group, EVENT) for group in after))
    assert await corp_tags(database) == [("t", "VIP", "Grade"), ("w", "Another", "Else")]
    await agree(database)


async def test_a_large_answer_is_written_in_parts(database: Database) -> None:
    found = tuple(
        a_group(*(a_tag(f"t{one:02}-{two:02}", group=f"g{one:02}") for two in range(60)), group_id=f"g{one:02}")
        for one in range(20)
    )
    assert await passes(database, TagGroups(), EVERYTHING, found) == 3
    assert len(await rows(database, tag)) == 1200
    await agree(database)
    assert await passes(database, TagGroups(), EVERYTHING, found, first=11) == 1


@pytest.mark.parametrize("database_kind", ["postgresql", "mariadb"])  # SQLite has one writer at a time
async def test_customers_in_use_are_left_for_the_next_part(database: Database) -> None:
    """It never waits for one: who holds it may be waiting for the tag."""
    await tagged(database, ["wmA", "wmB"], ("t", "VIP", "Level"))
    async with database.write() as conn:
        await conn.execute(select(customer).where(customer.c.userid == "wmA").with_for_update())
        async with asyncio.timeout(5):
            result = await tags_say(database, a_group(a_tag("t", deleted=True)), 10)
    assert result.unfinished
    assert await corp_tags(database, "userid") == [("wmA",)]
    assert not (await tags_say(database, a_group(a_tag("t", deleted=True)), 11)).unfinished
    assert await corp_tags(database) == []
    await agree(database)


async def test_writers_of_the_same_tags_end_without_a_deadlock(database: Database) -> None:
    crowd = [f"t{number:02}" for number in range(12)]
    await tagged(database, [f"wm{number:02}" for number in range(20)], *((one, "VIP", "Level") for one in crowd))

    def turned(number: int) -> Sequence[str]:
        return crowd[number:] + crowd[:number]

    async def one_by_one(number: int) -> None:
        found = {one: a_group(a_tag(one, f"name {number}")) for one in turned(number)}
        moment = day(10, number)
        await write(database, Tags(), *(Answer(one, moment, group, EVENT) for one, group in found.items()))

    async def together(number: int) -> None:
        tags = [a_tag(one, f"name {number}") for one in turned(number)]
        await write(database, TagGroups(), Answer("g", day(10, number, 30), a_group(*tags), EVENT))

    async def events(number: int) -> None:
        async with database.write() as conn:
            now = await database.clock(conn)
            facts = {(TAG, one): Existence(created_at=day(9, number), cause=EVENT) for one in turned(number)}
            facts[TAG_GROUP, "g"] = Existence(created_at=day(9, number), cause=EVENT)
            await write_existence(conn, database.dialect, "ww1", facts, now)

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(number) for number in range(5) for work in (one_by_one, together, events)))
    found = await rows(database, tag, "tag_name", "last_create_at", "fetched_at")
    assert {tuple(row.values()) for row in found} == {("name 4", day(9, 4), day(10, 4, 30))}
    await agree(database)
