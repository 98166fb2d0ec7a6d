"""The database on a file: writers queue up, the clock runs, and errors say whether trying again helps."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncpg import exceptions as asyncpg_errors
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.db.engine import Database, is_transient
from core.db.tables import corp, customer, metadata
from tests.support.crm import rows

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    async with opened.write() as conn:
        await conn.run_sync(metadata.create_all)
        await conn.execute(text("CREATE TABLE counter (n INTEGER)"))
        await conn.execute(text("INSERT INTO counter VALUES (0)"))
    yield opened
    await opened.close()


async def read_then_write(database: Database) -> None:
    """What fails at once on SQLite if the transaction began as a reader."""
    async with database.write() as conn:
        found = (await conn.execute(text("SELECT n FROM counter"))).scalar_one()
        await asyncio.sleep(0)
        await conn.execute(text("UPDATE counter SET n = :n"), {"n": found + 1})


async def test_writers_of_one_process_take_turns_and_lose_nothing(database: Database) -> None:
    await asyncio.gather(*(read_then_write(database) for _ in range(40)))
    async with database.read() as conn:
        assert (await conn.execute(text("SELECT n FROM counter"))).scalar_one() == 40


async def test_writers_of_two_processes_wait_for_one_another(database: Database, tmp_path: Path) -> None:
    other = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    await asyncio.gather(*(read_then_write(each) for each in (database, other) * 15))
    await other.close()
    async with database.read() as conn:
        assert (await conn.execute(text("SELECT n FROM counter"))).scalar_one() == 30


async def test_what_raises_is_rolled_back_and_the_next_writer_gets_in(database: Database) -> None:
    async def fails() -> None:
        async with database.write() as conn:
            await conn.execute(text("UPDATE counter SET n = 99"))
            raise LookupError

    with pytest.raises(LookupError):
        await fails()
    await read_then_write(database)
    async with database.read() as conn:
        assert (await conn.execute(text("SELECT n FROM counter"))).scalar_one() == 1


async def test_a_writer_that_is_cancelled_leaves_nothing_locked(database: Database) -> None:
    inside = asyncio.Event()

    async def hangs() -> None:
        async with database.write() as conn:
            await conn.execute(text("UPDATE counter SET n = 99"))
            inside.set()
            await asyncio.Event().wait()

    for _ in range(20):
        inside.clear()
        task = asyncio.create_task(hangs())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.wait_for(read_then_write(database), 5)
    async with database.read() as conn:
        assert (await conn.execute(text("SELECT n FROM counter"))).scalar_one() == 1


async def test_a_reader_does_not_wait_for_a_writer_and_sees_one_state(database: Database) -> None:
    async with database.write() as writer:
        await writer.execute(text("UPDATE counter SET n = 7"))
        async with database.read() as reader:
            assert (await reader.execute(text("SELECT n FROM counter"))).scalar_one() == 0


async def test_the_clock_is_utc_with_parts_of_a_second_and_runs_inside_a_transaction(database: Database) -> None:
    seen: set[datetime] = set()
    async with database.read() as conn, asyncio.timeout(5):
        while not any(moment.microsecond for moment in seen) or len(seen) < 2:
            seen.add(await database.clock(conn))
    assert {moment.tzinfo for moment in seen} == {UTC}
    assert all(abs(datetime.now(UTC) - moment) < timedelta(seconds=10) for moment in seen)


async def test_instants_and_ids_come_back_as_they_went_in(database: Database) -> None:
    moment = datetime(2026, 3, 2, 10, 0, 0, 123456, tzinfo=UTC)
    ids = ["wmA", "wma", "wmA ", " wmA"]
    async with database.write() as conn:
        await conn.execute(
            customer.insert(), [{"corpid": "ww1", "userid": userid, "first_seen_at": moment} for userid in ids]
        )
    found = await rows(database, customer, "userid", "first_seen_at")
    assert [row["userid"] for row in found] == sorted(ids)
    assert {row["first_seen_at"] for row in found} == {moment}


async def test_an_error_shows_no_row(database: Database) -> None:
    async with database.write() as conn:
        await conn.execute(corp.insert(), [{"corpid": "ww1", "name": "Plum Garden Tea"}])
        with pytest.raises(IntegrityError) as caught:
            await conn.execute(corp.insert(), [{"corpid": "ww1", "name": "Plum Garden Tea"}])
    assert "Plum" not in str(caught.value)


def wrapped(kind: type[DBAPIError], driver: BaseException, **more: Any) -> DBAPIError:
    return kind("SELECT 1", {}, driver, **more)


def with_sqlstate(code: str) -> BaseException:
    driver = RuntimeError("words")
    driver.sqlstate = code  # type: ignore[attr-defined]
    return driver


def of_sqlite(code: int, words: str = "words") -> BaseException:
    driver = sqlite3.OperationalError(words)
    driver.sqlite_errorcode = code
    return driver


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        PoolTimeout(),
        wrapped(DBAPIError, RuntimeError("x"), connection_invalidated=True),
        wrapped(InterfaceError, RuntimeError("connection is closed")),
        *(
            wrapped(OperationalError, of_sqlite(code))
            for code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_IOERR_FSYNC)
        ),
        wrapped(OperationalError, of_sqlite(sqlite3.SQLITE_FULL)),
        wrapped(OperationalError, RuntimeError(1213, "Deadlock found")),
        wrapped(OperationalError, RuntimeError(1021, "Disk full")),
        wrapped(OperationalError, RuntimeError(2013, "Lost connection")),
        *(wrapped(DBAPIError, with_sqlstate(code)) for code in ("08006", "40001", "40P01", "53100", "53300", "57P01")),
        wrapped(DBAPIError, type("InvalidCachedStatementError", (Exception,), {"sqlstate": "0A000"})("x")),
    ],
    ids=str,
)
async def test_these_pass_by_themselves(error: BaseException) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        LookupError("a bug"),
        wrapped(IntegrityError, sqlite3.IntegrityError("UNIQUE constraint failed")),
        wrapped(OperationalError, of_sqlite(sqlite3.SQLITE_ERROR, "no such table: locked")),
        wrapped(DBAPIError, of_sqlite(sqlite3.SQLITE_CORRUPT)),
        wrapped(OperationalError, RuntimeError(1406, "Data too long")),
        wrapped(DBAPIError, with_sqlstate("22021")),
        wrapped(DBAPIError, with_sqlstate("23505")),
        wrapped(DBAPIError, asyncpg_errors.DataError("invalid input for query argument $1")),
        wrapped(DBAPIError, asyncpg_errors.CharacterNotInRepertoireError("NUL")),
    ],
    ids=str,
)
async def test_these_fail_every_time(error: BaseException) -> None:
    assert not is_transient(error)


async def test_a_locked_database_is_told_apart_for_real(database: Database, tmp_path: Path) -> None:
    """The error as the driver makes it, not as we imagine it."""
    other = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    event.listen(other.engine.sync_engine, "connect", lambda plain, _: plain.execute("PRAGMA busy_timeout = 0"))
    async with database.write() as conn:
        await conn.execute(text("UPDATE counter SET n = 1"))
        with pytest.raises(OperationalError) as caught:
            await read_then_write(other)
    await other.close()
    assert is_transient(caught.value)
    with pytest.raises(OperationalError) as caught:
        async with database.read() as conn:
            await conn.execute(text("SELECT 1 FROM locked"))
    assert not is_transient(caught.value)


async def test_a_cancelled_task_leaves_no_transaction_behind(database: Database) -> None:
    """Wherever it was cancelled, and though its error, which refers to the statement, is kept."""
    kept: list[object] = []
    for steps in range(120):
        tasks = [asyncio.create_task(read_then_write(database)) for _ in range(2)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for _ in range(2):
            # Twice, as by a group that fails inside one that fails: the second one interrupts the cleaning up.
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
        kept += await asyncio.gather(*tasks, return_exceptions=True)
        # SQLite would say after ten seconds that it is locked.
        await read_then_write(database)
    assert any(isinstance(error, asyncio.CancelledError) for error in kept)
