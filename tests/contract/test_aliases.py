"""Employees who were renamed: which id is whose, and the rows that move to the new one, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Table, insert, update

from core.db.engine import Database
from core.db.tables import (
    HISTORY,
    customer,
    customer_follow,
    customer_follow_tag,
    department,
    employee,
    employee_alias,
    employee_department,
    employee_tag_member,
    group_chat,
    group_chat_member,
    pending_read,
    session,
)
from core.db.wishes import Wish, write_wishes
from sync.effects import MEMBER, Alias, Effect
from sync.facts import Existence, Facts
from sync.objects import aliases, moved_members, moved_relations
from sync.objects.aliases import Aliases
from sync.objects.base import Answer, Cause, Written
from sync.objects.customers import write_answers, write_facts
from sync.objects.departments import Departments
from sync.objects.existence import write_existence
from sync.objects.member_tags import MemberTags
from sync.objects.members import Members
from sync.objects.moves import Move
from sync.objects.names import resolve, resolve_said, write_aliases
from sync.told import write_effects
from tests.support.crm import a_customer, a_follow, corp_tag, crm_database_at, day, rows
from wecom.directory import Department, Member, MemberTag, Place

pytestmark = pytest.mark.asyncio

EVENT = Cause("event", "e" * 64, day(12))


class Store:
    """Rows of a corp in which ``old`` becomes ``new``."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def told(self, *renamed: tuple[str, str], at: datetime | None = None) -> None:
        """Events told these changes of ids."""
        told = [Alias(old, new, at or day(12, index)) for index, (old, new) in enumerate(renamed)]
        async with self.database.write() as conn:
            await write_aliases(conn, "ww1", told, [], await self.database.clock(conn))

    async def given(self, userid: str, at: datetime) -> None:
        """Somebody new got this id."""
        async with self.database.write() as conn:
            await write_aliases(conn, "ww1", [], [(userid, at)], await self.database.clock(conn))

    async def hear(self, *effects: Effect) -> None:
        """One batch of events."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            await write_effects(conn, self.database.dialect, "ww1", effects, now)

    async def resolved(self, *userids: str) -> dict[str, str]:
        async with self.database.read() as conn:
            return await resolve(conn, "ww1", userids)

    async def move(self, *userids: str) -> dict[str, Written]:
        """One transaction of moving."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            answers = [Answer(userid, day(13), userid, EVENT) for userid in userids or ("old",)]
            return await Aliases().write(conn, self.database.dialect, "ww1", answers, now)

    async def move_all(self, userid: str = "old") -> int:
        """Transactions until nothing is left; how many it took."""
        for count in range(1, 100):
            if not (await self.move(userid))[userid].unfinished:
                return count
        raise AssertionError("it never ends")

    async def facts(self, facts: Mapping[tuple[str, str], Facts]) -> None:
        async with self.database.write() as conn:
            await write_facts(conn, self.database.dialect, "ww1", facts, await self.database.clock(conn))

    async def customer(self, fetched_at: datetime, *follows: Any, userid: str = "wmA") -> Written:
        """The customer as it was read, or that nobody was shown if there are no relations."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            answers = [Answer(userid, fetched_at, a_customer(*follows, userid=userid) if follows else None)]
            return (await write_answers(conn, self.database.dialect, "ww1", answers, now))[userid]

    async def read(self, kind: Any, object_id: str, found: Any, fetched_at: datetime) -> None:
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            await kind.write(conn, self.database.dialect, "ww1", [Answer(object_id, fetched_at, found)], now)

    async def exists(self, userid: str, **facts: datetime) -> None:
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            await write_existence(
                conn, self.database.dialect, "ww1", {(MEMBER, userid): Existence(**facts, cause=EVENT)}, now
            )

    async def insert(self, table: Table, *lines: Mapping[str, Any]) -> None:
        async with self.database.write() as conn:
            for line in lines:
                await conn.execute(insert(table), [{"corpid": "ww1", **line}])

    async def rows(self, table: Table, *columns: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in await rows(self.database, table, *columns)]

    async def versions(self, table: Table, *columns: str) -> list[tuple[Any, ...]]:
        """Of the history: these columns, and whether it is open, in key order."""
        found = await rows(self.database, HISTORY[table.name], *columns, "valid_to")
        return [(*list(row.values())[:-1], row["valid_to"] is None) for row in found]


@pytest_asyncio.fixture
async def store(migrated_url: str) -> AsyncIterator[Store]:
    async with crm_database_at(migrated_url) as database:
        yield Store(database)


def a_member(userid: str, name: str = "张三", places: Sequence[int] = (), leaders: Sequence[str] = ()) -> Member:
    told: dict[str, Any] = dict.fromkeys(Member.__dataclass_fields__)
    told |= {"userid": userid, "name": name, "direct_leaders": tuple(leaders)}
    return Member(**(told | {"places": tuple(Place(number, 0, 1) for number in places)}))


async def test_ids_are_followed_to_the_newest(store: Store) -> None:
    await store.told(("a", "b"), ("b", "c"), ("c", "d"), ("x", "y"))
    assert await store.resolved("a", "c", "d", "x", "q") == {"a": "d", "c": "d", "x": "y"}
    assert await store.resolved() == {}


async def test_ids_compare_byte_by_byte(store: Store) -> None:
    await store.told(("a", "b"))
    assert await store.resolved("A", "a ", "á") == {}


async def test_more_ids_than_a_statement_can_carry(store: Store) -> None:
    await store.told(*((f"u{number}", f"v{number}") for number in (0, 700, 1400)), at=day(12))
    found = await store.resolved(*(f"u{number}" for number in range(1500)))
    assert found == {"u0": "v0", "u700": "v700", "u1400": "v1400"}


async def test_who_got_an_id_back_has_it(store: Store) -> None:
    await store.told(("a", "b"), ("b", "a"))
    assert await store.resolved("a", "b") == {"b": "a"}


async def test_a_circle_of_one_second_ends(store: Store) -> None:
    await store.told(("a", "b"), ("b", "a"), at=day(12))
    assert set(await store.resolved("a", "b")) <= {"a", "b"}


async def test_an_id_that_somebody_else_was_renamed_to_is_theirs(store: Store) -> None:
    await store.told(("b", "c"), ("a", "b"))
    assert await store.resolved("a", "b", "c") == {"a": "b"}


async def test_a_relation_moves_with_its_tags_and_its_history_tells_when(store: Store) -> None:
    await store.facts({("wmA", "old"): Facts(add_at=day(10))})
    await store.customer(day(11), a_follow("old", remark="Lin", tags=(corp_tag("t1"), corp_tag("t2"))))
    before = (await rows(store.database, customer_follow))[0]
    await store.told(("old", "new"))
    result = (await store.move())["old"]
    assert (result.unfinished, result.changed) == (False, False)
    assert (await rows(store.database, customer_follow)) == [before | {"follow_userid": "new"}]
    assert await store.rows(customer_follow_tag, "follow_userid", "tag_id", "tag_name") == [
        ("new", "t1", "VIP"),
        ("new", "t2", "VIP"),
    ]
    names = ("follow_userid", "remark", "source", "event_id", "happened_at")
    (moved, *closed) = await store.versions(customer_follow, *names)
    assert moved == ("new", "Lin", "event", "e" * 64, day(12), True)
    assert {version[0] for version in closed} == {"old"}
    assert not any(version[-1] for version in closed)
    assert await store.versions(customer_follow_tag, "follow_userid", "tag_key") == [
        ("new", "t1", True),
        ("new", "t2", True),
        ("old", "t1", False),
        ("old", "t2", False),
    ]
    ((merged_at,),) = await store.rows(employee_alias, "merged_at")
    assert merged_at is not None


async def test_two_rows_of_one_relation_the_newer_answer_and_the_largest_moments(store: Store) -> None:
    await store.facts({("wmA", "old"): Facts(day(10), day(15), "customer"), ("wmB", "old"): Facts(day(13))})
    await store.facts({("wmA", "new"): Facts(add_at=day(12)), ("wmB", "new"): Facts(day(9), day(10), "employee")})
    await store.customer(
        day(14),
        a_follow("old", remark="late", tags=(corp_tag("t1"), corp_tag("t2", "Old"))),
        a_follow("new", remark="late too"),
    )
    # The newer answer is about the old id for one customer, about the new one for the other.
    await store.customer(day(13), a_follow("new", remark="early", tags=(corp_tag("t2"), corp_tag("t3"))), userid="wmB")
    await store.customer(day(12), a_follow("old", remark="first", tags=(corp_tag("t1"),)), userid="wmB")
    async with store.database.write() as conn:
        t = customer_follow.c
        here = update(customer_follow).where(t.userid == "wmA", t.follow_userid == "new")
        await conn.execute(here.values(fetched_at=day(13)))
    await store.insert(
        customer_follow_tag,
        *(
            {"userid": "wmA", "follow_userid": "new", "tag_key": key, "tag_id": key, "type": 1, "tag_name": "VIP"}
            for key in ("t2", "t3")
        ),
    )
    await store.told(("old", "new"))
    await store.move()
    names = ("userid", "follow_userid", "remark", "last_add_at", "lost_at", "lost_by", "unseen_since", "fetched_at")
    assert await store.rows(customer_follow, *names) == [
        ("wmA", "new", "late", day(12), day(15), "customer", None, day(14)),
        ("wmB", "new", "early", day(13), None, None, None, day(13)),
    ]
    assert await store.rows(customer_follow_tag, "userid", "follow_userid", "tag_key", "tag_name") == [
        ("wmA", "new", "t1", "VIP"),
        ("wmA", "new", "t2", "Old"),
        ("wmB", "new", "t2", "VIP"),
        ("wmB", "new", "t3", "VIP"),
    ]
    for table in (customer_follow, customer_follow_tag):
        key = [column.name for column in table.primary_key][1:]
        versions = await store.versions(table, *key)
        assert sorted(version[:-1] for version in versions if version[-1]) == await store.rows(table, *key)


async def test_that_the_old_id_was_not_listed_is_forgotten(store: Store) -> None:
    await store.customer(day(10), a_follow("old"))
    await store.customer(day(11))
    assert await store.rows(customer_follow, "follow_userid", "unseen_since") == [("old", day(11))]
    await store.told(("old", "new"))
    await store.move()
    assert await store.rows(customer_follow, "follow_userid", "unseen_since") == [("new", None)]


async def test_a_relation_on_its_way_is_looked_for_under_the_new_id(store: Store) -> None:
    """The API lags behind an add, and the row still has the old id: nothing else would ask for the customer again."""
    await store.facts({("wmA", "old"): Facts(add_at=day(10)), ("wmB", "old"): Facts(add_at=day(10), loss_at=day(11))})
    await store.told(("old", "new"))
    assert (await store.customer(day(13))).unseen == {"new": day(13)}
    assert (await store.customer(day(13, 1), a_follow("new"))).unseen == {}
    assert (await store.customer(day(13, 2), userid="wmB")).unseen == {}
    await store.move_all()
    assert (await store.customer(day(13, 3), a_follow("lisi"))).unseen == {"new": day(13, 3)}


async def test_large_work_is_done_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "ROWS", 20)
    crowd = [f"wm{number:03}" for number in range(50)]
    await store.facts({(userid, "old"): Facts(add_at=day(10)) for userid in crowd})
    await store.customer(day(11), a_follow("old", tags=[corp_tag(f"t{n}") for n in range(30)]), userid="wm007")
    await store.insert(
        group_chat, *({"chat_id": f"wr{n:02}", "owner": "old", "first_seen_at": day(1)} for n in range(45))
    )
    await store.told(("old", "new"))
    assert (await store.move())["old"].unfinished
    left = [row for row in await store.rows(customer_follow, "follow_userid") if row == ("old",)]
    assert 30 <= len(left) < 50
    assert await store.rows(employee_alias, "merged_at") == [(None,)]
    assert 4 <= await store.move_all() <= 9
    assert set(await store.rows(customer_follow, "follow_userid")) == {("new",)}
    assert set(await store.rows(customer_follow_tag, "follow_userid")) == {("new",)}
    assert set(await store.rows(group_chat, "owner")) == {("new",)}
    assert (await store.rows(employee_alias, "merged_at")) != [(None,)]


async def test_groups_name_the_new_id(store: Store) -> None:
    at = {"first_seen_at": day(1)}
    await store.insert(
        group_chat,
        {"chat_id": "wrA", "owner": "old", "admins": ["x", "old", "new"], **at},
        {"chat_id": "wrB", "owner": "boss", "admins": ["old"], **at},
        {"chat_id": "wrC", "owner": "older", "admins": ["bold", "old_", "ol"], **at},
        {"chat_id": "wrD", "owner": "boss", **at},
    )
    await store.insert(
        group_chat_member,
        {"chat_id": "wrA", "type": 1, "userid": "new", "join_time": 5},
        {"chat_id": "wrA", "type": 1, "userid": "old", "join_time": 3},
        {"chat_id": "wrC", "type": 2, "userid": "old", "join_time": 4},
        {"chat_id": "wrD", "type": 2, "userid": "old", "join_time": 7},
        {"chat_id": "wrD", "type": 1, "userid": "old", "join_time": 6, "group_nickname": "Z"},
    )
    await store.told(("old", "new"))
    await store.move()
    assert await store.rows(group_chat, "chat_id", "owner", "admins") == [
        ("wrA", "new", ["x", "new"]),
        ("wrB", "boss", ["new"]),
        ("wrC", "older", ["bold", "old_", "ol"]),
        ("wrD", "boss", None),
    ]
    assert await store.rows(group_chat_member, "chat_id", "type", "userid", "join_time", "group_nickname") == [
        ("wrA", 1, "new", 5, None),
        ("wrC", 2, "old", 4, None),
        ("wrD", 1, "new", 6, "Z"),
        ("wrD", 2, "old", 7, None),
    ]
    assert await store.versions(group_chat, "chat_id", "owner") == [("wrA", "new", True), ("wrB", "boss", True)]
    assert await store.versions(group_chat_member, "chat_id", "userid") == [("wrD", "new", True)]


async def test_the_employee_moves_with_departments_tags_and_those_led(store: Store) -> None:
    await store.exists("old", created_at=day(8))
    await store.read(Members(), "old", a_member("Old", places=(1, 2), leaders=("old", "boss")), day(10))
    await store.read(Members(), "lisi", a_member("lisi", "Li", leaders=("old", "new")), day(10))
    await store.read(Departments(), "2", Department(2, "R&D", None, 1, 5, ("boss", "old")), day(10))
    await store.read(MemberTags(), "7", MemberTag(7, "Pong", ("new", "old"), (2,)), day(10))
    await store.read(MemberTags(), "8", MemberTag(8, "Go", ("old",), ()), day(10))
    await store.told(("old", "new"))
    await store.move()
    names = ("userid", "userid_shown", "name", "direct_leaders", "last_create_at", "fetched_at")
    assert await store.rows(employee, *names) == [
        ("lisi", "lisi", "Li", ["new"], None, day(10)),
        ("new", None, "张三", ["new", "boss"], day(8), day(10)),
    ]
    assert await store.rows(employee_department, "userid", "department_id") == [("new", 1), ("new", 2)]
    assert await store.rows(department, "leaders") == [(["boss", "new"],)]
    assert await store.rows(employee_tag_member, "tagid", "member_type", "member_id") == [
        (7, "party", "2"),
        (7, "user", "new"),
        (8, "user", "new"),
    ]
    versions = [version for version in await store.versions(employee, "userid") if version[0] != "lisi"]
    assert versions[0] == ("new", True)
    assert {version[0] for version in versions[1:]} == {"old"}
    assert not any(version[-1] for version in versions[1:])
    assert await store.versions(employee_department, "userid", "department_id") == [
        ("new", 1, True),
        ("new", 2, True),
        ("old", 1, False),
        ("old", 2, False),
    ]


@pytest.mark.parametrize("newer", ["old", "new"])
async def test_two_employees_rows_become_one(store: Store, newer: str) -> None:
    read_at = {"old": day(10), "new": day(10)} | {newer: day(11)}
    await store.exists("old", created_at=day(9), deleted_at=day(7))
    await store.exists("new", created_at=day(8), deleted_at=day(13))
    await store.read(Members(), "old", a_member("Old", "Of old", places=(1, 2)), read_at["old"])
    await store.read(Members(), "new", a_member("New", "Of new", places=(2, 3)), read_at["new"])
    # The platform does not know the old id any more.
    await store.read(Members(), "old", None, day(12, 30))
    first = min(await store.rows(employee, "first_seen_at"))[0]
    await store.told(("old", "new"))
    await store.move()
    names = ("userid", "userid_shown", "name", "last_create_at", "last_delete_at", "left_at", "gone_at")
    assert await store.rows(employee, *names, "fetched_at", "first_seen_at") == [
        ("new", "New", f"Of {newer}", day(9), day(13), day(13), None, day(11), first)
    ]
    wanted = [("new", 1), ("new", 2)] if newer == "old" else [("new", 2), ("new", 3)]
    assert await store.rows(employee_department, "userid", "department_id") == wanted
    for table, rest in ((employee, ()), (employee_department, ("department_id",))):
        versions = await store.versions(table, "userid", *rest)
        assert [version[:-1] for version in versions if version[-1]] == await store.rows(table, "userid", *rest)


async def test_who_was_seen_a_day_after_leaving_has_not_left(store: Store) -> None:
    await store.exists("old", created_at=day(8), deleted_at=day(9))
    await store.read(Members(), "new", a_member("New"), day(9) + timedelta(hours=25))
    await store.told(("old", "new"))
    await store.move()
    assert await store.rows(employee, "userid", "last_delete_at", "left_at") == [("new", day(9), None)]


async def test_logins_under_the_old_id_end(store: Store) -> None:
    for digest, userid, ended in (("a", "old", None), ("b", "new", None), ("c", "old", day(3))):
        line = {"digest": digest, "public_id": digest, "agentid": 1, "userid": userid, "ended_at": ended}
        await store.insert(session, line | {"created_at": day(1), "expires_at": day(23)})
    await store.told(("old", "new"))
    await store.move()
    ended = dict(await store.rows(session, "digest", "ended_at"))
    assert ended["a"] is not None
    assert (ended["b"], ended["c"]) == (None, day(3))


@pytest.mark.parametrize("there", [False, True])
async def test_a_wish_to_read_the_old_id_is_one_for_the_new(store: Store, there: bool) -> None:
    async with store.database.write() as conn:
        now = await store.database.clock(conn)
        for userid in ("old", "new") if there else ("old",):
            await write_wishes(conn, store.database.dialect, "ww1", [Wish(userid)], now, MEMBER)
        await write_wishes(conn, store.database.dialect, "ww1", [Wish("old")], now, "alias")
    await store.told(("old", "new"))
    await store.move()
    found = await store.rows(pending_read, "kind", "object_id", "version")
    assert found == [("alias", "old", 1), ("member", "new", 1)]


async def test_moving_again_moves_what_came_late_and_nothing_else(store: Store) -> None:
    await store.facts({("wmA", "old"): Facts(add_at=day(10))})
    await store.told(("old", "new"))
    await store.move()
    before = {table.name: await rows(store.database, table) for table in (customer_follow, employee_alias)}
    history = await rows(store.database, HISTORY["customer_follow"])
    await store.move()
    assert {table.name: await rows(store.database, table) for table in (customer_follow, employee_alias)} == before
    assert await rows(store.database, HISTORY["customer_follow"]) == history
    # A writer who had begun before the event was applied.
    await store.facts({("wmB", "old"): Facts(add_at=day(11))})
    assert await store.move_all() == 1
    assert await store.rows(customer_follow, "userid", "follow_userid") == [("wmA", "new"), ("wmB", "new")]


async def test_what_is_left_of_an_id_that_was_given_away_is_moved_and_the_next_owners_stays(store: Store) -> None:
    """Renamed at 12; at 13 somebody else got the id, before anything had been moved."""
    await store.facts({("wmA", "old"): Facts(add_at=day(10)), ("wmB", "old"): Facts(day(10), day(11), "customer")})
    await store.facts({("wmC", "old"): Facts(add_at=day(14)), ("wmD", "old"): Facts(loss_at=day(14), loss_by="left")})
    await store.customer(day(11), a_follow("old", tags=(corp_tag("t1"),)))
    await store.customer(day(14), a_follow("old", tags=(corp_tag("t1"),)), userid="wmE")
    for number, read_at in ((1, day(11)), (2, day(14))):
        line = {"chat_id": f"wr{number}", "owner": "old", "admins": ["old"], "fetched_at": read_at}
        await store.insert(group_chat, line | {"first_seen_at": day(1)})
        await store.insert(group_chat_member, {"chat_id": f"wr{number}", "type": 1, "userid": "old"})
        await store.read(Departments(), str(number), Department(number, "R&D", None, 1, 5, ("old",)), read_at)
        await store.read(MemberTags(), str(number), MemberTag(number, "Pong", ("old",), ()), read_at)
        await store.read(Members(), f"led{number}", a_member(f"led{number}", leaders=("old",)), read_at)
        line = {"digest": str(number), "public_id": str(number), "agentid": 1, "userid": "old"}
        await store.insert(session, line | {"created_at": read_at, "expires_at": day(23)})
    await store.read(Members(), "old", a_member("old", places=(1,)), day(11))
    async with store.database.write() as conn:
        await write_wishes(conn, store.database.dialect, "ww1", [Wish("old")], day(14), MEMBER)
    await store.told(("old", "new"))
    await store.given("old", day(13))
    assert await store.move_all() == 1
    assert await store.rows(pending_read, "kind", "object_id") == [("member", "old")]
    assert await store.rows(customer_follow, "userid", "follow_userid") == [
        ("wmA", "new"),
        ("wmB", "new"),
        *((userid, "old") for userid in ("wmC", "wmD", "wmE")),
    ]
    assert await store.rows(customer_follow_tag, "userid", "follow_userid") == [("wmA", "new"), ("wmE", "old")]
    assert await store.rows(group_chat, "owner", "admins") == [("new", ["new"]), ("old", ["old"])]
    assert await store.rows(group_chat_member, "chat_id", "userid") == [("wr1", "new"), ("wr2", "old")]
    assert await store.rows(department, "leaders") == [(["new"],), (["old"],)]
    assert await store.rows(employee_tag_member, "tagid", "member_id") == [(1, "new"), (2, "old")]
    assert await store.rows(employee, "userid", "direct_leaders") == [
        *(("led1", ["new"]), ("led2", ["old"]), ("new", [])),
    ]
    assert await store.rows(employee_department, "userid") == [("new",)]
    ended = dict(await store.rows(session, "digest", "ended_at"))
    assert (ended["1"] is None, ended["2"] is None) == (False, True)
    ((given_at, merged_at),) = await store.rows(employee_alias, "given_at", "merged_at")
    assert given_at == day(13)
    assert merged_at is not None


async def test_an_employee_who_is_the_next_owner_stays(store: Store) -> None:
    await store.read(Members(), "old", a_member("old"), day(11))
    await store.exists("old", created_at=day(13))
    await store.told(("old", "new"))
    await store.move_all()
    assert await store.rows(employee_alias, "userid", "given_at") == [("old", day(13))]
    assert await store.rows(employee, "userid") == [("old",)]


async def test_what_was_said_of_an_id_counts_for_who_had_it_then(store: Store) -> None:
    await store.told(("a", "b"), at=day(10))
    await store.told(("b", "c"), at=day(11))
    await store.given("b", day(12))
    # What is nearest to the renaming counts.
    await store.given("a", day(15))
    await store.given("a", day(14))
    await store.told(("a", "d"), at=day(16))
    await store.told(("a", "b"), at=day(10))
    said = {("a", day(9)): "c", ("a", day(13)): "c", ("a", day(14)): "d", ("a", day(17)): "d"}
    said |= {("b", day(9)): "c", ("b", day(11, 30)): "c"}
    async with store.database.read() as conn:
        asked = [*said, ("b", day(12)), ("c", day(9)), ("d", day(9))]
        assert await resolve_said(conn, "ww1", asked) == said
    assert await store.resolved("a", "b", "c", "d") == {"a": "d"}


def added(customer_id: str, userid: str, at: datetime) -> Effect:
    cause = Cause("event", None, at)
    return Effect(True, customer_id, userid, Facts(add_at=at, cause=cause), cause=cause)


def made(userid: str, at: datetime) -> Effect:
    cause = Cause("event", None, at)
    told = ((MEMBER, userid), Existence(created_at=at, cause=cause))
    return Effect(True, wishes=((MEMBER, userid),), exists=told, cause=cause)


async def test_late_events_count_for_who_had_the_id_then(store: Store) -> None:
    renamed = Effect(True, wishes=((MEMBER, "new"),), alias=Alias("old", "new", day(12)), cause=EVENT)
    await store.hear(made("old", day(14)), renamed)
    await store.hear(added("wmA", "old", day(13)), added("wmB", "old", day(14)), made("old", day(8)))
    assert await store.rows(customer_follow, "userid", "follow_userid") == [("wmA", "new"), ("wmB", "old")]
    assert await store.rows(employee, "userid", "last_create_at") == [("new", day(8)), ("old", day(14))]


async def test_events_of_two_owners_in_any_order(store: Store) -> None:
    """But for the next owner's before their ``create_user``, which nothing tells from the first one's late ones."""
    steps: list[list[Effect]] = [[], [], [], [], []]
    orders = [order for order in permutations(range(5)) if order.index(2) < order.index(3)]
    for number, order in enumerate(orders):
        old, new = f"old{number:02}", f"new{number:02}"
        renamed = Effect(True, alias=Alias(old, new, day(12)), cause=Cause("event", None, day(12)))
        events = [added("wmA", old, day(10)), renamed, made(old, day(14)), added("wmB", old, day(15))]
        events.append(added("wmC", old, day(11)))
        for step, event in enumerate(order):
            steps[step].append(events[event])
    for number, step in enumerate(steps):
        await store.hear(*step)
        for order in range(number, len(orders), 7):
            await store.move_all(f"old{order:02}")
    for order in range(len(orders)):
        await store.move_all(f"old{order:02}")
    assert await store.rows(customer_follow, "userid", "follow_userid") == [
        (customer_id, f"{owner}{number:02}")
        for customer_id, owner in (("wmA", "new"), ("wmB", "old"), ("wmC", "new"))
        for number in range(len(orders))
    ]


async def test_an_id_from_which_two_were_renamed(store: Store) -> None:
    """That somebody got it in between is known from the second renaming only."""
    await store.facts({("wmA", "old"): Facts(add_at=day(10)), ("wmB", "old"): Facts(add_at=day(14))})
    await store.told(("old", "new"), at=day(12))
    await store.told(("old", "other"), at=day(13))
    assert await store.move_all() == 2
    assert await store.rows(customer_follow, "userid", "follow_userid") == [("wmA", "new"), ("wmB", "other")]


async def test_a_relation_that_becomes_the_next_owners_before_it_is_locked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.facts({(userid, "old"): Facts(add_at=day(10)) for userid in ("wmA", "wmB")})
    await store.told(("old", "new"))
    await store.given("old", day(13))
    found = moved_relations._customers

    async def customers(move: Move, most: int) -> list[str]:
        userids = await found(move, most)
        facts = {("wmB", "old"): Facts(add_at=day(14))}
        await write_facts(move.conn, move.dialect, move.corpid, facts, move.now)
        return userids

    monkeypatch.setattr(moved_relations, "_customers", customers)
    await store.move_all()
    assert await store.rows(customer_follow, "userid", "follow_userid") == [("wmA", "new"), ("wmB", "old")]


@pytest.mark.parametrize("kind", ["member", "department", "tag"])
async def test_a_row_that_becomes_the_next_owners_before_it_is_locked(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Somebody else reads it between the look for what is to be moved and the lock."""
    read: dict[str, tuple[Any, str, Any]] = {
        "member": (Members(), "old", a_member("old", name="Second")),
        "department": (Departments(), "1", Department(1, "R&D", None, 1, 5, ("old",))),
        "tag": (MemberTags(), "7", MemberTag(7, "VIP", ("old",), ())),
    }
    writer, object_id, found = read[kind]
    await store.read(writer, object_id, a_member("old", name="First") if kind == "member" else found, day(11))
    await store.told(("old", "new"))
    await store.told(("third", "old"), at=day(13))
    lock_rows = moved_members.lock_rows

    async def lock(conn: Any, dialect: str, table: Table, corpid: str, ids: Any, now: datetime) -> Any:
        if table.name in {"employee", "department", "employee_tag"}:
            monkeypatch.setattr(moved_members, "lock_rows", lock_rows)
            await writer.write(conn, dialect, corpid, [Answer(object_id, day(14), found)], now)
        return await lock_rows(conn, dialect, table, corpid, ids, now)

    monkeypatch.setattr(moved_members, "lock_rows", lock)
    await store.move_all()
    assert moved_members.lock_rows is lock_rows
    if kind == "member":
        assert ("old", "Second") in await store.rows(employee, "userid", "name")
        assert ("new", "Second") not in await store.rows(employee, "userid", "name")
    elif kind == "department":
        assert await store.rows(department, "leaders") == [(["old"],)]
    else:
        assert await store.rows(employee_tag_member, "member_id") == [("old",)]


async def test_whoever_had_the_rows_last_is_looked_at_for_a_departure(store: Store) -> None:
    """In the order of ids, not of time: the first of the two moves the other's rows along."""
    await store.facts({("wmA", "b"): Facts(add_at=day(9))})
    await store.told(("b", "c"), at=day(11))
    await store.told(("a", "b"), at=day(12))
    wishes, left = set(), {"a", "b"}
    while left:
        done = await store.move(*sorted(left))
        wishes |= {wish for each in done.values() for wish in each.wishes}
        left = {userid for userid, each in done.items() if each.unfinished}
    assert wishes == {("departure", "c"), ("departure", "b")}


async def test_each_of_two_who_had_an_id_is_looked_at_for_a_departure(store: Store) -> None:
    await store.facts({("wmA", "old"): Facts(add_at=day(10)), ("wmB", "old"): Facts(add_at=day(12, 5))})
    await store.told(("old", "new"), at=day(12))
    await store.told(("old", "other"), at=day(13))
    wishes: set[Any] = set()
    unfinished = True
    while unfinished:
        done = (await store.move())["old"]
        wishes, unfinished = wishes | set(done.wishes), done.unfinished
    assert wishes == {("departure", "new"), ("departure", "other")}


@pytest.mark.parametrize("first", ["old", "third"])
async def test_who_is_renamed_to_an_id_waits_for_what_the_one_before_had(store: Store, first: str) -> None:
    both = ("old", "third")
    await store.facts({("wmA", userid): Facts(add_at=day(10, number)) for number, userid in enumerate(both)})
    await store.facts({("wmB", "third"): Facts(add_at=day(10)), ("wmC", "old"): Facts(add_at=day(10))})
    await store.told(("old", "new"), ("third", "old"))
    for userid in (first, *both, *both):
        await store.move_all(userid)
        found = await store.rows(customer_follow, "userid", "follow_userid", "last_add_at")
        assert ("wmC", "new", day(10)) in found
    assert found == [
        *(("wmA", "new", day(10)), ("wmA", "old", day(10, 1))),
        *(("wmB", "old", day(10)), ("wmC", "new", day(10))),
    ]
    # Whichever of the two was asked for, each version says what led to it.
    versions = await store.versions(customer_follow, "userid", "follow_userid", "happened_at")
    assert ("wmB", "old", day(12, 1), True) in versions
    assert ("wmC", "new", day(12), True) in versions


async def test_ids_that_changed_places_by_way_of_a_third(store: Store) -> None:
    await store.facts({("wmA", userid): Facts(add_at=day(10, number)) for number, userid in enumerate(("a", "b"))})
    await store.told(("a", "x"), ("b", "a"), ("x", "b"))
    for userid in ("x", "b", "a", "x"):
        await store.move_all(userid)
    assert await store.rows(customer_follow, "follow_userid", "last_add_at") == [("a", day(10, 1)), ("b", day(10))]
    assert await store.resolved("a", "b", "x") == {"x": "b"}


async def test_two_copies_told_of_renamings_at_once(store: Store) -> None:
    """Neither saw what the other one wrote."""
    await store.facts({("wmA", "third"): Facts(add_at=day(10)), ("wmB", "old"): Facts(add_at=day(10))})
    for number, (old, new) in enumerate((("old", "new"), ("third", "old"))):
        await store.insert(employee_alias, {"userid": old, "new_userid": new, "happened_at": day(12, number)})
    for userid in ("third", "old"):
        await store.move_all(userid)
    assert await store.rows(customer_follow, "userid", "follow_userid") == [("wmA", "old"), ("wmB", "new")]


async def test_a_renaming_told_after_the_next_owners_moves_nothing_of_theirs(store: Store) -> None:
    await store.facts({("wmA", "third"): Facts(add_at=day(10))})
    await store.told(("third", "old"), at=day(13))
    await store.move_all("third")
    await store.told(("old", "new"), at=day(12))
    assert await store.resolved("old", "third") == {"third": "old"}
    await store.move_all()
    assert await store.rows(customer_follow, "follow_userid") == [("old",)]


async def test_one_id_at_a_time_and_chains_end_at_the_newest(store: Store) -> None:
    await store.facts({("wmA", "old"): Facts(add_at=day(10)), ("wmA", "new"): Facts(add_at=day(11))})
    await store.told(("old", "new"), ("new", "newest"))
    done = await store.move("old", "new")
    assert {userid: result.unfinished for userid, result in done.items()} == {"new": False, "old": True}
    assert await store.move_all() == 1
    assert await store.rows(customer_follow, "follow_userid", "last_add_at") == [("newest", day(11))]


async def test_other_corps_keep_theirs(store: Store) -> None:
    async with store.database.write() as conn:
        line = {"corpid": "ww2", "userid": "wmA", "first_seen_at": day(1)}
        await conn.execute(insert(customer), [line])
        line = {"corpid": "ww2", "userid": "wmA", "follow_userid": "old"}
        await conn.execute(insert(customer_follow), [line])
    await store.told(("old", "new"))
    await store.move()
    assert await store.rows(customer_follow, "corpid", "follow_userid") == [("ww2", "old")]


async def test_writers_of_the_same_rows_end_without_a_deadlock(store: Store) -> None:
    crowd = [f"wm{number:02}" for number in range(20)]
    await store.facts({(userid, "old"): Facts(add_at=day(10)) for userid in crowd})
    await store.insert(group_chat, *({"chat_id": f"wr{n}", "owner": "old", "first_seen_at": day(1)} for n in range(5)))
    await store.exists("old", created_at=day(8))
    await store.told(("old", "new"))
    database, dialect = store.database, store.database.dialect

    async def apply(number: int) -> None:
        turned = crowd[number:] + crowd[:number]
        async with database.write() as conn:
            now = await database.clock(conn)
            facts = {(userid, "new"): Facts(add_at=day(11, number)) for userid in turned}
            await write_facts(conn, dialect, "ww1", facts, now)
            told = {(MEMBER, userid): Existence(created_at=day(9, number), cause=EVENT) for userid in ("new", "a")}
            await write_existence(conn, dialect, "ww1", told, now)
            wishes = [Wish(userid) for userid in ("new", "a")]
            await write_wishes(conn, dialect, "ww1", [Wish("old")], now, "alias")
            await write_wishes(conn, dialect, "ww1", wishes, now, MEMBER)

    async def refresh(number: int) -> None:
        turned = crowd[number:] + crowd[:number]
        async with database.write() as conn:
            now = await database.clock(conn)
            answers = [Answer(userid, day(14, number), a_customer(a_follow("new"), userid=userid)) for userid in turned]
            await write_answers(conn, dialect, "ww1", answers, now)

    async def read(number: int) -> None:
        await store.read(Members(), "new", a_member("New", places=(number,), leaders=("old",)), day(14, number))

    async def move() -> None:
        await store.move_all()

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(number) for number in range(6) for work in (apply, refresh, read)), move())
        await store.move_all()
    found = set(await store.rows(customer_follow, "follow_userid", "last_add_at", "fetched_at"))
    assert found == {("new", day(11, 5), day(14, 5))}
    assert await store.rows(employee, "userid", "direct_leaders", "last_create_at") == [
        ("a", None, day(9, 5)),
        ("new", ["new"], day(9, 5)),
    ]
    assert await store.rows(employee_department, "userid", "department_id") == [("new", 5)]
    assert set(await store.rows(group_chat, "owner")) == {("new",)}
