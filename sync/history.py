"""Versions of rows: every change of a column that analysts read closes one and opens the next.

In the transaction of the change. Moments are the database's, and strictly increasing per row whatever its clock does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, and_, bindparam, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import HISTORY, business_columns
from sync.objects.base import Cause, Row

_STEP = timedelta(microseconds=1)
# Keys per statement: every database has a limit of parameters.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Version:
    """A row as it is from now on. ``key`` are its key columns without corpid; ``row`` is None if it is no more."""

    key: Mapping[str, Any]
    row: Mapping[str, Any] | None
    cause: Cause


def differs(table: Table, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a column changed that makes a new version."""
    return any(new[name] != old[name] for name in business_columns(table))


async def record(conn: AsyncConnection, table: Table, corpid: str, versions: Sequence[Version], now: datetime) -> None:
    """Close the versions that these rows had and open new ones; one version per row.

    The caller has locked the rows and passes only what really changed.
    """
    if not versions:
        return
    kept = HISTORY[table.name]
    names = [column.name for column in table.primary_key if column.name != "corpid"]
    keyed = sorted(
        ((tuple(version.key[name] for name in names), version) for version in versions), key=lambda entry: entry[0]
    )
    last = await _last(conn, kept, corpid, names, [key for key, _ in keyed])
    closed: list[Row] = []
    opened: list[Row] = []
    for key, version in keyed:
        since, until = last.get(key, (None, None))
        before = max((moment for moment in (since, until) if moment is not None), default=None)
        moment = now if before is None or now > before else before + _STEP
        if since is not None and until is None:
            closed.append({f"k_{name}": part for name, part in zip(names, key, strict=True)} | _at(since, moment))
        if version.row is not None:
            opened.append(
                {"corpid": corpid, **dict(zip(names, key, strict=True)), "valid_from": moment, "valid_to": None}
                | {"source": version.cause.source, "event_id": version.cause.event_id}
                | {"happened_at": version.cause.happened_at}
                | {name: version.row[name] for name in business_columns(table)}
            )
    if closed:
        here = and_(
            kept.c.corpid == corpid,
            *(kept.c[name] == bindparam(f"k_{name}") for name in names),
            kept.c.valid_from == bindparam("k_since"),
        )
        await conn.execute(update(kept).where(here).values(valid_to=bindparam("v_until")), closed)
    if opened:
        await conn.execute(insert(kept), opened)


def _at(since: datetime, until: datetime) -> Row:
    return {"k_since": since, "v_until": until}


async def _last(
    conn: AsyncConnection, kept: Table, corpid: str, names: Sequence[str], keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], tuple[datetime, datetime | None]]:
    """Of each row that has versions: since when the newest counts, and until when."""
    columns = [kept.c[name] for name in names]
    found: dict[tuple[Any, ...], tuple[datetime, datetime | None]] = {}
    for begin in range(0, len(keys), _AT_ONCE):
        part = keys[begin : begin + _AT_ONCE]
        mine = columns[0].in_([key[0] for key in part]) if len(columns) == 1 else tuple_(*columns).in_(part)
        newest = (
            select(*columns, func.max(kept.c.valid_from).label("since"))
            .where(kept.c.corpid == corpid, mine)
            .group_by(*columns)
            .subquery()
        )
        rows = select(*columns, kept.c.valid_from, kept.c.valid_to).join(
            newest,
            and_(
                kept.c.corpid == corpid,
                *(kept.c[name] == newest.c[name] for name in names),
                kept.c.valid_from == newest.c.since,
            ),
        )
        for row in await conn.execute(rows):
            found[tuple(row[: len(names)])] = (row.valid_from, row.valid_to)
    return found
