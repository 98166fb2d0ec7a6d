"""The migrated databases that tests are lent: nothing of one test is found by the next."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from core.db.tables import dead_letter, metadata
from tests.support import migrated
from tests.support.crm import crm_database_at, day, rows
from tests.support.databases import MakeDatabase, administration
from tests.support.migrated import MigratedDatabases
from tests.support.views import put
from tests.support.waiting import until_async

pytestmark = pytest.mark.asyncio

LETTER: dict[str, Any] = {"corpid": "ww1", "log_id": "l", "partition": 0, "position": 1, "reason": "r", "payload": b"x"}
LETTER |= {"received_at": day(9), "recorded_at": day(9)}
# A row in a table and one in another that refers to it.
FILLED = {
    "customer": {"userid": "wmA"},
    "customer_follow": {"userid": "wmA", "follow_userid": "lisi"},
    "customer_history": {"userid": "wmA", "valid_from": day(9), "source": "event"},
}


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def databases(request: pytest.FixtureRequest) -> MigratedDatabases:
    """Not the run's own: of these one may get lost."""
    return MigratedDatabases(request.getfixturevalue(request.param))


async def test_every_one_is_empty_and_counts_from_one(make_migrated: MakeDatabase) -> None:
    for _ in range(2):
        async with make_migrated() as url, crm_database_at(url, ()) as database:
            async with database.read() as conn:
                for table in metadata.sorted_tables:
                    assert (await conn.execute(select(func.count()).select_from(table))).scalar() == 0, table.name
            for name, row in FILLED.items():
                await put(database, metadata.tables[name], row)
            async with database.write() as conn:
                await conn.execute(insert(dead_letter), [LETTER])
            assert await rows(database, dead_letter, "id") == [{"id": 1}]


async def test_who_changes_tables_is_told_to_take_an_empty_one(databases: MigratedDatabases) -> None:
    async with databases.lent() as url:
        pass
    lent = databases.lent()
    # The same again: one is enough for tests one after another.
    assert await lent.__aenter__() == url
    async with administration(url) as conn:
        await conn.execute(text("ALTER TABLE corp ADD COLUMN more integer"))
    with pytest.raises(AssertionError, match="database_url"):
        await lent.__aexit__(None, None, None)
    assert databases._free == []
    await databases.close()


async def test_who_stays_connected_is_told(databases: MigratedDatabases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrated, "until_async", partial(until_async, deadline=0.1))
    lent = databases.lent()
    async with administration(await lent.__aenter__()) as conn:
        await conn.execute(text("SELECT 1"))
        with pytest.raises(TimeoutError):
            await lent.__aexit__(None, None, None)
    assert databases._free == []
    await databases.close()
