"""Departments: what an answer changes, on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert

from core.db.engine import Database
from core.db.tables import HISTORY, department, employee_alias
from sync.effects import PARTY
from sync.facts import Existence
from sync.objects.base import Answer, Cause, Written
from sync.objects.departments import Departments
from sync.objects.existence import write_existence
from tests.support.crm import crm_database_at, day, rows
from wecom.directory import Department

pytestmark = pytest.mark.asyncio

EVENT = Cause("event", "e" * 64, day(9))
LARGE = 4_294_967_295


class Store:
    """Writes answers about departments and shows the rows."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def answer(self, fetched_at: datetime, found: Department | None, number: int = 2) -> Written:
        answer = Answer(str(number), fetched_at, found, EVENT)
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            return (await Departments().write(conn, self.database.dialect, "ww1", [answer], now))[str(number)]

    async def told(self, number: int = 2, **facts: datetime) -> None:
        """An event said that the department was made or deleted."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            told = {(PARTY, str(number)): Existence(**facts, cause=EVENT)}
            await write_existence(conn, self.database.dialect, "ww1", told, now)

    async def row(self) -> dict[str, Any]:
        (found,) = await rows(self.database, department)
        return found

    async def versions(self, *columns: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in await rows(self.database, HISTORY["department"], *columns)]


@pytest_asyncio.fixture
async def store(migrated_url: str) -> AsyncIterator[Store]:
    async with crm_database_at(migrated_url) as database:
        yield Store(database)


def a_department(**columns: Any) -> Department:
    values: dict[str, Any] = {"department_id": 2, "name": "研发", "name_en": "RD", "parentid": 1, "sort_order": LARGE}
    return Department(**(values | {"leaders": ("zhangsan",)} | columns))


async def test_everything_is_kept_with_its_history(store: Store) -> None:
    result = await store.answer(day(10), a_department())
    assert (result.changed, result.fetched_at, result.previous_fetch) == (True, day(10), None)
    row = await store.row()
    assert (row["department_id"], row["name"], row["name_en"], row["parentid"]) == (2, "研发", "RD", 1)
    assert (row["sort_order"], row["leaders"], row["fetched_at"]) == (LARGE, ["zhangsan"], day(10))
    names = ("department_id", "name", "leaders", "source", "event_id", "valid_to")
    assert await store.versions(*names) == [(2, "研发", ["zhangsan"], "event", "e" * 64, None)]


async def test_a_change_closes_one_version_and_opens_the_next(store: Store) -> None:
    await store.answer(day(10), a_department())
    assert not (await store.answer(day(11), a_department())).changed
    assert (await store.answer(day(12), a_department(name=None, parentid=3, leaders=()))).changed
    row = await store.row()
    assert (row["name"], row["parentid"], row["leaders"], row["fetched_at"]) == (None, 3, [], day(12))
    (first, second) = await store.versions("name", "valid_from", "valid_to")
    assert (first[0], second[0], first[2] == second[1], second[2]) == ("研发", None, True, None)


async def test_an_older_answer_changes_nothing(store: Store) -> None:
    await store.answer(day(12), a_department())
    for stale in (a_department(name="old"), None):
        assert not (await store.answer(day(11), stale)).changed
    row = await store.row()
    assert (row["name"], row["gone_at"], row["fetched_at"]) == ("研发", None, day(12))


async def test_gone_and_back(store: Store) -> None:
    await store.answer(day(10), a_department())
    assert (await store.answer(day(11), None)).changed
    assert not (await store.answer(day(12), None)).changed
    row = await store.row()
    assert (row["name"], row["gone_at"], row["deleted_at"]) == ("研发", day(11), None)
    await store.answer(day(13), a_department())
    assert (await store.row())["gone_at"] is None


async def test_events_decide_what_is_doubted(store: Store) -> None:
    assert (await store.answer(day(10), None)).unseen == {}
    await store.told(created_at=day(9))
    assert (await store.answer(day(11), None)).unseen == {"": day(10)}
    await store.told(deleted_at=day(12))
    result = await store.answer(day(13), a_department())
    assert (result.unseen, (await store.row())["deleted_at"]) == ({"": day(12)}, day(12))
    await store.answer(day(12) + timedelta(hours=24, seconds=1), a_department())
    assert (await store.row())["deleted_at"] is None


async def test_leaders_are_named_by_the_id_that_they_have_now(store: Store) -> None:
    row = {"corpid": "ww1", "userid": "zhangsan", "new_userid": "zs", "happened_at": day(9)}
    async with store.database.write() as conn:
        await conn.execute(insert(employee_alias), [row])
    await store.answer(day(10), a_department(leaders=("zhangsan", "lisi", "zs")))
    assert (await store.row())["leaders"] == ["zs", "lisi"]
