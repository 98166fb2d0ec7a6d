"""Alembic's entry: runs the revisions on the connection it is given.

``wecom-crm migrate`` passes its connection and transaction in. A developer's ``alembic`` command has none and names
the database in WECOM_CRM_DATABASE__URL.
"""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text

from core.db.engine import Database
from core.db.tables import metadata

# Any number, as long as nobody else uses it: "wecomcrm" in ASCII.
_LOCK = 0x7765636F6D63726D
_LOCK_NAME = "wecom-crm migrate"
_LOCK_SECONDS = 60


def run(connection: Connection) -> None:
    """Run what was asked for; two of these at once wait for one another."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_server_default=True,
    )
    with context.begin_transaction():
        _lock(connection)
        try:
            context.run_migrations()
        finally:
            _unlock(connection)


def _lock(connection: Connection) -> None:
    # SQLite needs none: the transaction began as the one writer.
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
        connection.execute(text(f"SET LOCAL statement_timeout = '{_LOCK_SECONDS}s'"))
        # The transaction's lock, so it can't outlive a process that dies.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        # The previous release is still running: rather fail than make it wait behind a table lock.
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    elif connection.dialect.name in {"mysql", "mariadb"}:
        held = connection.execute(text("SELECT GET_LOCK(:name, :s)"), {"name": _LOCK_NAME, "s": _LOCK_SECONDS})
        if held.scalar() != 1:
            raise TimeoutError("another wecom-crm migrate has been running for a minute")
        connection.execute(text("SET lock_wait_timeout = 5"))


def _unlock(connection: Connection) -> None:
    if connection.dialect.name in {"mysql", "mariadb"}:
        # The session goes back to a pool, so what it was told has to be taken back.
        connection.execute(text("SET lock_wait_timeout = DEFAULT"))
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": _LOCK_NAME})


async def _by_address(url: str) -> None:
    db = Database(url, statement_seconds=0)
    try:
        async with db.write() as conn:
            await conn.run_sync(run)
    finally:
        await db.close()


passed_in = context.config.attributes.get("connection")
if passed_in is not None:
    run(passed_in)
elif context.is_offline_mode():
    raise SystemExit("SQL scripts are not supported: revisions look at the database they change")
elif "WECOM_CRM_DATABASE__URL" not in os.environ:
    raise SystemExit("name the database in WECOM_CRM_DATABASE__URL")
else:
    asyncio.run(_by_address(os.environ["WECOM_CRM_DATABASE__URL"]))
