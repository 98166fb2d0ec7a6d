"""Connections to PostgreSQL that ended while nobody used them: found out at no cost, and never an error to anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.db import bulk, engine, looks, wishes
from core.db.engine import Database, is_transient
from core.db.looks import Ask
from tests.support.databases import administration, database_on
from tests.support.round_trips import RoundTrips
from tests.support.servers.postgres import PostgresServer
from tests.support.sidebar import Bench, Tab, sidebar_bench
from tests.support.waiting import DEADLINE, until_async

pytestmark = pytest.mark.asyncio

KILL = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = :name AND state = 'idle'"
MANY = 12


@pytest.fixture
def unspaced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A customer may be read again at once; that it usually takes two seconds is another test's subject."""
    monkeypatch.setattr(wishes, "SPACING", timedelta())
    # Statements are kept, with the time in them.
    bulk._fold.cache_clear()
    yield
    bulk._fold.cache_clear()


@pytest_asyncio.fixture
async def trips(postgres_url: str) -> RoundTrips:
    return RoundTrips(postgres_url)


@pytest_asyncio.fixture
async def db(trips: RoundTrips) -> AsyncIterator[Database]:
    async with trips.run() as url:
        database = Database(url)
        yield database
        await database.close()


async def pid_by_transaction(db: Database) -> int:
    async with db.read() as conn:
        return int((await conn.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def pid_by_look(db: Database) -> int:
    return int((await db.look(lambda ask: ask("SELECT pg_backend_pid() AS pid", ())))[0]["pid"])


async def kill_idle(url: str) -> int:
    """Every idle connection to this database; returns how many there were."""
    async with administration(url) as conn:
        found = await conn.execute(text(KILL), {"name": url.rpartition("/")[2]})
        return len(found.all())


# A transaction is BEGIN, the statement, COMMIT.
@pytest.mark.parametrize(("way", "cost"), [(pid_by_transaction, 3), (pid_by_look, 1)])
async def test_what_a_statement_costs(db: Database, trips: RoundTrips, way: Any, cost: int) -> None:
    first = await way(db)
    before = trips.count
    assert await way(db) == first
    assert trips.count - before == cost


@pytest.mark.parametrize("way", [pid_by_transaction, pid_by_look])
async def test_a_closed_connection_is_not_given_out(db: Database, postgres_url: str, way: Any) -> None:
    before = await way(db)
    assert await kill_idle(postgres_url) == 1
    assert await way(db) != before


async def test_one_that_was_idle_is_asked_whether_it_lives(
    db: Database, trips: RoundTrips, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await pid_by_transaction(db)
    trips.forget()
    # Used a moment ago, it is trusted.
    with pytest.raises(DBAPIError) as caught:
        await pid_by_transaction(db)
    assert is_transient(caught.value)
    before = await pid_by_transaction(db)
    trips.forget()
    monkeypatch.setattr(engine, "IDLE_SECONDS", 0)
    after = await pid_by_transaction(db)
    assert after != before
    assert await pid_by_transaction(db) == after


async def test_a_look_whose_connections_were_forgotten(db: Database, trips: RoundTrips) -> None:
    await asyncio.gather(*(db.look(lambda ask: ask("SELECT pg_sleep(0.05)", ())) for _ in range(4)))
    trips.forget()
    before = trips.count
    await pid_by_look(db)
    # One was tried; the others are not tried one after another.
    assert trips.count - before <= 2


async def test_looks_do_not_keep_what_was_idle(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await pid_by_look(db)
    assert await pid_by_look(db) == first
    monkeypatch.setattr(looks, "IDLE_SECONDS", -1)
    assert await pid_by_look(db) != first


async def test_a_cancelled_look_spoils_no_other(db: Database, postgres_url: str) -> None:
    first = await pid_by_look(db)
    asking = asyncio.create_task(db.look(lambda ask: ask("SELECT pg_sleep(30)", ())))

    async def sleeps() -> bool:
        async with administration(postgres_url) as conn:
            found = await conn.execute(
                text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid AND wait_event = 'PgSleep'"),
                {"pid": first},
            )
            return bool(found.scalar())

    await until_async(sleeps)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await pid_by_look(db) != first


async def test_looks_wait_for_one_another(postgres_url: str) -> None:
    db = Database(postgres_url, pool_size=2)
    inside, most = 0, 0

    async def work(ask: Ask) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        (row,) = await ask("SELECT pg_backend_pid() AS pid, pg_sleep(0.05)", ())
        inside -= 1
        return int(row["pid"])

    pids = await asyncio.gather(*(db.look(work) for _ in range(MANY)))
    await db.close()
    assert (most, len(set(pids))) == (2, 2)


async def test_errors_of_looks_say_what_helps(db: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        await db.look(lambda ask: ask("SELECT $1::integer + 1 FROM nowhere", (4711,)))
    assert not is_transient(caught.value)
    assert "4711" not in str(caught.value)
    with pytest.raises(DBAPIError) as caught:
        await db.look(lambda ask: ask("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(30)", ()))
    assert is_transient(caught.value)


async def test_a_look_does_not_wait_for_ever(postgres_url: str) -> None:
    hasty = Database(postgres_url, statement_seconds=0.2)
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(DBAPIError, match="statement timeout") as caught:
            await hasty.look(lambda ask: ask("SELECT pg_sleep(30)", ()))
    assert is_transient(caught.value)
    await hasty.close()


async def opened(bench: Bench) -> Tab:
    """A page, and as many connections as its requests at once need."""
    await bench.acquaint()
    tab = bench.browser().tab()
    assert (await tab.open()).status == 200
    assert {seen.status for seen in await asyncio.gather(*(tab.customer() for _ in range(MANY)))} == {200}
    return tab


async def works(bench: Bench, tab: Tab) -> None:
    """Page, signature, login, and a read by sync."""
    seen = await asyncio.gather(*(tab.customer() for _ in range(MANY)), tab.sign(), tab.browser.get(tab.base))
    assert [one.status for one in seen] == [200] * (MANY + 2)
    assert (await tab.login()).status == 200
    remark = f"remark {len(bench.seen)}"
    bench.world.edit("ww1", "wmA", "ZhangSan", remark=remark)
    refreshed = await tab.refresh()
    assert (refreshed.status, refreshed.json()["refreshed"]) == (200, True)
    assert (await tab.customer()).json()["relation"]["remark"] == remark


async def test_a_page_costs_one_query_and_one_round_trip(tmp_path: Path, postgres_url: str) -> None:
    trips = RoundTrips(postgres_url)
    async with trips.run() as url, sidebar_bench(tmp_path, url=url, sync=False) as bench:
        tab = await opened(bench)
        for ask in (tab.customer, tab.sign, lambda: tab.browser.get(tab.base)):
            await ask()
            queries, before = trips.commands, trips.count
            assert (await ask()).status == 200
            assert (trips.commands - queries, trips.count - before) == (1, 1)


@pytest.mark.usefixtures("unspaced")
async def test_nobody_notices_that_every_idle_connection_was_killed(tmp_path: Path, postgres_url: str) -> None:
    async with sidebar_bench(tmp_path, url=postgres_url) as bench:
        tab = await opened(bench)
        for _ in range(5):
            assert await kill_idle(postgres_url) > 1
            await works(bench, tab)


@pytest.mark.usefixtures("unspaced")
async def test_nobody_notices_that_the_server_was_restarted(tmp_path: Path, private_postgres: PostgresServer) -> None:
    async with database_on(private_postgres.address) as url, sidebar_bench(tmp_path, url=url) as bench:
        tab = await opened(bench)
        # In this thread: neither page nor sync asks for anything until it is back.
        private_postgres.stop()
        private_postgres.start()
        await works(bench, tab)
