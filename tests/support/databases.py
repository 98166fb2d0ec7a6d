"""An empty database of each kind: SQLite always, the servers where an address is given.

WECOM_CRM_TEST_POSTGRES and WECOM_CRM_TEST_MARIADB are addresses (``postgresql+asyncpg://…``, ``mysql+asyncmy://…``)
of a user who may create databases; each use gets a database of its own that is dropped at the end.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

_SERVERS = {"postgresql": "WECOM_CRM_TEST_POSTGRES", "mariadb": "WECOM_CRM_TEST_MARIADB"}

KINDS = ("sqlite", *(kind for kind, variable in _SERVERS.items() if os.environ.get(variable)))


@asynccontextmanager
async def empty_database(kind: str, folder: Path) -> AsyncIterator[str]:
    """The address of a new, empty database of this kind."""
    if kind == "sqlite":
        yield f"sqlite+aiosqlite:///{folder / f'{secrets.token_hex(4)}.db'}"
        return
    server = make_url(os.environ[_SERVERS[kind]])
    name = f"wecom_crm_{secrets.token_hex(6)}"
    await _run(server.render_as_string(hide_password=False), f"CREATE DATABASE {name}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        await _run(server.render_as_string(hide_password=False), f"DROP DATABASE {name}")


async def _run(url: str, statement: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as conn:
            await conn.execute(text(statement))
    finally:
        await engine.dispose()
