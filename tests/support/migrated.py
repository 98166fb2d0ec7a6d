"""Databases with this release's tables and views and nothing in them, without a migration for every test.

A migration takes half a second, and what it makes is the same each time. So the run migrates one file, which is copied,
and one database on each server, which is emptied after a test and lent to the next one. A test of migrations, or one
that changes tables, takes an empty database instead (``database_url``).
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import MetaData, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.engine import Database
from core.db.tables import metadata
from tests.support.databases import administration, create_database, drop_database
from tests.support.waiting import until_async
from wecom_crm.migrate import migrate

_file: bytes | None = None

_OTHERS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND id <> connection_id()",
}
_SHAPE = {
    "postgresql": "SELECT relname, relkind, relnatts, relhastriggers FROM pg_class "
    r"WHERE relnamespace = 'public'\:\:regnamespace ORDER BY relname",
    "mysql": "SELECT table_name, column_name, column_type, is_nullable FROM information_schema.columns "
    "WHERE table_schema = database() ORDER BY table_name, ordinal_position",
}


async def migrate_file(path: Path) -> str:
    """Make a migrated SQLite database of this file and return its address."""
    global _file
    if _file is None:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "migrated.sqlite"
            database = Database(_address(made))
            await migrate(database)
            await database.close()
            _file = made.read_bytes()
    path.write_bytes(_file)
    return _address(path)


@asynccontextmanager
async def migrated_in(folder: Path) -> AsyncIterator[str]:
    """The address of a new, migrated SQLite database in this folder."""
    yield await migrate_file(folder / f"{secrets.token_hex(4)}.db")


def _address(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


class MigratedDatabases:
    """Migrated databases on one server, each lent to one test at a time."""

    def __init__(self, server: str) -> None:
        """``server`` is the address of a user who may create databases."""
        self._server = server
        self._made: list[str] = []
        self._free: list[tuple[str, list[str]]] = []

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[str]:
        """The address of one in which nothing is.

        At the end everybody has to have left it and its tables have to be what they were, else this raises and the
        database is not lent again.
        """
        url, shape = self._free.pop() if self._free else await self._make()
        yield url
        async with administration(url) as conn:
            await until_async(lambda: _is_left(conn))
            await _empty(conn, metadata)
            if await _shape(conn) != shape:
                raise AssertionError("the test changed tables or views: let it take an empty database (database_url)")
        self._free.append((url, shape))

    async def close(self) -> None:
        """Drop them all."""
        while self._made:
            await drop_database(self._server, self._made.pop())

    async def _make(self) -> tuple[str, list[str]]:
        url = await create_database(self._server)
        self._made.append(url)
        database = Database(url)
        try:
            await migrate(database)
        finally:
            await database.close()
        async with administration(url) as conn:
            return url, await _shape(conn)


async def _is_left(conn: AsyncConnection) -> bool:
    """Whether nobody else is connected: a transaction that goes on could still write, or keep rows from being deleted.

    A server notices a little later that a client has gone.
    """
    return (await conn.execute(text(_OTHERS[conn.dialect.name]))).scalar() == 0


async def _shape(conn: AsyncConnection) -> list[str]:
    return [repr(tuple(row)) for row in await conn.execute(text(_SHAPE[conn.dialect.name]))]


async def _empty(conn: AsyncConnection, tables: MetaData) -> None:
    """Delete every row but the revision, and let numbers begin at one again."""
    children_first = tables.sorted_tables[::-1]
    asked = " UNION ALL ".join(f"(SELECT '{table.name}' AS name FROM {table.name} LIMIT 1)" for table in children_first)
    filled = set((await conn.execute(text(asked))).scalars())
    for table in children_first:
        if table.autoincrement_column is not None:
            await conn.execute(text(_truncate(table, conn.dialect.name)))
        elif table.name in filled:
            await conn.execute(table.delete())


def _truncate(table: Table, dialect: str) -> str:
    return f"TRUNCATE TABLE {table.name}{' RESTART IDENTITY' if dialect == 'postgresql' else ''}"
