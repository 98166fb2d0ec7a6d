"""Rows of views in the same Python values on every database, and rows of tables made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Table, insert, text

from core.db.engine import Database
from core.db.tables import contact_event
from wecom_crm.dictionary import views

COLUMNS = {view.name: {column.name: column.type for column in view.columns} for view in views()}
"""Of each view, and of each column its type."""


async def seen(database: Database, view: str, *columns: str, where: str = "1 = 1") -> list[dict[str, Any]]:
    """Every row (these columns, all without any), sorted; instants aware, days as ``2026-03-01``."""
    wanted = columns or tuple(COLUMNS[view])
    async with database.read() as conn:
        found = await conn.execute(text(f"SELECT {', '.join(wanted)} FROM {view} WHERE {where}"))
        rows = [dict(row) for row in found.mappings()]
    plainly = [{name: plain(COLUMNS[view][name], value) for name, value in row.items()} for row in rows]
    return sorted(plainly, key=lambda row: [str(row[name]) for name in wanted])


def plain(kind: str, value: Any) -> Any:
    """A value of a column of this type, as Python has it."""
    if value is None:
        return None
    if kind == "instant":
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if kind == "day":
        return value.isoformat() if isinstance(value, date) else value
    if kind == "JSON":
        return json.loads(value) if isinstance(value, str) else value
    if kind == "integer":
        assert int(value) == value
        return int(value)
    return value


async def put(database: Database, table: Table, *rows: Mapping[str, Any]) -> None:
    """Insert these rows; ``corpid`` is ww1 unless one says otherwise, and columns that must be filled are."""
    needed = {column.name for column in table.columns if not column.nullable and not column.primary_key}
    moments = {name: datetime(2026, 3, 1, tzinfo=UTC) for name in needed if name.endswith("_at")}
    async with database.write() as conn:
        for row in rows:
            await conn.execute(insert(table), [{"corpid": "ww1", **moments, **row}])


class Ledger:
    """Events written down one by one, each under an id of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written = 0

    async def write(
        self,
        change: str,
        moment: datetime,
        customer: str | None = "wmA",
        member: str | None = "zhangsan",
        **columns: Any,
    ) -> None:
        """One event of change_external_contact unless ``columns`` say otherwise."""
        self._written += 1
        row = {
            "event_id": f"{self._written:064}",
            "event": "change_external_contact",
            "change": change,
            "kind": "customer",
            "object_id": customer,
            "userid": member,
            "happened_at": moment,
            "received_at": moment,
            "recorded_at": moment,
            "callback": "contacts",
            "leaves": [["UserID", member], ["ExternalUserID", customer]],
            "outcome": "applied",
        }
        await put(self._database, contact_event, row | columns)
