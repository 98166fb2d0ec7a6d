"""Tables that are as a truth says, and histories that say the same as their tables: for tests of the comparison."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import HISTORY, metadata
from wecom.simulator.truth import Truth

BEGAN, LATER = datetime(2026, 3, 2, 10, tzinfo=UTC), datetime(2026, 3, 2, 11, tzinfo=UTC)

PLACES: Mapping[str, tuple[str, str | None]] = {
    "employees": ("employee", "left_at"),
    "employee_departments": ("employee_department", None),
    "employee_aliases": ("employee_alias", None),
    "departments": ("department", "deleted_at"),
    "employee_tags": ("employee_tag", "gone_at"),
    "employee_tag_members": ("employee_tag_member", None),
    "tag_groups": ("tag_group", "deleted_at"),
    "corp_tags": ("tag", "deleted_at"),
    "group_chats": ("group_chat", "dismissed_at"),
    "group_chat_members": ("group_chat_member", None),
    "group_chat_versions": ("group_chat_version", None),
}
"""Field of the truth to its table, and the column that says of a row that it is no more."""


async def write_truth(conn: AsyncConnection, truth: Truth) -> None:
    """Rows of everything but customers and their relations, with their histories."""
    for field, (name, ending) in PLACES.items():
        table = metadata.tables[name]
        # When an id was changed is part of the key, and not of the truth.
        keys = [column.name for column in table.primary_key if column.name != "happened_at"]
        for key, values in getattr(truth, field).items():
            row = dict(zip(keys, key, strict=True)) | dict(values or {})
            if values is None and ending is not None:
                row[ending] = BEGAN
            needed = {"first_seen_at": BEGAN, "happened_at": BEGAN, "merged_at": LATER}
            row |= {column: moment for column, moment in needed.items() if column in table.c}
            await conn.execute(insert(table).values(row))
        if name in HISTORY:
            await _tell(conn, table, HISTORY[name])


async def _tell(conn: AsyncConnection, table: Table, history: Table) -> None:
    for row in (await conn.execute(select(table))).mappings():
        values: dict[str, Any] = {column: row[column] for column in row if column in history.c}
        await conn.execute(insert(history).values(values | {"valid_from": BEGAN, "source": "event"}))


def tell_again(conn: sqlite3.Connection, table: str) -> None:
    """Make the history of an SQLite table one open version of each of its rows."""
    columns = [row[1] for row in conn.execute(f"PRAGMA table_info({table})")]
    kept = [row[1] for row in conn.execute(f"PRAGMA table_info({table}_history)")]
    names = ", ".join(name for name in columns if name in kept)
    conn.execute(f"DELETE FROM {table}_history")
    conn.execute(
        f"INSERT INTO {table}_history ({names}, valid_from, source) "
        f"SELECT {names}, '2026-03-02 10:00:00.000000', 'event' FROM {table}"
    )
