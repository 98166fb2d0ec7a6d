"""A CRM database on a temporary file, deliveries to feed it, and its rows as plain dictionaries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert, select

from core.db.engine import Database
from core.db.tables import corp, metadata
from core.schema import CURRENT


@asynccontextmanager
async def crm_database(folder: Path, corpids: Sequence[str] = ("ww1",)) -> AsyncIterator[Database]:
    """A database with every table of this release and these corps."""
    database = Database(f"sqlite+aiosqlite:///{folder / 'crm.sqlite'}")
    async with database.write() as conn:
        await conn.run_sync(metadata.create_all)
        await conn.exec_driver_sql("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32))")
        await conn.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{CURRENT}')")
        await conn.execute(insert(corp), [{"corpid": corpid, "name": corpid} for corpid in corpids])
    try:
        yield database
    finally:
        await database.close()


async def rows(database: Database, table: Table, *columns: str) -> list[dict[str, Any]]:
    """Every row in key order, with these columns (all without any)."""
    wanted = [table.c[name] for name in columns] or [table]
    async with database.read() as conn:
        found = await conn.execute(select(*wanted).order_by(*table.primary_key))
        return [dict(row) for row in found.mappings()]


def contact_change(
    change: str, moment: datetime, customer: str = "wmA", member: str = "ZhangSan", **more: str
) -> bytes:
    """The inner document of a change_external_contact delivery (document 92130)."""
    leaves = {
        "ToUserName": "ww1",
        "FromUserName": "sys",
        "CreateTime": str(int(moment.timestamp())),
        "MsgType": "event",
        "Event": "change_external_contact",
        "ChangeType": change,
        "UserID": member,
        "ExternalUserID": customer,
    } | more
    inside = "".join(f"<{name}><![CDATA[{text}]]></{name}>" for name, text in leaves.items())
    return f"<xml>{inside}</xml>".encode()


def day(hour: int, minute: int = 0, second: int = 0) -> datetime:
    """A moment of one fixed past day."""
    return datetime(2026, 3, 2, hour, minute, second, tzinfo=UTC)
