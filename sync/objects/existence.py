"""What events tell of objects that are made and deleted, raised in the rows of those objects.

The row is made if absent, so that nothing is lost when events come before the first read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import department, employee, group_chat, tag, tag_group
from core.db.upsert import insert_ignore
from sync.effects import CHAT, MEMBER, PARTY, TAG, TAG_GROUP, Object
from sync.facts import Existence
from sync.history import Version, differs, record
from sync.objects.base import Cause, Row

# Table, its id, and the column that says since when it is no more.
_PLACES: Mapping[str, tuple[Table, str, str]] = {
    CHAT: (group_chat, "chat_id", "dismissed_at"),
    MEMBER: (employee, "userid", "left_at"),
    PARTY: (department, "department_id", "deleted_at"),
    TAG: (tag, "tag_id", "deleted_at"),
    TAG_GROUP: (tag_group, "group_id", "deleted_at"),
}


async def write_existence(
    conn: AsyncConnection, dialect: str, corpid: str, told: Mapping[Object, Existence], now: datetime
) -> None:
    """Raise what is known of these objects."""
    for kind in sorted({kind for kind, _ in told}):
        table, column, ending = _PLACES[kind]
        by_id = {_id(kind, object_id): facts for (of, object_id), facts in told.items() if of == kind}
        ids = sorted(by_id)
        fresh = set(ids) - await _present(conn, table, column, corpid, ids)
        if fresh:
            rows = [{"corpid": corpid, column: object_id, "first_seen_at": now} for object_id in sorted(fresh)]
            await conn.execute(insert_ignore(dialect, table), rows)
        changes: list[Row] = []
        versions: list[Version] = []
        for row in await _locked(conn, dialect, table, column, corpid, ids):
            facts = by_id[row[column]]
            merged = Existence(row["last_create_at"], row["last_delete_at"]) | facts
            ended_at = merged.ended_at
            new = row | {"last_create_at": merged.created_at, "last_delete_at": merged.deleted_at, ending: ended_at}
            if new != row:
                changes.append(
                    {"k_id": row[column], "v_create": merged.created_at, "v_delete": merged.deleted_at}
                    | {"v_ending": ended_at}
                )
            if row[column] in fresh or differs(table, new, row):
                versions.append(Version({column: row[column]}, new, facts.cause or Cause("event")))
        if changes:
            values: Row = {"last_create_at": bindparam("v_create"), "last_delete_at": bindparam("v_delete")}
            values[ending] = bindparam("v_ending")
            here = (table.c.corpid == corpid) & (table.c[column] == bindparam("k_id"))
            await conn.execute(update(table).where(here).values(values), changes)
        await record(conn, table, corpid, versions, now)


def _id(kind: str, object_id: str) -> Any:
    return int(object_id) if kind == PARTY else object_id


async def _present(conn: AsyncConnection, table: Table, column: str, corpid: str, ids: Sequence[Any]) -> set[Any]:
    here = (table.c.corpid == corpid) & table.c[column].in_(ids)
    return set((await conn.execute(select(table.c[column]).where(here))).scalars())


async def _locked(
    conn: AsyncConnection, dialect: str, table: Table, column: str, corpid: str, ids: Sequence[Any]
) -> list[Row]:
    rows = select(table).where(table.c.corpid == corpid, table.c[column].in_(ids)).order_by(table.c[column])
    if dialect != "sqlite":
        rows = rows.with_for_update()
    return [dict(row) for row in (await conn.execute(rows)).mappings()]
