"""Employees and the departments they are in, and employee tags: what an answer changes, on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert

from core.db.engine import Database
from core.db.tables import (
    HISTORY,
    employee,
    employee_alias,
    employee_department,
    employee_tag,
    employee_tag_member,
)
from sync.effects import MEMBER
from sync.facts import Existence
from sync.objects.base import Answer, Cause, Kind, Written
from sync.objects.existence import write_existence
from sync.objects.member_tags import MemberTags
from sync.objects.members import Members
from tests.support.crm import crm_database_at, day, rows
from wecom.directory import Member, MemberTag, Place

pytestmark = pytest.mark.asyncio

EVENT = Cause("event", "e" * 64, day(9))
PLAIN = ("name", "alias", "gender", "position", "external_position", "mobile", "telephone", "email", "biz_mail")
TOLD = (*PLAIN, "avatar", "status", "main_department")


class Store:
    """Writes answers of one kind and shows the rows."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def answer(
        self, fetched_at: datetime, found: Any, object_id: str = "zhangsan", kind: Kind | None = None
    ) -> Written:
        done = await self.answers(Answer(object_id, fetched_at, found, EVENT), kind=kind)
        return done[object_id]

    async def answers(self, *answers: Answer, kind: Kind | None = None) -> dict[str, Written]:
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            return await (kind or Members()).write(conn, self.database.dialect, "ww1", answers, now)

    async def tag(self, fetched_at: datetime, found: MemberTag | None) -> Written:
        return await self.answer(fetched_at, found, "7", MemberTags())

    async def told(self, userid: str = "zhangsan", **facts: datetime) -> None:
        """An event said that the employee was made or deleted."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            told = {(MEMBER, userid): Existence(**facts, cause=EVENT)}
            await write_existence(conn, self.database.dialect, "ww1", told, now)

    async def renamed(self, old: str, new: str) -> None:
        row = {"corpid": "ww1", "userid": old, "new_userid": new, "happened_at": day(8)}
        async with self.database.write() as conn:
            await conn.execute(insert(employee_alias), [row])

    async def employee(self, userid: str = "zhangsan") -> dict[str, Any]:
        return next(row for row in await rows(self.database, employee) if row["userid"] == userid)

    async def places(self) -> list[tuple[Any, ...]]:
        names = ("userid", "department_id", "is_leader", "sort_order")
        return [tuple(row.values()) for row in await rows(self.database, employee_department, *names)]

    async def versions(self, *columns: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in await rows(self.database, HISTORY["employee"], *columns)]

    async def tagged(self) -> list[tuple[Any, ...]]:
        found = await rows(self.database, employee_tag_member, "tagid", "member_type", "member_id")
        return [tuple(row.values()) for row in found]


@pytest_asyncio.fixture
async def store(migrated_url: str) -> AsyncIterator[Store]:
    async with crm_database_at(migrated_url) as database:
        yield Store(database)


def a_member(**columns: Any) -> Member:
    values: dict[str, Any] = dict.fromkeys(TOLD)
    values |= {"userid": "ZhangSan", "name": "张三", "status": 1, "direct_leaders": (), "places": (Place(1, 0, 5),)}
    return Member(**(values | columns))


FULL = a_member(
    alias="jack",
    gender=1,
    position="Engineer",
    external_position="Product",
    mobile="13800000000",
    telephone="020-1",
    email="a@example.com",
    biz_mail="b@example.com",
    avatar="https://p.example.com/0",
    main_department=2,
    direct_leaders=("lisi", "boss"),
    places=(Place(1, 0, 5), Place(2, 1, 4294967295)),
)


async def test_everything_that_an_answer_tells_is_kept_with_its_history(store: Store) -> None:
    result = await store.answer(day(10), FULL)
    assert (result.changed, result.fetched_at, result.previous_fetch, result.unseen) == (True, day(10), None, {})
    row = await store.employee()
    assert {name: row[name] for name in TOLD} == {name: getattr(FULL, name) for name in TOLD}
    assert (row["userid"], row["userid_shown"], row["direct_leaders"]) == ("zhangsan", "ZhangSan", ["lisi", "boss"])
    assert (row["fetched_at"], row["gone_at"], row["left_at"]) == (day(10), None, None)
    assert await store.places() == [("zhangsan", 1, 0, 5), ("zhangsan", 2, 1, 4294967295)]
    names = ("userid", "name", "source", "event_id", "happened_at", "valid_to")
    assert await store.versions(*names) == [("zhangsan", "张三", "event", "e" * 64, day(9), None)]
    (first, second) = await rows(store.database, HISTORY["employee_department"], "department_id", "is_leader")
    assert [tuple(first.values()), tuple(second.values())] == [(1, 0), (2, 1)]


async def test_what_is_emptied_is_emptied_and_what_the_app_is_not_told_stays(store: Store) -> None:
    await store.answer(day(10), FULL)
    assert (await store.answer(day(11), a_member(telephone="", name=None, places=()))).changed
    row = await store.employee()
    kept = ("gender", "mobile", "email", "biz_mail", "avatar")
    assert {name: row[name] for name in kept} == {name: getattr(FULL, name) for name in kept}
    assert row["telephone"] == ""
    cleared = ("name", "alias", "position", "external_position", "main_department")
    assert [row[name] for name in cleared] == [None] * 5
    assert row["direct_leaders"] == []
    assert await store.places() == []
    closed = await rows(store.database, HISTORY["employee_department"], "department_id", "valid_to")
    assert [each["department_id"] for each in closed if each["valid_to"] is not None] == [1, 2]


async def test_departments_that_are_not_told_stay(store: Store) -> None:
    await store.answer(day(10), FULL)
    await store.answer(day(11), a_member(places=None))
    assert [place[1] for place in await store.places()] == [1, 2]


async def test_nothing_new_makes_no_version(store: Store) -> None:
    await store.answer(day(10), FULL)
    result = await store.answer(day(11), FULL)
    assert (result.changed, result.previous_fetch) == (False, day(10))
    assert (await store.employee())["fetched_at"] == day(11)
    assert len(await store.versions("userid")) == 1
    assert len(await rows(store.database, HISTORY["employee_department"])) == 2


async def test_an_older_answer_changes_nothing(store: Store) -> None:
    await store.answer(day(12), a_member(name="new"))
    for stale in (FULL, None):
        assert not (await store.answer(day(11), stale)).changed
    row = await store.employee()
    assert (row["name"], row["gone_at"], row["fetched_at"]) == ("new", None, day(12))
    assert await store.places() == [("zhangsan", 1, 0, 5)]


async def test_one_department_changes_and_the_others_keep_their_version(store: Store) -> None:
    await store.answer(day(10), FULL)
    await store.answer(day(11), a_member(places=(Place(2, 0, 4294967295), Place(3, 0, 1))))
    assert await store.places() == [("zhangsan", 2, 0, 4294967295), ("zhangsan", 3, 0, 1)]
    found = await rows(store.database, HISTORY["employee_department"], "department_id", "is_leader", "valid_to")
    assert [(row["department_id"], row["is_leader"], row["valid_to"] is None) for row in found] == [
        (1, 0, False),
        (2, 1, False),
        (2, 0, True),
        (3, 0, True),
    ]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_shown_and_later_not_shown_in_any_order(store: Store, order: tuple[int, ...]) -> None:
    answers = [(day(10), FULL), (day(11), a_member(name="last")), (day(12), None)]
    for index in order:
        await store.answer(*answers[index])
    row = await store.employee()
    assert (row["name"], row["gone_at"], row["left_at"]) == ("last", day(12), None)
    await store.answer(day(13), a_member(name="back"))
    row = await store.employee()
    assert (row["name"], row["gone_at"]) == ("back", None)


async def test_not_shown_is_doubted_only_if_an_event_made_the_employee(store: Store) -> None:
    assert (await store.answer(day(10), None)).unseen == {}
    assert (await store.employee())["gone_at"] == day(10)
    await store.told(created_at=day(9))
    assert (await store.answer(day(11), None)).unseen == {"": day(10)}
    await store.told(deleted_at=day(11))
    result = await store.answer(day(12), None)
    assert (result.unseen, (await store.employee())["left_at"]) == ({}, day(11))


async def test_who_left_by_an_event_stays_left_until_an_answer_a_day_later(store: Store) -> None:
    await store.told(created_at=day(8), deleted_at=day(10))
    result = await store.answer(day(11), FULL)
    row = await store.employee()
    assert (row["left_at"], row["name"], result.unseen) == (day(10), "张三", {"": day(10)})
    await store.answer(day(10) + timedelta(hours=24), FULL)
    assert (await store.employee())["left_at"] == day(10)
    result = await store.answer(day(10) + timedelta(hours=24, seconds=1), FULL)
    assert ((await store.employee())["left_at"], result.unseen) == (None, {})


async def test_status_left_ends_nothing_by_itself(store: Store) -> None:
    await store.answer(day(10), a_member(status=5))
    row = await store.employee()
    assert (row["status"], row["left_at"], row["gone_at"]) == (5, None, None)


async def test_who_was_renamed_is_written_under_the_new_id(store: Store) -> None:
    await store.renamed("zhangsan", "zs")
    await store.renamed("lisi", "ls")
    assert not (await store.answer(day(10), None)).changed
    assert await rows(store.database, employee) == []
    await store.answer(day(11), FULL)
    row = await store.employee("zs")
    assert (row["name"], row["userid_shown"], row["direct_leaders"]) == ("张三", None, ["ls", "boss"])
    done = await store.answers(
        Answer("zhangsan", day(12), a_member(name="stale"), EVENT),
        Answer("zs", day(13), a_member(userid="ZS", name="fresh"), EVENT),
    )
    row = await store.employee("zs")
    assert (row["name"], row["userid_shown"], row["fetched_at"]) == ("fresh", "ZS", day(13))
    assert (done["zs"].changed, done["zhangsan"].changed) == (True, False)
    assert [each["userid"] for each in await rows(store.database, employee, "userid")] == ["zs"]


async def test_a_tag_has_exactly_the_members_that_it_lists(store: Store) -> None:
    await store.renamed("lisi", "ls")
    assert (await store.tag(day(10), MemberTag(7, "Pong", ("lisi", "zhangsan"), (1, 2)))).changed
    assert await store.tagged() == [(7, "party", "1"), (7, "party", "2"), (7, "user", "ls"), (7, "user", "zhangsan")]
    assert not (await store.tag(day(11), MemberTag(7, "Pong", ("ls", "zhangsan"), (1, 2)))).changed
    assert (await store.tag(day(12), MemberTag(7, "Pong", ("zhangsan",), (3,)))).changed
    assert await store.tagged() == [(7, "party", "3"), (7, "user", "zhangsan")]
    assert not (await store.tag(day(11), MemberTag(7, "Old", ("lisi",), ()))).changed
    (row,) = await rows(store.database, employee_tag)
    assert (row["tagname"], row["fetched_at"], row["gone_at"]) == ("Pong", day(12), None)


async def test_a_tag_that_is_not_shown_keeps_who_had_it(store: Store) -> None:
    await store.tag(day(10), MemberTag(7, "Pong", ("zhangsan",), ()))
    assert (await store.tag(day(11), None)).changed
    assert not (await store.tag(day(12), None)).changed
    (row,) = await rows(store.database, employee_tag)
    assert (row["tagname"], row["gone_at"], await store.tagged()) == ("Pong", day(11), [(7, "user", "zhangsan")])
    assert (await store.tag(day(13), MemberTag(7, "Pong", (), ()))).changed
    (row,) = await rows(store.database, employee_tag)
    assert (row["gone_at"], await store.tagged()) == (None, [])
