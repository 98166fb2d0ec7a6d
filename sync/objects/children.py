"""Rows that hang on another one and come and go with its answers: departments of an employee, members of a group.

Whoever changes them has locked the row that they hang on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import put, remove
from core.db.tables import business_columns
from sync.history import Version, differs, record
from sync.objects.base import Cause, Row


class ChildChanges:
    """What is to be written of one table and what removed, with its history."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._names = [column.name for column in table.primary_key if column.name != "corpid"]
        self._put: dict[tuple[Any, ...], Row] = {}
        self._gone: dict[tuple[Any, ...], Row] = {}
        self.versions: list[Version] = []

    def add(self, old: Iterable[Row], wanted: Iterable[Row], cause: Cause) -> bool:
        """Take up in what these rows differ from those wanted instead. Returns whether they do."""
        before = {self._key(row): row for row in old}
        after = {self._key(row): row for row in wanted}
        gone = {key: self._named(row) for key, row in before.items() if key not in after}
        new = {key: row for key, row in after.items() if key not in before or differs(self._table, row, before[key])}
        self._gone |= gone
        self._put |= new
        self.versions += [Version(row, None, cause) for row in gone.values()]
        self.versions += [Version(self._named(row), row, cause) for row in new.values()]
        return bool(gone or new)

    async def write(self, conn: AsyncConnection, corpid: str, now: datetime) -> None:
        """Write all of it, in key order."""
        gone = [{"corpid": corpid, **row} for _, row in sorted(self._gone.items(), key=itemgetter(0))]
        await remove(conn, self._table, gone)
        rows = [{"corpid": corpid, **row} for _, row in sorted(self._put.items(), key=itemgetter(0))]
        await put(conn, self._table, rows, business_columns(self._table))
        await record(conn, self._table, corpid, self.versions, now)

    def _key(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self._names)

    def _named(self, row: Row) -> Row:
        return {name: row[name] for name in self._names}
