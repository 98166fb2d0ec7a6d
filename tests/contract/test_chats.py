"""Customer groups and their members in the tables: the same on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert

from core.db.engine import Database
from core.db.tables import employee_alias, group_chat, group_chat_member
from core.db.wishes import CHAT
from sync.facts import Existence
from sync.objects.base import Answer, Cause, Written
from sync.objects.chats import Chats
from sync.objects.existence import write_existence
from tests.support.crm import crm_database_at, day, rows
from tests.support.versions import check_history, versions
from wecom.group_chats import GroupChat, Member

pytestmark = pytest.mark.asyncio

EVENT = Cause("event", "e1", day(9))
LATER = Cause("event", "e2", day(10))


@pytest_asyncio.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    async with crm_database_at(migrated_url) as opened:
        yield opened


def a_member(userid: str, kind: int = 2, **columns: Any) -> Member:
    values: dict[str, Any] = {"join_time": 1572505491, "join_scene": 1, "invitor": None, "group_nickname": ""}
    values |= {"name": f"name of {userid}", "unionid": None, "state": None}
    return Member(kind, userid, **(values | columns))


def a_chat(*members: Member, chat_id: str = "wr1", known: bool = True, **columns: Any) -> GroupChat:
    """A group with these members; not ``known``: the answer does not say who they are."""
    values: dict[str, Any] = {"name": "销售 🎉", "owner": "lisi", "notice": "", "create_time": 1572505490}
    values |= {"admins": ("sam", "pony"), "member_version": "7" * 32}
    return GroupChat(chat_id=chat_id, members=members if known else None, **(values | columns))


async def write(database: Database, *answers: Answer) -> dict[str, Written]:
    async with database.write() as conn:
        now = await database.clock(conn)
        return await Chats().write(conn, database.dialect, "ww1", answers, now)


async def say(database: Database, found: GroupChat | None, hour: int, cause: Cause = EVENT) -> Written:
    return (await write(database, Answer("wr1", day(hour), found, cause)))["wr1"]


async def told(database: Database, **moments: datetime) -> None:
    async with database.write() as conn:
        now = await database.clock(conn)
        facts = {(CHAT, "wr1"): Existence(**moments, cause=EVENT)}
        await write_existence(conn, database.dialect, "ww1", facts, now)


async def the_chat(database: Database) -> dict[str, Any]:
    (found,) = await rows(database, group_chat)
    return found


async def members(database: Database, *columns: str) -> list[tuple[Any, ...]]:
    found = await rows(database, group_chat_member, *(columns or ("type", "userid")))
    return [tuple(row.values()) for row in found]


async def renamed(database: Database, *pairs: tuple[str, str]) -> None:
    lines = [{"corpid": "ww1", "userid": old, "new_userid": new, "happened_at": day(8)} for old, new in pairs]
    async with database.write() as conn:
        await conn.execute(insert(employee_alias), lines)


async def agree(database: Database) -> None:
    await check_history(database, group_chat)
    await check_history(database, group_chat_member, gaps=True)


async def test_a_group_with_its_members(database: Database) -> None:
    invited = a_member("wmA", invitor="lisi", group_nickname="王", unionid="o1", state="shop 5", join_scene=3)
    result = await say(database, a_chat(a_member("lisi", 1), invited), 10)
    assert (result.changed, result.previous_fetch, result.unseen, result.unfinished) == (True, None, {}, False)
    row = await the_chat(database)
    assert (row["name"], row["owner"], row["notice"], row["create_time"]) == ("销售 🎉", "lisi", "", 1572505490)
    assert (row["admins"], row["member_version"], row["fetched_at"]) == (["pony", "sam"], "7" * 32, day(10))
    lisi, found = await rows(database, group_chat_member)
    assert (lisi["type"], lisi["userid"], lisi["invitor"]) == (1, "lisi", None)
    names = ("type", "userid", "invitor", "group_nickname", "name", "unionid", "state", "join_scene", "join_time")
    assert {name: found[name] for name in names} == {name: getattr(invited, name) for name in names}
    for table in (group_chat, group_chat_member):
        for version in await versions(database, table):
            assert (version["source"], version["event_id"], version["happened_at"]) == ("event", "e1", day(9))
    await agree(database)


async def test_joins_leaves_and_edits(database: Database) -> None:
    await say(database, a_chat(a_member("lisi", 1), a_member("wmA"), a_member("wmB"), a_member("wmC")), 10)
    after = a_chat(a_member("lisi", 1), a_member("wmB", name="B"), a_member("wmC"), a_member("wmD"))
    assert (await say(database, after, 11, LATER)).changed
    assert await members(database, "userid", "name") == [
        *(("lisi", "name of lisi"), ("wmB", "B"), ("wmC", "name of wmC"), ("wmD", "name of wmD"))
    ]
    (left,) = await versions(database, group_chat_member, userid="wmA")
    assert left["valid_to"] is not None
    before, edited = await versions(database, group_chat_member, userid="wmB")
    assert (before["valid_to"], edited["name"], edited["event_id"]) == (edited["valid_from"], "B", "e2")
    assert len(await versions(database, group_chat_member, userid="wmC")) == 1
    assert len(await versions(database, group_chat)) == 1
    await say(database, a_chat(a_member("wmA")), 12)
    assert await members(database) == [(2, "wmA")]
    assert len(await versions(database, group_chat_member, userid="wmA")) == 2
    await agree(database)


async def test_ids_are_told_apart_as_the_platform_does(database: Database) -> None:
    await say(database, a_chat(*(a_member(userid) for userid in ("wmA", "wma", "wmA ")), a_member("wmA", 1)), 10)
    assert await members(database) == [(1, "wmA"), (2, "wmA"), (2, "wmA "), (2, "wma")]
    await say(database, a_chat(a_member("wma"), a_member("wmA ", 9)), 11)
    assert await members(database) == [(2, "wma"), (9, "wmA ")]
    await agree(database)


async def test_the_same_again_changes_nothing(database: Database) -> None:
    await say(database, a_chat(a_member("wmA")), 10)
    result = await say(database, a_chat(a_member("wmA"), member_version="8" * 32), 11)
    assert (result.changed, result.previous_fetch) == (False, day(10))
    row = await the_chat(database)
    assert (row["fetched_at"], row["member_version"]) == (day(11), "8" * 32)
    assert len(await versions(database, group_chat)) == len(await versions(database, group_chat_member)) == 1


@pytest.mark.parametrize("hour", [9, 10])
async def test_an_answer_that_is_not_newer_changes_nothing(database: Database, hour: int) -> None:
    await say(database, a_chat(a_member("wmA")), 10)
    for older in (a_chat(a_member("wmB"), name="old"), None):
        result = await say(database, older, hour)
        assert (result.changed, result.unseen) == (False, {})
    row = await the_chat(database)
    assert (row["name"], row["gone_at"], await members(database)) == ("销售 🎉", None, [(2, "wmA")])
    await agree(database)


async def test_what_is_empty_now_is_cleared(database: Database) -> None:
    await say(database, a_chat(a_member("wmA", state="s"), notice="hear, hear"), 10)
    cleared = a_chat(a_member("wmA"), name="", notice=None, owner=None, admins=(), member_version=None)
    assert (await say(database, cleared, 11)).changed
    row = await the_chat(database)
    assert (row["name"], row["notice"], row["owner"], row["admins"], row["member_version"]) == (
        "",
        None,
        None,
        [],
        None,
    )
    assert await members(database, "userid", "state") == [("wmA", None)]
    await agree(database)


async def test_an_answer_without_a_list_leaves_the_members(database: Database) -> None:
    await say(database, a_chat(a_member("wmA")), 10)
    await say(database, a_chat(known=False, name="new"), 11)
    assert ((await the_chat(database))["name"], await members(database)) == ("new", [(2, "wmA")])
    await say(database, a_chat(), 12)
    assert await members(database) == []
    await agree(database)


async def test_a_group_that_is_not_shown(database: Database) -> None:
    await say(database, a_chat(a_member("wmA")), 10)
    assert (await say(database, None, 12)).changed
    assert not (await say(database, None, 13)).changed
    row = await the_chat(database)
    assert (row["gone_at"], row["dismissed_at"], row["name"], row["fetched_at"]) == (day(12), None, "销售 🎉", day(10))
    assert await members(database) == [(2, "wmA")]
    await say(database, a_chat(a_member("wmA")), 11)
    assert (await the_chat(database))["gone_at"] == day(12)
    assert (await say(database, a_chat(a_member("wmA")), 14)).changed
    assert (await the_chat(database))["gone_at"] is None
    await agree(database)


async def test_a_group_that_events_made_and_no_answer_has_is_looked_for(database: Database) -> None:
    await told(database, created_at=day(9))
    assert (await say(database, None, 10)).unseen == {"": day(10)}
    assert (await say(database, a_chat(), 11)).unseen == {}
    await agree(database)


async def test_a_late_answer_brings_no_dismissed_group_back(database: Database) -> None:
    await told(database, created_at=day(1), deleted_at=day(9))
    assert (await say(database, a_chat(a_member("wmA")), 10)).unseen == {"": day(9)}
    row = await the_chat(database)
    assert (row["dismissed_at"], row["gone_at"], row["name"]) == (day(9), None, "销售 🎉")
    assert (await say(database, None, 11)).unseen == {}
    assert (await the_chat(database))["gone_at"] == day(11)
    for seconds, dismissed_at in ((0, day(9)), (1, None)):
        moment = day(9) + timedelta(hours=24, seconds=seconds)
        result = (await write(database, Answer("wr1", moment, a_chat(a_member("wmA")), EVENT)))["wr1"]
        assert result.unseen == ({"": day(9)} if dismissed_at else {})
        assert (await the_chat(database))["dismissed_at"] == dismissed_at
    await agree(database)


async def test_ids_that_employees_had_before_count_for_the_new_ones(database: Database) -> None:
    await renamed(database, ("old", "middle"), ("middle", "new"), ("boss", "lead"))
    listed = (a_member("new", 1, name="new entry"), a_member("old", 1, name="old entry"), a_member("boss", 1))
    customers = (a_member("old", 2), a_member("wmA", invitor="middle"))
    await say(database, a_chat(*listed, *customers, owner="boss", admins=("old", "new", "sam")), 10)
    row = await the_chat(database)
    assert (row["owner"], row["admins"]) == ("lead", ["new", "sam"])
    assert await members(database, "type", "userid", "name", "invitor") == [
        (1, "lead", "name of boss", None),
        (1, "new", "new entry", None),
        (2, "old", "name of old", None),
        (2, "wmA", "name of wmA", "new"),
    ]
    await agree(database)


async def test_large_groups_are_written_one_after_the_other(database: Database) -> None:
    chats = [a_chat(*(a_member(f"wm{number:03}") for number in range(300)), chat_id=f"wr{name}") for name in range(4)]
    left = chats
    for number in range(2):
        moment = day(10) + timedelta(seconds=number)
        done = await write(database, *(Answer(chat.chat_id, moment, chat, EVENT) for chat in left))
        unfinished = {chat_id for chat_id, result in done.items() if result.unfinished}
        left = [chat for chat in left if chat.chat_id in unfinished]
        assert len(left) == (2 if number == 0 else 0)
        # Each is there as a whole or not at all.
        assert len(await members(database)) == 600 * (number + 1)
    emptied = a_chat(chat_id="wr0")
    assert not (await write(database, Answer("wr0", day(11), emptied, EVENT)))["wr0"].unfinished
    assert len(await members(database)) == 900
    await agree(database)


async def test_writers_of_the_same_groups_end_without_a_deadlock(database: Database) -> None:
    crowd = [f"wr{number:02}" for number in range(12)]

    def turned(number: int) -> list[str]:
        return crowd[number:] + crowd[:number]

    async def read(number: int) -> None:
        found = [a_chat(a_member(f"wm{number}"), a_member("lisi", 1), chat_id=chat_id) for chat_id in turned(number)]
        await write(database, *(Answer(chat.chat_id, day(10, number), chat, EVENT) for chat in found))

    async def events(number: int) -> None:
        async with database.write() as conn:
            now = await database.clock(conn)
            facts = {(CHAT, chat_id): Existence(created_at=day(9, number), cause=EVENT) for chat_id in turned(number)}
            await write_existence(conn, database.dialect, "ww1", facts, now)

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(number) for number in range(6) for work in (read, events)))
    assert {row["last_create_at"] for row in await rows(database, group_chat)} == {day(9, 5)}
    assert await members(database, "userid") == [("lisi",), ("wm5",)] * len(crowd)
    await agree(database)
