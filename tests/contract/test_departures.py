"""An employee who left: what the employee had has ended, in whatever order it becomes known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
import pytest_asyncio

from core.db.engine import Database
from core.db.tables import HISTORY, customer_follow, employee
from sync.effects import MEMBER
from sync.facts import Existence, Facts
from sync.objects import departures as departures_module
from sync.objects.base import Answer, Cause
from sync.objects.customers import write_answers, write_facts
from sync.objects.existence import write_existence
from sync.objects.members import Members
from tests.support.crm import a_customer, a_follow, crm_database_at, day, rows

pytestmark = pytest.mark.asyncio

TEN, LEFT = day(10), day(12)
CAUSE = Cause("event", "e" * 64, LEFT)


class Desk:
    """Facts and looks, one transaction each, as apply and refresh make them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def had(self, *customers: str, since: datetime = TEN, listed: bool = True) -> None:
        """The employee has added these, and the API shows it if they are ``listed``."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            facts = {(userid, "zhangsan"): Facts(add_at=since) for userid in customers}
            await write_facts(conn, self.database.dialect, "ww1", facts, now)
        if listed:
            await self.listed(*customers, since=since)

    async def listed(self, *customers: str, since: datetime, seen: datetime | None = None) -> None:
        """The API shows, when it was ``seen``, that the employee has these."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            follow = a_follow("zhangsan", createtime=int(since.timestamp()))
            # Soon after: a listing of today would say that the employee came back since.
            began = seen or since + timedelta(minutes=5)
            answers = [Answer(userid, began, a_customer(follow, userid=userid)) for userid in customers]
            await write_answers(conn, self.database.dialect, "ww1", answers, now)

    async def lost(self, customer: str, at: datetime, by: str) -> None:
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            facts = {(customer, "zhangsan"): Facts(loss_at=at, loss_by=by)}
            await write_facts(conn, self.database.dialect, "ww1", facts, now)

    async def leaves(self) -> None:
        """The event is applied."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            told = {(MEMBER, "zhangsan"): Existence(deleted_at=LEFT, cause=CAUSE)}
            await write_existence(conn, self.database.dialect, "ww1", told, now)

    async def look(self) -> bool:
        """The employee is read, and nobody is shown; returns whether there is more to do."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            answer = Answer("zhangsan", now, None, CAUSE)
            done = await Members().write(conn, self.database.dialect, "ww1", [answer], now)
        return done["zhangsan"].unfinished

    async def ended(self) -> dict[str, Any]:
        found = await rows(self.database, customer_follow, "userid", "lost_at", "lost_by")
        return {row["userid"]: (row["lost_at"], row["lost_by"]) for row in found}


@pytest_asyncio.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    async with crm_database_at(migrated_url) as database:
        yield Desk(database)


async def test_what_stood_ends_and_what_had_ended_stays_as_it_was(desk: Desk) -> None:
    await desk.had("wmA", "wmB", "wmC")
    await desk.lost("wmB", day(11), "customer")
    await desk.lost("wmC", day(13), "transfer")
    await desk.leaves()
    assert await desk.look() is False
    assert await desk.ended() == {
        "wmA": (LEFT, "left"),
        "wmB": (day(11), "customer"),
        "wmC": (day(13), "transfer"),
    }
    (version,) = [
        row
        for row in await rows(desk.database, HISTORY["customer_follow"])
        if row["userid"] == "wmA" and row["valid_to"] is None
    ]
    assert (version["event_id"], version["happened_at"], version["lost_by"]) == ("e" * 64, LEFT, "left")
    assert [row["left_at"] for row in await rows(desk.database, employee)] == [LEFT]


async def test_in_any_order(desk: Desk) -> None:
    """A late add ends as well, because sync looks at who left whenever an event names them."""
    names = []
    for number, order in enumerate(permutations(("had", "leaves", "look"))):
        name = f"wm{number}"
        names.append(name)
        for step in (*order, "look"):
            await {"had": lambda name=name: desk.had(name), "leaves": desk.leaves, "look": desk.look}[step]()
    assert await desk.ended() == dict.fromkeys(names, (LEFT, "left"))


async def test_an_earlier_ending_that_becomes_known_later_is_the_one_that_counts(desk: Desk) -> None:
    await desk.had("wmA", "wmB")
    await desk.leaves()
    await desk.look()
    await desk.lost("wmA", day(11), "transfer")
    # One from before the relation began anew is no ending of it.
    await desk.lost("wmB", day(9), "transfer")
    assert await desk.ended() == {"wmA": (day(11), "transfer"), "wmB": (LEFT, "left")}


async def test_a_return_that_only_a_read_told_of_ends_with_the_departure(desk: Desk) -> None:
    await desk.had("wmA", since=day(8))
    await desk.lost("wmA", day(9), "transfer")
    # Its add event never came.
    await desk.listed("wmA", since=day(10))
    assert await desk.ended() == {"wmA": (None, None)}
    await desk.leaves()
    await desk.look()
    assert await desk.ended() == {"wmA": (LEFT, "left")}


async def test_a_loss_that_a_listing_refuted_is_not_in_the_way(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures_module, "AT_ONCE", 2)
    names = ("wmA", "wmB", "wmC")
    began = TEN - timedelta(days=5)
    await desk.had(*names, since=began, listed=False)
    for name in names:
        await desk.lost(name, TEN - timedelta(days=4), "employee")
    await desk.listed(*names, since=began, seen=TEN - timedelta(days=2))
    assert await desk.ended() == dict.fromkeys(names, (None, None))
    await desk.leaves()
    assert [await desk.look() for _ in range(2)] == [True, False]
    assert await desk.ended() == dict.fromkeys(names, (LEFT, "left"))


async def test_who_came_back_has_what_was_added_since(desk: Desk) -> None:
    await desk.leaves()
    await desk.had("wmA", since=LEFT + timedelta(seconds=1))
    await desk.look()
    assert await desk.ended() == {"wmA": (None, None)}


async def test_many_end_in_several_transactions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures_module, "AT_ONCE", 3)
    names = [f"wm{number}" for number in range(7)]
    await desk.had(*names, listed=False)
    await desk.leaves()
    assert [await desk.look() for _ in range(4)] == [True, True, False, False]
    assert await desk.ended() == dict.fromkeys(names, (LEFT, "left"))
