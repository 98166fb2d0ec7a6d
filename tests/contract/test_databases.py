"""What the three databases must do alike, though each has its own words for it: ids, text, moments, upserts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import JSON, Column, Integer, MetaData, String, Table, Text, case, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from core.db.engine import Database, is_transient
from core.db.types import Id, Instant, LongBytes
from core.db.upsert import Columns, insert_ignore, upsert

pytestmark = pytest.mark.asyncio

thing = Table(
    "thing",
    MetaData(),
    Column("corpid", Id(), primary_key=True),
    Column("id", Id(), primary_key=True),
    Column("name", Text),
    Column("short", String(4)),
    Column("seen_at", Instant()),
    Column("profile", JSON(none_as_null=True)),
    Column("content", LongBytes),
    Column("times", Integer, nullable=False, default=1),
    # As the migrations do it.
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

NOON = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    async with database.write() as conn:
        await conn.run_sync(thing.metadata.create_all)
    yield database
    await database.close()


async def add(db: Database, *rows: dict[str, Any]) -> None:
    async with db.write() as conn:
        for row in rows:
            await conn.execute(insert(thing), [{"corpid": "ww1", "id": "a"} | row])


async def found(db: Database, *columns: Column[Any]) -> list[tuple[Any, ...]]:
    async with db.read() as conn:
        return [tuple(row) for row in await conn.execute(select(*columns).order_by(thing.c.corpid, thing.c.id))]


IDS = ("a", "A", "a ", " a", "a  ", "ä", "a\u0308", "ß", "ss", "zhang", "Zhang", "张三", "😀")


async def test_ids_are_equal_only_byte_by_byte(db: Database) -> None:
    await add(db, *({"id": each} for each in IDS))
    async with db.read() as conn:
        for each in IDS:
            assert (await conn.execute(select(thing.c.id).where(thing.c.id == each))).scalars().all() == [each]
        assert (await conn.execute(select(func.count(thing.c.id.distinct())))).scalar() == len(IDS)


async def test_ids_are_in_the_order_of_their_bytes(db: Database) -> None:
    # Locks are taken in key order, ours and the database's; two orders would be a way into a deadlock.
    await add(db, *({"id": each} for each in IDS))
    assert [each for (each,) in await found(db, thing.c.id)] == sorted(IDS, key=str.encode)


async def test_text_of_any_script(db: Database) -> None:
    name = "小明 👩‍👩‍👧‍👦 𠮷野家 e\u0301 '\"\\%_ \u202e\ufeff\n\t"
    await add(db, {"name": name, "profile": {"名": [name, None, 1.5, {"": True}]}})
    assert await found(db, thing.c.name, thing.c.profile) == [(name, {"名": [name, None, 1.5, {"": True}]})]


async def test_bytes_beyond_64_kib(db: Database) -> None:
    content = bytes(range(256)) * 1024
    await add(db, {"content": content})
    assert await found(db, thing.c.content) == [(content,)]


async def test_moments_are_aware_and_exact(db: Database) -> None:
    # The same moment, as somebody in Shanghai would write it.
    there = NOON.astimezone(timezone(timedelta(hours=8)))
    await add(db, {"seen_at": there}, {"id": "b", "seen_at": NOON + timedelta(microseconds=1)}, {"id": "c"})
    (first,), (second,), (third,) = await found(db, thing.c.seen_at)
    assert (first, second, third) == (NOON, NOON + timedelta(microseconds=1), None)
    assert first.tzinfo == UTC
    async with db.read() as conn:
        later = (await conn.execute(select(thing.c.id).where(thing.c.seen_at > there))).scalars().all()
        assert later == ["b"]
        assert (await conn.execute(select(func.max(thing.c.seen_at)))).scalar() == second


async def test_the_clock_goes_on_within_a_transaction(db: Database) -> None:
    before = datetime.now(UTC)
    async with db.write() as conn:
        first = await db.clock(conn)
        # SQLite's clock has milliseconds.
        while (second := await db.clock(conn)) == first:
            pass
    assert first < second
    assert first.tzinfo == second.tzinfo == UTC
    # A server of yours may have a clock of its own.
    assert abs(first - before) < timedelta(minutes=1)


async def test_no_json_is_null(db: Database) -> None:
    await add(db, {"profile": None}, {"id": "b", "profile": []}, {"id": "c", "profile": {}})
    async with db.read() as conn:
        assert (await conn.execute(select(thing.c.id).where(thing.c.profile.is_(None)))).scalars().all() == ["a"]
    assert await found(db, thing.c.profile) == [(None,), ([],), ({},)]


def newer_wins(old: Columns, new: Columns) -> Sequence[tuple[str, Any]]:
    newer = new.seen_at > old.seen_at
    return [
        ("name", case((newer, new.name), else_=old.name)),
        ("times", old.times + new.times),
        # Last: the database may see what it has assigned already.
        ("seen_at", case((newer, new.seen_at), else_=old.seen_at)),
    ]


async def test_an_upsert_obeys_its_guard(db: Database) -> None:
    later, earlier = NOON + timedelta(seconds=1), NOON - timedelta(seconds=1)
    await add(db, *({"id": each, "name": "old", "seen_at": NOON, "times": 1} for each in ("a", "b", "a ")))
    rows = [
        {"corpid": "ww1", "id": "a", "name": "newer", "seen_at": later, "times": 2},
        {"corpid": "ww1", "id": "b", "name": "older", "seen_at": earlier, "times": 2},
        {"corpid": "ww1", "id": "c", "name": "first", "seen_at": earlier, "times": 2},
    ]
    async with db.write() as conn:
        await conn.execute(upsert(db.dialect, thing, newer_wins), rows)
    assert await found(db, thing.c.id, thing.c.name, thing.c.seen_at, thing.c.times) == [
        ("a", "newer", later, 3),
        ("a ", "old", NOON, 1),
        ("b", "old", NOON, 3),
        ("c", "first", earlier, 2),
    ]


@pytest.mark.parametrize("database_kind", ["postgresql", "mariadb"])  # SQLite has no lengths
async def test_insert_ignore_does_not_cut_what_is_too_long(db: Database) -> None:
    row = {"corpid": "ww1", "id": "a", "short": "12345", "times": 1}
    async with db.write() as conn:
        with pytest.raises(DBAPIError, match="too long"):
            await conn.execute(insert_ignore(db.dialect, thing), [row])
    assert await found(db, thing.c.id) == []


async def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    async def fail() -> None:
        async with db.write() as conn:
            await conn.execute(insert(thing), [{"corpid": "ww1", "id": "a"}])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await found(db, thing.c.id) == []


@pytest.mark.parametrize("statement", ["INSERT INTO thing (corpid, id, times) VALUES ('ww1', 'a', 1)", "SELEC 1"])
async def test_what_would_fail_again_is_not_transient(db: Database, statement: str) -> None:
    await add(db, {"id": "a"})
    with pytest.raises(DBAPIError) as caught:
        async with db.write() as conn:
            await conn.execute(text(statement))
    assert not is_transient(caught.value)
