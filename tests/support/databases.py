"""An empty database of each kind: a file for SQLite; on a server one of its own that is dropped at the end."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

KINDS = ("sqlite", "postgresql", "mariadb")

MakeDatabase = Callable[[], AbstractAsyncContextManager[str]]
"""Each call makes one more empty database and gives its address."""


@asynccontextmanager
async def database_in(folder: Path) -> AsyncIterator[str]:
    """The address of a new SQLite database in this folder."""
    yield f"sqlite+aiosqlite:///{folder / f'{secrets.token_hex(4)}.db'}"


@asynccontextmanager
async def database_on(server: str) -> AsyncIterator[str]:
    """The address of a new, empty database on this server, for whose user ``server`` is the address."""
    url = await create_database(server)
    try:
        yield url
    finally:
        await drop_database(server, url)


async def create_database(server: str) -> str:
    """Make an empty database and return its address."""
    name = f"wecom_crm_{secrets.token_hex(6)}"
    async with administration(server) as conn:
        await conn.execute(text(f"CREATE DATABASE {name}"))
    return make_url(server).set(database=name).render_as_string(hide_password=False)


async def drop_database(server: str, url: str) -> None:
    """Remove it with everything in it, whoever is connected."""
    name = make_url(url).database
    async with administration(server) as conn:
        if conn.dialect.name == "postgresql":
            await conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        else:
            # A transaction that a test left open would hold this up for a day.
            await conn.execute(text("SET lock_wait_timeout = 10"))
            await conn.execute(text(f"DROP DATABASE {name}"))


async def server_version(server: str) -> str:
    """What the server calls itself."""
    async with administration(server) as conn:
        is_postgres = conn.dialect.name == "postgresql"
        return str((await conn.execute(text("SHOW server_version" if is_postgres else "SELECT version()"))).scalar())


@asynccontextmanager
async def administration(server: str) -> AsyncIterator[AsyncConnection]:
    """A connection outside any transaction, for what no product code does: CREATE DATABASE, KILL."""
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as conn:
            yield conn
    finally:
        await engine.dispose()
