"""Versions of rows, and the tables as of a moment: the same on every database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Table

from core.db.engine import Database
from core.db.tables import business_columns, corp, customer, customer_follow, customer_follow_tag
from sync.facts import Facts
from sync.history import Version, record
from sync.objects.base import Answer, Cause
from sync.objects.customers import write_answers, write_facts
from tests.support.crm import a_customer, a_follow, corp_tag, crm_database_at, day, personal_tag, rows
from tests.support.versions import as_of, check_history, versions
from wecom.customers import Customer

pytestmark = pytest.mark.asyncio

EDIT = Cause("event", "e1", day(9))
TABLES = {customer: False, customer_follow: False, customer_follow_tag: True}
"""Whether rows come and go."""


@pytest_asyncio.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    async with crm_database_at(migrated_url) as opened:
        yield opened


async def answer(
    database: Database, now: datetime, shown: Customer | None, cause: Cause = EDIT, *, userid: str = "wmA"
) -> None:
    """An answer that was read and is written at this moment."""
    async with database.write() as conn:
        await write_answers(conn, database.dialect, "ww1", [Answer(userid, now, shown, cause)], now)


async def facts(database: Database, now: datetime, told: Facts, *, userid: str = "wmA") -> None:
    async with database.write() as conn:
        await write_facts(conn, database.dialect, "ww1", {(userid, "zhangsan"): told}, now)


async def past(database: Database, table: Table, moment: datetime, *columns: str) -> list[Any]:
    async with database.read() as conn:
        found = [dict(row) for row in (await conn.execute(as_of(table, moment))).mappings()]
    return [{name: row[name] for name in columns} for row in found]


async def check(database: Database) -> None:
    for table, gaps in TABLES.items():
        await check_history(database, table, gaps=gaps)


async def test_a_change_closes_a_version_and_opens_the_next_with_what_led_to_it(database: Database) -> None:
    await answer(database, day(10), a_customer(a_follow(remark="first")))
    await answer(database, day(11), a_customer(a_follow(remark="second")), Cause("event", "e2", day(10, 59)))
    await answer(database, day(12), a_customer(a_follow(remark="third")), Cause("view"))
    found = await versions(
        *(database, customer_follow, "valid_from", "valid_to", "remark", "source", "event_id", "happened_at"),
    )
    assert [tuple(row.values()) for row in found] == [
        (day(10), day(11), "first", "event", "e1", day(9)),
        (day(11), day(12), "second", "event", "e2", day(10, 59)),
        (day(12), None, "third", "view", None, None),
    ]
    # Of the customer itself nothing changed.
    assert await versions(database, customer, "name", "valid_from", "valid_to") == [
        {"name": "Lin", "valid_from": day(10), "valid_to": None}
    ]
    await check(database)


async def test_every_column_that_history_keeps_is_in_the_version(database: Database) -> None:
    follow = a_follow(
        remark="备" * 200, remark_mobiles=("138", "139"), wechat_channels={"nickname": "视频号", "source": 1}, state="s"
    )
    told = a_customer(follow, name="小林 🎉", external_profile={"external_attr": [{"type": 0}]}, unionid="u", gender=2)
    await answer(database, day(10), told)
    await check(database)
    (kept,) = await versions(database, customer_follow)
    assert (kept["remark"], kept["remark_mobiles"]) == ("备" * 200, ["138", "139"])
    assert kept["wechat_channels"] == {"nickname": "视频号", "source": 1}
    (kept,) = await versions(database, customer)
    assert (kept["name"], kept["external_profile"]) == ("小林 🎉", {"external_attr": [{"type": 0}]})


async def test_what_changes_nothing_makes_no_version(database: Database) -> None:
    told = a_customer(a_follow(tags=(corp_tag("t1"), personal_tag("mine")), remark_mobiles=("138",)))
    await facts(database, day(10), Facts(add_at=day(9), cause=EDIT))
    await answer(database, day(11), told)
    before = {table: await versions(database, table) for table in TABLES}
    await answer(database, day(12), told)
    await answer(database, day(10), a_customer(a_follow(remark="older")))
    await facts(database, day(13), Facts(add_at=day(9), cause=EDIT))
    # A second add is a fact and changes nothing that analysts read.
    await facts(database, day(13), Facts(add_at=day(12), cause=EDIT))
    assert {table: await versions(database, table) for table in TABLES} == before
    assert [len(found) for found in before.values()] == [2, 2, 2]


async def test_the_first_version_begins_when_the_row_is_made(database: Database) -> None:
    added = Cause("event", "e0", day(8))
    await facts(database, day(9), Facts(add_at=day(8), cause=added))
    await answer(database, day(10), a_customer(a_follow()))
    for table, column, value in ((customer, "name", "Lin"), (customer_follow, "remark", "Lin from the fair")):
        found = await versions(database, table, "valid_from", "valid_to", column, "event_id")
        assert [tuple(row.values()) for row in found] == [
            (day(9), day(10), None, "e0"),
            (day(10), None, value, "e1"),
        ]


async def test_a_loss_is_a_version_with_its_event(database: Database) -> None:
    await answer(database, day(10), a_customer(a_follow()))
    lost = Cause("event", "e3", day(11))
    await facts(database, day(12), Facts(loss_at=day(11), loss_by="customer", cause=lost))
    names = ("lost_at", "lost_by", "remark", "valid_from", "event_id", "happened_at")
    first, second = await versions(database, customer_follow, *names)
    assert (first["lost_at"], first["lost_by"]) == (None, None)
    assert tuple(second.values()) == (day(11), "customer", "Lin from the fair", day(12), "e3", day(11))
    # Then it was not known, though it had happened.
    assert await past(database, customer_follow, day(11, 30), "lost_at") == [{"lost_at": None}]
    assert await past(database, customer_follow, day(12), "lost_at") == [{"lost_at": day(11)}]


async def test_nobody_shown_is_a_version_of_the_customer(database: Database) -> None:
    await answer(database, day(10), a_customer(a_follow()))
    await answer(database, day(11), None)
    await answer(database, day(12), None)
    await answer(database, day(13), a_customer(a_follow()))
    found = await versions(database, customer, "valid_from", "gone_at", "name")
    assert [tuple(row.values()) for row in found] == [
        (day(10), None, "Lin"),
        (day(11), day(11), "Lin"),
        (day(13), None, "Lin"),
    ]


async def test_tags_come_change_go_and_come_again(database: Database) -> None:
    lists = {
        10: (corp_tag("t1"), corp_tag("t2"), personal_tag("mine")),
        11: (corp_tag("t1", "Gold"), personal_tag("mine")),
        12: (corp_tag("t1", "Gold"), corp_tag("t2")),
        13: (corp_tag("t1", "Gold"), corp_tag("t2")),
    }
    for hour, tags in lists.items():
        await answer(database, day(hour), a_customer(a_follow(tags=tags)))
        await check(database)
    found = await versions(database, customer_follow_tag, "tag_name", "valid_from", "valid_to", tag_id="t1")
    assert [tuple(row.values()) for row in found] == [("VIP", day(10), day(11)), ("Gold", day(11), None)]
    found = await versions(database, customer_follow_tag, "valid_from", "valid_to", tag_id="t2")
    assert [tuple(row.values()) for row in found] == [(day(10), day(11)), (day(12), None)]
    found = await versions(database, customer_follow_tag, "valid_from", "valid_to", tag_id=None)
    assert [tuple(row.values()) for row in found] == [(day(10), day(12))]
    for hour, names in {9: [], 10: ["VIP", "VIP", "mine"], 11: ["Gold", "mine"], 12: ["Gold", "VIP"]}.items():
        then = await past(database, customer_follow_tag, day(hour, 30), "tag_name")
        assert sorted(row["tag_name"] for row in then) == names


@pytest.mark.parametrize("back", [timedelta(0), timedelta(microseconds=1), timedelta(hours=3)])
async def test_moments_increase_though_the_clock_stands_or_goes_back(database: Database, back: timedelta) -> None:
    tagged = a_customer(a_follow(remark="first", tags=(corp_tag("t1"),)))
    steps = [tagged, a_customer(a_follow(remark="second")), tagged, a_customer(a_follow(remark="third"))]
    for number, shown in enumerate(steps):
        async with database.write() as conn:
            told = Answer("wmA", day(9, number), shown, EDIT)
            await write_answers(conn, database.dialect, "ww1", [told], day(20) - back * number)
    await check(database)
    found = await versions(database, customer_follow, "valid_from", "remark")
    assert [row["remark"] for row in found] == ["first", "second", "first", "third"]
    micro = timedelta(microseconds=1)
    assert [row["valid_from"] for row in found] == [day(20) + micro * number for number in range(4)]
    found = await versions(database, customer_follow_tag, "valid_from", "valid_to")
    assert [tuple(row.values()) for row in found] == [
        (day(20), day(20) + micro),
        (day(20) + 2 * micro, day(20) + 3 * micro),
    ]


async def test_a_transaction_that_is_rolled_back_leaves_no_version(database: Database) -> None:
    await answer(database, day(10), a_customer(a_follow(tags=(corp_tag("t1"),))))
    before = {table: await versions(database, table) for table in TABLES}
    async with database.write() as conn:
        told = Answer("wmA", day(11), a_customer(a_follow(remark="other"), name="Other"), EDIT)
        await write_answers(conn, database.dialect, "ww1", [told], day(11))
        await conn.rollback()
    assert {table: await versions(database, table) for table in TABLES} == before
    await check(database)


async def test_a_row_that_another_writer_made_has_its_first_version_already(database: Database) -> None:
    await facts(database, day(10), Facts(add_at=day(9), cause=EDIT))
    (row,) = await rows(database, customer)
    async with database.write() as conn:
        await record(conn, customer, "ww1", [Version(row, row, Cause("view"), made=True)], day(11))
    assert len(await versions(database, customer)) == 1
    async with database.write() as conn:
        await record(conn, customer, "ww1", [Version(row, {**row, "name": "Lin"}, Cause("view"))], day(11))
    assert [found["valid_to"] for found in await versions(database, customer)] == [day(11), None]


async def test_a_row_that_is_no_more_and_has_no_open_version_stays_so(database: Database) -> None:
    key = {"userid": "wmA", "follow_userid": "zhangsan", "tag_key": "t1"}
    row = key | {"type": 1, "tag_id": "t1", "group_name": "g", "tag_name": "t"}
    for hour, is_there in enumerate((False, True, False, False), start=10):
        async with database.write() as conn:
            version = Version(key, row if is_there else None, EDIT)
            await record(conn, customer_follow_tag, "ww1", [version], day(hour))
    found = await versions(database, customer_follow_tag, "valid_from", "valid_to")
    assert [tuple(row.values()) for row in found] == [(day(11), day(12))]


async def test_many_rows_at_once(database: Database) -> None:
    crowd = [f"wm{number:04}" for number in range(1200)]
    for hour in (10, 11):
        async with database.write() as conn:
            follow = a_follow(remark=f"at {hour}", tags=(corp_tag("t1"),))
            told = [Answer(userid, day(hour), a_customer(follow, userid=userid), EDIT) for userid in crowd]
            await write_answers(conn, database.dialect, "ww1", told, day(hour))
    await check(database)
    assert [len(await versions(database, table)) for table in TABLES] == [1200, 2400, 1200]


async def test_rows_of_other_corps_and_ids_that_differ_in_case_or_blanks_are_other_rows(database: Database) -> None:
    ids = ("wma", "wmA", "wmA ")
    async with database.write() as conn:
        await conn.execute(corp.insert(), [{"corpid": "ww2", "name": "two"}])
        for corpid in ("ww1", "ww2"):
            told = [Answer(each, day(10), a_customer(a_follow(), userid=each, name=each), EDIT) for each in ids]
            await write_answers(conn, database.dialect, corpid, told, day(10))
    async with database.write() as conn:
        told = [Answer("wmA", day(11), a_customer(a_follow(), userid="wmA", name="other"), EDIT)]
        await write_answers(conn, database.dialect, "ww2", told, day(11))
    await check(database)
    found = [(row["corpid"], row["userid"]) for row in await versions(database, customer) if row["valid_to"]]
    assert found == [("ww2", "wmA")]


async def test_the_past_begins_at_a_change_and_ends_at_the_next(database: Database) -> None:
    for hour, remark in ((10, "first"), (12, "second")):
        await answer(database, day(hour), a_customer(a_follow(remark=remark)))
    micro = timedelta(microseconds=1)
    moments = {day(10) - micro: [], day(10): ["first"], day(12) - micro: ["first"], day(12): ["second"]}
    for moment, remarks in moments.items():
        assert [row["remark"] for row in await past(database, customer_follow, moment, "remark")] == remarks


async def test_the_past_is_what_the_tables_were_whatever_happened(database: Database) -> None:
    """Random answers and events, with a clock that stands and jumps; after each the tables are remembered."""
    chance = random.Random(7)
    now = day(9)
    remembered: dict[datetime, dict[str, Any]] = {}
    for step in range(40):
        now += chance.choice([timedelta(0), timedelta(microseconds=1), timedelta(seconds=7), timedelta(minutes=5)])
        # Of what happens while the clock stands a part counts from that moment, and a part from a little later.
        remembered.pop(now, None)
        userid = chance.choice(["wmA", "wmB"])
        if chance.random() < 0.3:
            moment = day(8) + timedelta(minutes=chance.randrange(100))
            loss = Facts(loss_at=moment, loss_by=chance.choice(["customer", "employee"]), cause=EDIT)
            await facts(database, now, chance.choice([Facts(add_at=moment, cause=EDIT), loss]), userid=userid)
        else:
            tags = [tag for tag in (corp_tag("t1"), corp_tag("t2", f"n{step % 2}"), personal_tag("p")) if step % 3]
            follows = [a_follow(remark=chance.choice("ab"), tags=tuple(chance.sample(tags, len(tags) // 2)))]
            shown = a_customer(*follows, userid=userid, name=chance.choice("xy")) if chance.random() < 0.9 else None
            fetched_at = day(8) + timedelta(seconds=step)
            async with database.write() as conn:
                await write_answers(conn, database.dialect, "ww1", [Answer(userid, fetched_at, shown, EDIT)], now)
        kept = [row for table in TABLES for row in await versions(database, table, "valid_from", "valid_to")]
        now = max([now, *(moment for row in kept for moment in row.values() if moment is not None)])
        remembered[now] = {table.name: await _columns(database, table) for table in TABLES}
    await check(database)
    assert len(remembered) > 20
    for moment, tables in remembered.items():
        for table in TABLES:
            names = [column.name for column in table.primary_key]
            then = await past(database, table, moment, *names, *business_columns(table))
            assert sorted(then, key=lambda row: [row[name] for name in names]) == tables[table.name]
    assert sum([len(await versions(database, table)) for table in TABLES]) > 40


async def _columns(database: Database, table: Table) -> list[dict[str, Any]]:
    return await rows(database, table, *(column.name for column in table.primary_key), *business_columns(table))


async def test_writers_that_meet_leave_one_history(database: Database) -> None:
    """Each sees the customers as missing at first, and only one of them makes them."""
    crowd = [f"wm{number:02}" for number in range(20)]

    async def work(number: int) -> None:
        turned = crowd[number:] + crowd[:number]
        async with database.write() as conn:
            now = await database.clock(conn)
            if number % 2:
                told = {(userid, "zhangsan"): Facts(add_at=day(10), cause=EDIT) for userid in turned}
                await write_facts(conn, database.dialect, "ww1", told, now)
            else:
                answers = [Answer(userid, day(10), a_customer(a_follow(), userid=userid), EDIT) for userid in turned]
                await write_answers(conn, database.dialect, "ww1", answers, now)

    await asyncio.gather(*(work(number) for number in range(8)))
    await check(database)
    for userid in crowd:
        # As made by a fact and as read, or both at once.
        assert len(await versions(database, customer, "name", userid=userid)) <= 2
