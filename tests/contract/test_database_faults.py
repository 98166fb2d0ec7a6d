"""What goes wrong with a real server passes: it is told from what would fail again, and nothing is half done."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import engine
from core.db.engine import Database, is_transient
from tests.support.databases import administration
from tests.support.servers.mariadb import MariadbServer
from tests.support.servers.postgres import PostgresServer
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.asyncio


@dataclass(frozen=True)
class Words:
    """How a server says it; ``{id}`` is a connection."""

    connection_id: str
    kill: str
    cancel: str
    sleep: str
    sleeps: str
    quick_lock_timeout: str
    limits: str


WORDS = {
    "postgresql": Words(
        connection_id="SELECT pg_backend_pid()",
        kill="SELECT pg_terminate_backend({id}, 10000)",
        cancel="SELECT pg_cancel_backend({id})",
        sleep="SELECT pg_sleep(30)",
        sleeps="SELECT count(*) FROM pg_stat_activity WHERE pid = {id} AND wait_event = 'PgSleep'",
        quick_lock_timeout="SET LOCAL lock_timeout = '100ms'",
        limits="SELECT current_setting('lock_timeout'), current_setting('statement_timeout')",
    ),
    "mysql": Words(
        connection_id="SELECT connection_id()",
        kill="KILL {id}",
        cancel="KILL QUERY {id}",
        sleep="SELECT SLEEP(30) FROM pair WHERE id = 1",
        sleeps="SELECT count(*) FROM information_schema.processlist WHERE id = {id} AND state = 'User sleep'",
        quick_lock_timeout="SET innodb_lock_wait_timeout = 0",
        limits="SELECT concat(@@innodb_lock_wait_timeout, 's'), concat(round(@@max_statement_time), 's')",
    ),
}

on_servers = pytest.mark.parametrize("database_kind", ["postgresql", "mariadb"])


async def make_pair(db: Database) -> None:
    async with db.write() as conn:
        await conn.execute(text("CREATE TABLE pair (id INTEGER PRIMARY KEY, times INTEGER NOT NULL)"))
        await conn.execute(text("INSERT INTO pair VALUES (1, 0), (2, 0)"))


async def count(conn: AsyncConnection, row: int) -> None:
    await conn.execute(text("UPDATE pair SET times = times + 1 WHERE id = :row"), {"row": row})


async def counts(db: Database) -> list[int]:
    async with db.read() as conn:
        return list((await conn.execute(text("SELECT times FROM pair ORDER BY id"))).scalars())


async def own_id(conn: AsyncConnection, words: Words) -> int:
    return int((await conn.execute(text(words.connection_id))).scalar_one())


async def say(url: str, statement: str) -> None:
    async with administration(url) as conn:
        await conn.execute(text(statement))


async def say_while_it_sleeps(url: str, words: Words, connection: int, statement: str) -> None:
    async with asyncio.timeout(DEADLINE), administration(url) as conn:
        while not (await conn.execute(text(words.sleeps.format(id=connection)))).scalar():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await conn.execute(text(statement.format(id=connection)))


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await make_pair(database)
    yield database
    await database.close()


@on_servers
@pytest.mark.parametrize("statement_follows", [True, False], ids=["then a statement", "then the commit"])
async def test_a_killed_connection(db: Database, database_url: str, statement_follows: bool) -> None:
    words = WORDS[db.dialect]

    async def lose_it() -> None:
        async with db.write() as conn:
            await count(conn, 1)
            await say(database_url, words.kill.format(id=await own_id(conn, words)))
            if statement_follows:
                await count(conn, 2)

    with pytest.raises(Exception) as caught:  # noqa: PT011
        await lose_it()
    assert is_transient(caught.value)
    assert await counts(db) == [0, 0]


@on_servers
@pytest.mark.parametrize("what", ["kill", "cancel"])
async def test_a_statement_that_is_ended_from_outside(db: Database, database_url: str, what: str) -> None:
    words = WORDS[db.dialect]

    async def sleep() -> None:
        async with db.write() as conn:
            await count(conn, 1)
            ending = say_while_it_sleeps(database_url, words, await own_id(conn, words), getattr(words, what))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ending)
                await conn.execute(text(words.sleep))

    with pytest.raises(ExceptionGroup) as caught:
        await sleep()
    assert [is_transient(error) for error in caught.value.exceptions] == [True]
    assert await counts(db) == [0, 0]


@on_servers
async def test_a_connection_killed_in_the_pool_is_not_noticed(db: Database, database_url: str) -> None:
    words = WORDS[db.dialect]
    async with db.read() as conn:
        idle = await own_id(conn, words)
    await say(database_url, words.kill.format(id=idle))
    async with db.read() as conn:
        assert await own_id(conn, words) != idle


@on_servers
async def test_of_a_deadlock_one_survives_and_the_other_may_try_again(db: Database) -> None:
    both_have_one = asyncio.Barrier(2)

    async def cross(first: int, second: int) -> None:
        async with db.write() as conn:
            await count(conn, first)
            await both_have_one.wait()
            await count(conn, second)

    outcomes = await asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True)
    (error,) = [outcome for outcome in outcomes if outcome is not None]
    assert is_transient(error)
    assert await counts(db) == [1, 1]


@on_servers
async def test_a_lock_is_not_waited_for_for_ever(db: Database) -> None:
    async def wait() -> None:
        async with db.write() as conn:
            await conn.execute(text(WORDS[db.dialect].quick_lock_timeout))
            await count(conn, 1)

    async with db.write() as other:
        await count(other, 1)
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await wait()
    assert is_transient(caught.value)


STANDSTILLS = {"idle": "idle in transaction", "in the middle of a statement": "active"}


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize("stands", STANDSTILLS)
async def test_who_stands_still_does_not_hold_up_others_for_ever(
    stands: str, database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the server a frozen process is a client that says nothing more."""
    monkeypatch.setattr(engine, "LOCK_SECONDS", 1)
    monkeypatch.setattr(engine, "IDLE_TRANSACTION_SECONDS", 1)
    quick, frozen = Database(database_url), Database(database_url)
    conn = await frozen.engine.connect()
    await count(conn, 1)
    if stands != "idle":
        # The first of the two messages that execute a statement.
        await (await conn.get_raw_connection()).driver_connection.prepare("SELECT 1")
    assert STANDSTILLS[stands] in await states(database_url)
    # Neither who works for long nor who only reads, however slowly, holds up anybody.
    working, reading = Database(database_url), Database(database_url)
    slow = await reading.engine.connect()
    await (await slow.get_raw_connection()).driver_connection.execute("BEGIN")
    await (await slow.get_raw_connection()).driver_connection.prepare("SELECT 2")
    works = asyncio.create_task(sleep_in(working))

    waits = 0
    while (await counts(db))[0] == 0:
        assert waits < 5
        try:
            async with quick.write() as other:
                await count(other, 1)
        except DBAPIError as error:
            if not is_transient(error):
                raise
            waits += 1
    assert (await counts(db))[0] == 1
    with pytest.raises(DBAPIError):
        await count(conn, 1)
    await works
    if stands != "idle":
        # The limit of idle ones does not spare it; that one is the server's.
        assert (await (await slow.get_raw_connection()).driver_connection.fetch("SELECT 2"))[0][0] == 2
    for one in (conn, slow):
        await one.invalidate()
        await one.close()
    await working.close()
    await reading.close()
    await quick.close()
    await frozen.close()


async def sleep_in(database: Database) -> None:
    """A transaction that has written, in a statement of three seconds."""
    async with database.write() as conn:
        await count(conn, 2)
        await conn.execute(text("SELECT pg_sleep(3)"))


async def states(url: str) -> list[str]:
    """What the sessions in transactions do, as the server sees it."""
    async with administration(url) as conn:
        found = "SELECT state FROM pg_stat_activity WHERE datname = :name AND backend_xid IS NOT NULL"
        return list((await conn.execute(text(found), {"name": url.rpartition("/")[2]})).scalars())


@on_servers
async def test_the_limits_of_every_connection(db: Database) -> None:
    async with db.read() as conn:
        assert tuple((await conn.execute(text(WORDS[db.dialect].limits))).one()) == ("10s", "30s")


@on_servers
async def test_a_statement_does_not_run_for_ever(database_url: str, db: Database) -> None:
    hasty = Database(database_url, statement_seconds=0.2)
    async with hasty.read() as conn:
        with pytest.raises(Exception, match=r"statement timeout|max_statement_time") as caught:
            await conn.execute(text(WORDS[db.dialect].sleep))
    await hasty.close()
    assert is_transient(caught.value)


PRIVATE = pytest.mark.parametrize("fixture", ["private_postgres", "private_mariadb"])


@PRIVATE
async def test_a_server_that_dies_and_comes_back(fixture: str, request: pytest.FixtureRequest) -> None:
    server: PostgresServer | MariadbServer = request.getfixturevalue(fixture)
    db = Database(server.address)
    await make_pair(db)

    async def die_in_the_middle() -> None:
        async with db.write() as conn:
            await count(conn, 1)
            await asyncio.to_thread(server.kill)
            await count(conn, 2)

    for confirmed in range(3):
        assert await counts(db) == [confirmed, confirmed]
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await die_in_the_middle()
        assert is_transient(caught.value)
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await counts(db)
        assert is_transient(caught.value)
        await asyncio.to_thread(server.start)
        async with db.write() as conn:
            await count(conn, 1)
            await count(conn, 2)
    await db.close()


@PRIVATE
async def test_a_server_that_hangs(fixture: str, request: pytest.FixtureRequest) -> None:
    server: PostgresServer | MariadbServer = request.getfixturevalue(fixture)
    db = Database(server.address, statement_seconds=0.2)
    await make_pair(db)

    async def hang() -> None:
        async with db.write() as conn:
            await count(conn, 1)
            # PostgreSQL has a process per connection beside that of the server.
            frozen = {server.pid, await own_id(conn, WORDS["postgresql"]) if db.dialect == "postgresql" else server.pid}
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            try:
                await count(conn, 2)
            finally:
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)

    async with asyncio.timeout(DEADLINE):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await hang()
    assert is_transient(caught.value)
    assert await counts(db) == [0, 0]
    await db.close()
