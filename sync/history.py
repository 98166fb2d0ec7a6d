"""Versions of rows: every change of a column that analysts read closes one and opens the next.

In the transaction of the change. Moments are the database's, and strictly increasing per row whatever its clock does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, Table, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import add, for_each, lists, put
from core.db.tables import HISTORY, business_columns
from sync.objects.base import Cause, Row

_STEP = timedelta(microseconds=1)
# Keys per statement: SQLite and MySQL have limits of parameters, and plan long lists badly.
_AT_ONCE = 500

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """A row as it is from now on. ``key`` are its key columns without corpid; ``row`` is None if it is no more.

    ``made``: the row was inserted a moment ago, if no other writer was faster; then its version is there already.
    """

    key: Mapping[str, Any]
    row: Mapping[str, Any] | None
    cause: Cause
    made: bool = False


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest version of a row: since when, and until when it or the one before counted."""

    since: datetime
    until: datetime | None
    open: bool

    def next_moment(self, now: datetime) -> datetime:
        """When the one after it can begin."""
        last = self.since if self.until is None else max(self.since, self.until)
        return now if now > last else last + _STEP


_columns = cache(business_columns)


def differs(table: Table, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a column changed that makes a new version."""
    return any(new[name] != old[name] for name in _columns(table))


async def record(conn: AsyncConnection, table: Table, corpid: str, versions: Sequence[Version], now: datetime) -> None:
    """Close the versions that these rows had and open new ones; at most one version per row.

    The caller has locked the rows, or their parent, and passes only what really changed. ``now`` is the database's
    clock in this transaction.
    """
    if not versions:
        return
    kept, columns = HISTORY[table.name], _columns(table)
    names = _key(table)
    keyed = sorted(
        ((tuple([version.key[name] for name in names]), version) for version in versions), key=lambda entry: entry[0]
    )
    newest = await _newest(conn, table, corpid, [key for key, _ in keyed])
    closed: list[Row] = []
    opened: list[Row] = []
    for key, version in keyed:
        here = {"corpid": corpid, **dict(zip(names, key, strict=True))}
        before, cause = newest.get(key), version.cause
        if before is not None and before.open and version.made:
            continue
        moment = now if before is None else before.next_moment(now)
        if before is not None and before.open:
            # The source is what a row must have to be inserted; this one is there, and keeps its own.
            closed.append(here | {"valid_from": before.since, "source": cause.source, "valid_to": moment})
        if version.row is not None:
            why = {"source": cause.source, "event_id": cause.event_id, "happened_at": cause.happened_at}
            opened.append(here | {"valid_from": moment} | why | {name: version.row[name] for name in columns})
    await put(conn, kept, closed, ["valid_to"])
    await add(conn, kept, opened)


@cache
def _key(table: Table) -> Sequence[str]:
    return [column.name for column in table.primary_key if column.name != "corpid"]


async def _newest(conn: AsyncConnection, table: Table, corpid: str, keys: Sequence[Key]) -> dict[Key, _Newest]:
    """The newest versions of those rows that have any."""
    dialect, names = conn.dialect.name, _key(table)
    found: dict[Key, _Newest] = {}
    for begin in range(0, len(keys), _AT_ONCE):
        parts = dict(zip(names, zip(*keys[begin : begin + _AT_ONCE], strict=True), strict=True))
        values = lists(dialect, **parts) | {"corpid": corpid}
        for row in await conn.execute(_newest_of(dialect, table), values):
            *key, since, until, is_open = row
            found[tuple(key)] = _Newest(since, until, bool(is_open))
    return found


@cache
def _newest_of(dialect: str, table: Table) -> Select[Any]:
    kept = HISTORY[table.name]
    columns = [kept.c[name] for name in _key(table)]
    # Not the first of them backwards, which a database may look for in the index by valid_from, through all rows.
    query = select(
        *columns,
        func.max(kept.c.valid_from).label("since"),
        func.max(kept.c.valid_to).label("until"),
        (func.count() - func.count(kept.c.valid_to)).label("open"),
    )
    return for_each(dialect, query.where(kept.c.corpid == bindparam("corpid")).group_by(*columns), columns)
