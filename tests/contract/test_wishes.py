"""What waits to be read, and since when it may be: the same on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import select, update

from core.db.engine import Database
from core.db.tables import pending_read
from core.db.wishes import CHAT, CUSTOMER, SPACING, Wish, write_wishes
from sync.pending import SETTLING, Next, claim, settle
from tests.support.crm import crm_database_at, rows

pytestmark = pytest.mark.asyncio

SECOND = timedelta(seconds=1)


@pytest_asyncio.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    async with crm_database_at(migrated_url) as opened:
        yield opened


async def wish(database: Database, *userids: str, kind: str = CUSTOMER, delay: timedelta = timedelta()) -> None:
    async with database.write() as conn:
        now = await database.clock(conn)
        await write_wishes(conn, database.dialect, "ww1", [Wish(one) for one in userids], now, kind, delay=delay)


async def claimed(database: Database, *, settled: bool = False) -> list[str]:
    async with database.write() as conn:
        now = await database.clock(conn)
        found = await claim(conn, database.dialect, "ww1", "me", 100, now, settled=settled)
        return [one.object_id for one in found]


@pytest.mark.parametrize(("ago", "waits"), [(SPACING - SECOND, True), (SPACING + SECOND, False)])
async def test_what_was_read_a_moment_ago_waits(database: Database, ago: timedelta, waits: bool) -> None:
    await wish(database, "wmA", "wmB")
    async with database.write() as conn:
        now = await database.clock(conn)
        await conn.execute(
            update(pending_read).where(pending_read.c.object_id == "wmA").values(read_at=now - ago, stage="confirm")
        )
    await wish(database, "wmA", "wmB")
    first, second = await rows(database, pending_read)
    # Thousandths of a second are all that SQLite can add up.
    late = (first["due_at"] - first["wanted_at"] - SPACING) / timedelta(milliseconds=1)
    assert (-1 < late <= 0) == waits
    assert (first["due_at"] == first["wanted_at"]) != waits
    assert second["due_at"] < second["wanted_at"]
    assert (first["version"], first["stage"], first["events"]) == (2, "first", 2)


async def test_what_waits_for_more_events_is_read_when_none_are_left(database: Database) -> None:
    await wish(database, "wmA", "wmB", "wmRead", "wmPutOff", delay=SETTLING)
    await wish(database, "wrChat", kind=CHAT)
    async with database.write() as conn:
        now = await database.clock(conn)
        for name, values in {"wmRead": {"read_at": now}, "wmPutOff": {"reason": "no answer"}}.items():
            await conn.execute(update(pending_read).where(pending_read.c.object_id == name).values(values))
    assert await claimed(database) == []
    assert sorted(await claimed(database, settled=True)) == ["wmA", "wmB"]
    assert await claimed(database, settled=True) == []


async def test_what_comes_next_is_written_for_each(database: Database) -> None:
    await wish(database, "wmA", "wmB", "wmC", "wmWished")
    await wish(database, "wrChat", kind="tag")
    async with database.write() as conn:
        now = await database.clock(conn)
        claims = {one.object_id: one for one in await claim(conn, database.dialect, "ww1", "me", 100, now)}
    await wish(database, "wmWished")
    async with database.write() as conn:
        plans = {
            claims["wmA"]: Next("confirm", now + SECOND, 0, "lagged", now + 2 * SECOND, None, 3),
            claims["wmB"]: Next("unseen", now + 3 * SECOND, 2, "not listed"),
            claims["wmC"]: None,
            claims["wmWished"]: None,
            claims["wrChat"]: None,
        }
        await settle(conn, "ww1", plans, "me")
    names = ("object_id", "stage", "due_at", "attempts", "reason", "recheck_at", "events", "leased_by")
    found = {row["object_id"]: tuple(row.values())[1:] for row in await rows(database, pending_read, *names)}
    due_at = found["wmWished"][1]
    assert found == {
        "wmA": ("confirm", now + SECOND, 0, "lagged", now + 2 * SECOND, 3, None),
        "wmB": ("unseen", now + 3 * SECOND, 2, "not listed", None, 0, None),
        "wmWished": ("first", due_at, 0, None, None, 2, None),
    }


@pytest.mark.parametrize("database_kind", ["postgresql", "mariadb"])  # SQLite has one writer at a time
async def test_what_is_wished_for_behind_it_is_locked_along(database: Database) -> None:
    """All at once and in key order: wishes that were locked one after the other would meet those of apply."""
    await wish(database, "lisi", "wangwu", kind="departure")
    await wish(database, "lisi", kind="member")
    async with database.write() as conn:
        now = await database.clock(conn)
        (mine,) = [one for one in await claim(conn, database.dialect, "ww1", "me", 100, now) if one.kind == "member"]
    async with database.write() as conn:
        await settle(conn, "ww1", {mine: None}, "me", [("departure", "lisi")])
        async with database.write() as other:
            free = await other.execute(select(pending_read.c.object_id).with_for_update(skip_locked=True))
            assert list(free.scalars()) == ["wangwu"]
