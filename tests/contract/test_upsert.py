"""Inserts that meet a row already there: the same on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import case, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from core.db.bulk import add, for_each, lists, put, remove
from core.db.engine import Database, is_transient
from core.db.tables import corp, customer, customer_follow, customer_follow_tag, dead_letter, pending_read
from core.db.upsert import insert_ignore, upsert
from core.db.wishes import CUSTOMER
from sync.effects import Effect
from sync.facts import Facts
from sync.objects.base import Answer
from sync.objects.customers import write_answers, write_facts
from sync.pending import claim, settle, want
from tests.support.crm import a_customer, a_follow, corp_tag, crm_database_at, day, personal_tag, rows

pytestmark = pytest.mark.asyncio

MOMENT = datetime(2026, 3, 2, 10, 0, 0, 123456, tzinfo=UTC)


@pytest_asyncio.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    async with crm_database_at(migrated_url) as opened:
        yield opened


def wish(userid: str) -> Effect:
    return Effect(True, userid, wishes=((CUSTOMER, userid),))


async def names(database: Database) -> dict[str, str]:
    return {row["corpid"]: row["name"] for row in await rows(database, corp, "corpid", "name")}


async def test_upsert_inserts_what_is_new_and_changes_what_is_there(database: Database) -> None:
    statement = upsert(database.dialect, corp, lambda _old, new: [("name", new["name"])])
    async with database.write() as conn:
        await conn.execute(statement, [{"corpid": "ww1", "name": "after"}, {"corpid": "ww2", "name": "new"}])
    assert await names(database) == {"ww1": "after", "ww2": "new"}


async def test_upsert_can_let_the_newer_win(database: Database) -> None:
    def newer(old: Any, new: Any) -> list[tuple[str, Any]]:
        return [("name", case((new.reconciled_at > old.reconciled_at, new["name"]), else_=old["name"]))]

    async with database.write() as conn:
        await conn.execute(corp.insert(), [{"corpid": "ww2", "name": "stands", "reconciled_at": MOMENT}])
        for name, ago in (("older", -1), ("equal", 0)):
            row = {"corpid": "ww2", "name": name, "reconciled_at": MOMENT + timedelta(microseconds=ago)}
            await conn.execute(upsert(database.dialect, corp, newer), [row])
        assert (await conn.execute(corp.select().where(corp.c.corpid == "ww2"))).one().name == "stands"
        row = {"corpid": "ww2", "name": "newer", "reconciled_at": MOMENT + timedelta(microseconds=1)}
        await conn.execute(upsert(database.dialect, corp, newer), [row])
    assert (await names(database))["ww2"] == "newer"


async def test_insert_ignore_leaves_what_is_there(database: Database) -> None:
    statement = insert_ignore(database.dialect, corp)
    async with database.write() as conn:
        await conn.execute(statement, [{"corpid": "ww1", "name": "after"}, {"corpid": "ww2", "name": "new"}])
    assert await names(database) == {"ww1": "ww1", "ww2": "new"}


async def test_insert_ignore_still_refuses_what_does_not_fit(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with database.write() as conn:
            await conn.execute(insert_ignore(database.dialect, corp), [{"corpid": "ww2", "name": None}])
    assert not is_transient(caught.value)


async def test_insert_ignore_by_another_unique_index(database: Database) -> None:
    row = {"corpid": "ww1", "log_id": "log", "partition": 0, "reason": "first", "payload": b"\0\xff"}
    row |= {"received_at": MOMENT, "recorded_at": MOMENT}
    statement = insert_ignore(database.dialect, dead_letter, ("log_id", "partition", "position"))
    async with database.write() as conn:
        await conn.execute(statement, [row | {"position": 1}, row | {"position": 2}])
        await conn.execute(statement, [row | {"position": 2, "reason": "again"}, row | {"position": 3}])
    found = await rows(database, dead_letter, "position", "reason", "payload")
    assert [(each["position"], each["reason"]) for each in found] == [(1, "first"), (2, "first"), (3, "first")]
    assert found[0]["payload"] == b"\0\xff"


async def test_put_inserts_and_overwrites_only_what_it_is_told(database: Database) -> None:
    later = MOMENT + timedelta(hours=1)
    async with database.write() as conn:
        await put(conn, corp, [{"corpid": "ww1", "name": "one", "reconciled_at": MOMENT}], ["name", "reconciled_at"])
        given = [{"corpid": each, "name": "two", "reconciled_at": later} for each in ("ww1", "ww2")]
        await put(conn, corp, given, ["reconciled_at"])
        given = [{"corpid": each, "name": "three", "reconciled_at": None} for each in ("ww1", "ww3")]
        await put(conn, corp, given)
        await put(conn, corp, [], ["name"])
    found = await rows(database, corp)
    assert [tuple(row.values()) for row in found] == [
        ("ww1", "one", later),
        ("ww2", "two", later),
        ("ww3", "three", None),
    ]


async def test_add_refuses_what_is_there(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as conn:
            await add(conn, corp, [{"corpid": "ww0", "name": "new"}, {"corpid": "ww1", "name": "other"}])
    assert await names(database) == {"ww1": "ww1"}


@pytest.mark.parametrize("length", [128, 129])
async def test_what_is_too_long_is_refused_and_not_cut_off(database: Database, database_kind: str, length: int) -> None:
    refused = length > 128 and database_kind != "sqlite"
    with pytest.raises(DBAPIError) if refused else nullcontext():
        async with database.write() as conn:
            await put(conn, corp, [{"corpid": "w" * length, "name": ""}], ["name"])
    assert (await names(database)).keys() == {"ww1"} | (set() if refused else {"w" * length})


async def test_lists_carry_every_type(database: Database) -> None:
    """Of what is in a list of rows, for one column each: texts, numbers, moments, documents, bytes, and no value."""
    follow = {"corpid": "ww1", "userid": "wmA", "follow_userid": "z", "remark": '备 {,} "\\ 🎉', "add_way": 1}
    follow |= {"remark_mobiles": ["1,3", "{}", 'a"b'], "wechat_channels": {"n": [1, None, "视"]}, "fetched_at": MOMENT}
    follow |= {"createtime": 2**40}
    empty: dict[str, Any] = dict.fromkeys(follow) | {"corpid": "ww1", "userid": "wmA", "follow_userid": "y"}
    empty |= {"remark_mobiles": [], "remark": ""}
    letter = {"corpid": "ww1", "log_id": "log", "partition": 0, "reason": "r", "payload": b"\0\xff,{}"}
    letter |= {"received_at": MOMENT, "recorded_at": MOMENT}
    async with database.write() as conn:
        await add(conn, customer, [{"corpid": "ww1", "userid": "wmA", "first_seen_at": MOMENT}])
        await add(conn, customer_follow, [empty, follow])
        await add(conn, dead_letter, [letter | {"position": position} for position in (1, 2)])
    found = await rows(database, customer_follow)
    assert [{name: row[name] for name in follow} for row in found] == [empty, follow]
    assert [row["payload"] for row in await rows(database, dead_letter)] == [letter["payload"]] * 2


async def test_remove_takes_the_rows_with_these_keys(database: Database) -> None:
    async with database.write() as conn:
        await add(conn, corp, [{"corpid": each, "name": ""} for each in ("ww2", "ww3", "ww3 ", "WW3")])
        await remove(conn, corp, [{"corpid": "ww1"}, {"corpid": "ww3"}, {"corpid": "ww9"}])
        await remove(conn, corp, [])
    assert [row["corpid"] for row in await rows(database, corp)] == ["WW3", "ww2", "ww3 "]


@pytest.mark.parametrize("many", [0, 2, 3000])
async def test_rows_for_each_value_of_a_list(database: Database, many: int) -> None:
    wanted = [f"w{number:04}" for number in range(1, many + 1)]
    async with database.write() as conn:
        await add(conn, corp, [{"corpid": each, "name": ""} for each in ("w0002", "w0001", "w0002 ", "W0001")])
        query = for_each(database.dialect, select(corp.c.corpid, corp.c.name), [corp.c.corpid])
        found = await conn.execute(query, lists(database.dialect, corpid=wanted))
        assert list(found.scalars()) == ["w0001", "w0002"][:many]


async def test_instants_keep_their_microseconds(database: Database) -> None:
    async with database.write() as conn:
        await conn.execute(corp.insert(), [{"corpid": "ww2", "name": "", "reconciled_at": MOMENT}])
        now = await database.clock(conn)
    found = await rows(database, corp, "reconciled_at")
    assert found[1]["reconciled_at"] == MOMENT
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=10)


async def test_facts_snapshots_and_tags_are_written_and_written_again(database: Database) -> None:
    tags = (corp_tag("t1"), personal_tag("小明"), corp_tag("t1"))
    remark = "备" * 200
    seen = a_customer(a_follow(remark=remark, tags=tags, remark_mobiles=("13800000000",)), name="小林 🎉")
    seen_at = MOMENT + timedelta(hours=1)
    for _ in range(2):
        async with database.write() as conn:
            now = await database.clock(conn)
            facts = {("wmA", "zhangsan"): Facts(add_at=day(10)), ("wmA", "lisi"): Facts(None, day(9), "customer")}
            await write_facts(conn, database.dialect, "ww1", facts, now)
            await write_answers(conn, database.dialect, "ww1", [Answer("wmA", seen_at, seen)], now)
    (found,) = await rows(database, customer)
    assert (found["name"], found["fetched_at"]) == ("小林 🎉", seen_at)
    lisi, zhangsan = await rows(database, customer_follow)
    assert (lisi["lost_by"], lisi["lost_at"]) == ("customer", day(9))
    assert (zhangsan["remark"], zhangsan["remark_mobiles"]) == (remark, ["13800000000"])
    assert [row["tag_name"] for row in await rows(database, customer_follow_tag, "tag_name")] == ["小明", "VIP"]


async def test_many_at_once_are_within_what_a_statement_can_carry(database: Database) -> None:
    crowd = [f"wm{number:04}" for number in range(1200)]
    async with database.write() as conn:
        now = await database.clock(conn)
        facts = {(userid, "zhangsan"): Facts(add_at=day(10)) for userid in crowd}
        await write_facts(conn, database.dialect, "ww1", facts, now)
        await want(conn, database.dialect, "ww1", [wish(userid) for userid in crowd], now)
        answers = [
            Answer(userid, MOMENT, a_customer(a_follow(tags=(corp_tag("t1"),)), userid=userid)) for userid in crowd
        ]
        await write_answers(conn, database.dialect, "ww1", answers, now)
    async with database.write() as conn:
        claims = await claim(conn, database.dialect, "ww1", "me", 5000, await database.clock(conn))
        assert len(claims) == 1200
        await settle(conn, "ww1", dict.fromkeys(claims), "me")
    assert await rows(database, pending_read) == []
    assert len(await rows(database, customer_follow_tag)) == 1200


async def test_writers_of_the_same_customers_end_without_a_deadlock(database: Database) -> None:
    """They take their locks in one order, whichever order their events came in."""
    crowd = [f"wm{number:02}" for number in range(20)]

    async def apply(number: int) -> None:
        turned = crowd[number:] + crowd[:number]
        async with database.write() as conn:
            now = await database.clock(conn)
            facts = {(userid, "zhangsan"): Facts(add_at=day(10, number)) for userid in turned}
            await write_facts(conn, database.dialect, "ww1", facts, now)
            await want(conn, database.dialect, "ww1", [wish(userid) for userid in turned], now)

    async def refresh(number: int) -> None:
        fetched_at = MOMENT + timedelta(seconds=number)
        turned = crowd[number:] + crowd[:number]
        async with database.write() as conn:
            now = await database.clock(conn)
            answers = [Answer(userid, fetched_at, a_customer(a_follow(), userid=userid)) for userid in turned]
            await write_answers(conn, database.dialect, "ww1", answers, now)

    await asyncio.gather(*(work(number) for number in range(8) for work in (apply, refresh)))
    found = await rows(database, customer_follow, "last_add_at", "fetched_at")
    assert {tuple(row.values()) for row in found} == {(day(10, 7), MOMENT + timedelta(seconds=7))}
    wishes = await rows(database, pending_read, "events", "version")
    assert {tuple(row.values()) for row in wishes} == {(8, 8)}
