"""An employee who left: what the employee had has ended, in whatever order it becomes known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert

from core.db.engine import Database
from core.db.tables import HISTORY, customer_follow, employee, employee_alias, pending_read
from core.envelope import interpret
from sync.effects import DEPARTURE, MEMBER, effect_of
from sync.facts import Existence, Facts
from sync.objects import departures as departures_module
from sync.objects.base import Answer, Cause
from sync.objects.customers import write_answers, write_facts
from sync.objects.departures import Departures
from sync.objects.existence import write_existence
from sync.told import write_effects
from tests.support.crm import a_customer, a_follow, contact_change, crm_database_at, day, rows

pytestmark = pytest.mark.asyncio

TEN, LEFT = day(10), day(12)
CAUSE = Cause("event", "e" * 64, LEFT)


class Desk:
    """Facts and looks, one transaction each, as apply and refresh make them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def had(self, *customers: str, since: datetime = TEN, listed: bool = True, member: str = "zhangsan") -> None:
        """The employee has added these, and the API shows it if they are ``listed``."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            facts = {(userid, member): Facts(add_at=since) for userid in customers}
            await write_facts(conn, self.database.dialect, "ww1", facts, now)
        if listed:
            await self.listed(*customers, since=since, member=member)

    async def listed(
        self, *customers: str, since: datetime, seen: datetime | None = None, member: str = "zhangsan"
    ) -> None:
        """The API shows, when it was ``seen``, that the employee has these."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            follow = a_follow(member, createtime=int(since.timestamp()))
            # Soon after: a listing of today would say that the employee came back since.
            began = seen or since + timedelta(minutes=5)
            answers = [Answer(userid, began, a_customer(follow, userid=userid)) for userid in customers]
            await write_answers(conn, self.database.dialect, "ww1", answers, now)

    async def lost(self, customer: str, at: datetime, by: str) -> None:
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            facts = {(customer, "zhangsan"): Facts(loss_at=at, loss_by=by)}
            await write_facts(conn, self.database.dialect, "ww1", facts, now)

    async def leaves(self, member: str = "zhangsan") -> None:
        """The event is applied."""
        await self._exists(member, Existence(deleted_at=LEFT, cause=CAUSE))

    async def was(self, old: str) -> None:
        """The employee had this id before."""
        alias = {"corpid": "ww1", "userid": old, "new_userid": "zhangsan", "happened_at": TEN}
        async with self.database.write() as conn:
            await conn.execute(insert(employee_alias), [alias])

    async def comes(self, at: datetime) -> None:
        """A create event is applied."""
        await self._exists("zhangsan", Existence(created_at=at))

    async def _exists(self, member: str, told: Existence) -> None:
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            await write_existence(conn, self.database.dialect, "ww1", {(MEMBER, member): told}, now)

    async def tell(self, document: bytes) -> None:
        """Apply this event."""
        effect = effect_of(interpret("ww1", "contacts", int(day(23).timestamp() * 1000) + 86_400_000, document))
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            await write_effects(conn, self.database.dialect, "ww1", [effect], now)

    async def wished(self) -> list[tuple[str, str]]:
        """What is to be looked at."""
        return [(row["kind"], row["object_id"]) for row in await rows(self.database, pending_read)]

    async def look(self, *userids: str, cause: Cause = CAUSE) -> bool:
        """The departure is carried out, as far as one transaction goes; returns whether there is more to do."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            answers = [Answer(userid, now, userid, cause) for userid in userids or ("zhangsan",)]
            done = await Departures().write(conn, self.database.dialect, "ww1", answers, now)
        return any(written.unfinished for written in done.values())

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
    """A late add ends as well, because the departure is carried out again whenever something names who left."""
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


async def test_who_came_back_before_it_was_carried_out_loses_nothing(desk: Desk) -> None:
    await desk.had("wmA")
    await desk.leaves()
    await desk.comes(LEFT + timedelta(seconds=1))
    assert await desk.look() is False
    assert await desk.ended() == {"wmA": (None, None)}


async def test_once_more_changes_nothing(desk: Desk) -> None:
    await desk.had("wmA")
    await desk.leaves()
    await desk.look()
    tables = (customer_follow, HISTORY["customer_follow"])
    before = [await rows(desk.database, table) for table in tables]
    await desk.look()
    assert [await rows(desk.database, table) for table in tables] == before


async def test_the_departure_is_the_cause_whatever_it_was_wished_for(desk: Desk) -> None:
    await desk.had("wmA")
    await desk.leaves()
    await desk.look(cause=Cause("view"))
    (version,) = [row for row in await rows(desk.database, HISTORY["customer_follow"]) if row["valid_to"] is None]
    assert (version["source"], version["event_id"], version["happened_at"]) == ("event", None, LEFT)


async def test_the_departure_of_an_old_id_ends_what_the_new_one_has(desk: Desk) -> None:
    await desk.had("wmA")
    await desk.leaves()
    await desk.was("zs")
    await desk.look("zs")
    assert await desk.ended() == {"wmA": (LEFT, "left")}


async def test_an_event_that_names_an_old_id_wishes_for_the_departure_of_the_new_one(desk: Desk) -> None:
    await desk.was("zs")
    await desk.tell(contact_change("delete_user", LEFT, member="zs", Event="change_contact"))
    assert await desk.wished() == [(DEPARTURE, "zhangsan"), (MEMBER, "zhangsan")]


async def test_one_of_several_in_a_transaction(desk: Desk) -> None:
    """Two would not lock their customers in the order of all writers."""
    await desk.had("wmB")
    await desk.had("wmA", member="lisi")
    await desk.leaves()
    await desk.leaves("lisi")
    assert await desk.look("zhangsan", "lisi", "wangwu") is True
    assert await desk.ended() == {"wmA": (LEFT, "left"), "wmB": (None, None)}
    assert await desk.look("zhangsan", "lisi", "wangwu") is False
    assert await desk.ended() == dict.fromkeys(("wmA", "wmB"), (LEFT, "left"))


async def test_an_event_about_who_left_is_followed_by_the_departure(desk: Desk) -> None:
    await desk.leaves()
    await desk.tell(contact_change("add_external_contact", LEFT - timedelta(hours=1)))
    assert await desk.wished() == [("customer", "wmA"), (DEPARTURE, "zhangsan")]


@pytest.mark.parametrize(("later", "wished"), [(23, []), (25, [(MEMBER, "zhangsan")])])
async def test_who_is_named_a_day_after_leaving_may_have_come_back(
    desk: Desk, later: int, wished: list[tuple[str, str]]
) -> None:
    await desk.leaves()
    await desk.tell(contact_change("edit_external_contact", LEFT + timedelta(hours=later)))
    assert await desk.wished() == [("customer", "wmA"), (DEPARTURE, "zhangsan"), *wished]


async def test_many_end_in_several_transactions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures_module, "AT_ONCE", 3)
    names = [f"wm{number}" for number in range(7)]
    await desk.had(*names, listed=False)
    await desk.leaves()
    assert [await desk.look() for _ in range(4)] == [True, True, False, False]
    assert await desk.ended() == dict.fromkeys(names, (LEFT, "left"))
