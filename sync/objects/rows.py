"""Rows of objects that have one id and are read as a whole: how they are locked, what an answer does to them, writing.

The columns that say whether the object is there are the same in each: ``last_create_at`` and ``last_delete_at``, an
ending that events tell (``deleted_at``, ``dismissed_at``), ``gone_at`` and ``fetched_at``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import as_dicts, put
from sync.facts import is_later_word
from sync.history import Version, differs, record
from sync.objects.base import Cause, Row, gone_since

AT_ONCE = 500
"""Keys per statement, as every database has a limit of parameters, and rows of large work per transaction."""


def id_of(table: Table) -> str:
    """Name of the column that is the key beside corpid."""
    (name,) = (column.name for column in table.primary_key if column.name != "corpid")
    return name


async def lock_rows(
    conn: AsyncConnection, dialect: str, table: Table, corpid: str, ids: Iterable[str], now: datetime
) -> tuple[dict[str, Row], set[str]]:
    """Make the rows that are missing and lock all of them in key order.

    Returns them by id, and which were missing: made here, or by another writer who was faster (``Version.made``).
    """
    name = id_of(table)
    wanted = sorted(set(ids))
    found: dict[str, Row] = {}
    made: set[str] = set()
    for begin in range(0, len(wanted), AT_ONCE):
        part = wanted[begin : begin + AT_ONCE]
        here = (table.c.corpid == corpid) & table.c[name].in_(part)
        missing = set(part) - set((await conn.execute(select(table.c[name]).where(here))).scalars())
        rows = [{"corpid": corpid, name: object_id, "first_seen_at": now} for object_id in sorted(missing)]
        await put(conn, table, rows)
        lines = select(table).where(here).order_by(table.c[name])
        if dialect != "sqlite":
            # On SQLite the transaction is the lock.
            lines = lines.with_for_update()
        found |= {row[name]: row for row in as_dicts(await conn.execute(lines))}
        made |= missing
    return found, made


def shown_or_not(row: Row, ending: str, fetched_at: datetime, *, shown: bool) -> Row:
    """The two columns that say whether it is there, after an answer that is news. ``ending`` is the events' one."""
    deleted_at = row["last_delete_at"]
    refuted = shown and deleted_at is not None and is_later_word(fetched_at, deleted_at)
    gone_at = gone_since(row["gone_at"], fetched_at, shown=shown)
    return {"gone_at": gone_at, ending: None if refuted else row[ending]}


def missed(row: Row, ending: str, *, shown: bool) -> datetime | None:
    """Since when the platform and the events contradict each other about the object; None: they do not."""
    if row[ending] is not None:
        # Answers lag behind a deletion.
        known: datetime | None = row["last_delete_at"]
        return known if shown else None
    since: datetime | None = row["gone_at"]
    return since if not shown and row["last_create_at"] is not None else None


def is_unknown(row: Row) -> bool:
    """Whether the object was neither read before nor told to have been made (``Written.unproven``)."""
    return row["fetched_at"] is None and row["last_create_at"] is None


async def save_rows(
    conn: AsyncConnection,
    table: Table,
    corpid: str,
    old: Mapping[str, Row],
    new: Mapping[str, Row],
    made: Collection[str],
    causes: Mapping[str, Cause],
    now: datetime,
) -> set[str]:
    """Write the rows that changed, with their history. Returns the ids whose business columns did, or that are new."""
    name = id_of(table)
    columns = [column.name for column in table.columns if not column.primary_key and column.name != "first_seen_at"]
    written = [row for object_id, row in sorted(new.items()) if row != old[object_id]]
    await put(conn, table, written, columns)
    changed = {object_id for object_id, row in new.items() if differs(table, row, old[object_id])}
    versions = [
        Version({name: object_id}, new[object_id], causes[object_id], made=object_id not in changed)
        for object_id in sorted(changed.union(made))
    ]
    await record(conn, table, corpid, versions, now)
    return changed.union(made)
