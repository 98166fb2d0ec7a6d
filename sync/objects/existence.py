"""What events tell of objects that are made and deleted, raised in the rows of those objects.

The row is made if absent, so that nothing is lost when events come before the first read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import department, employee, group_chat, tag, tag_group
from core.db.wishes import CHAT
from sync.effects import MEMBER, PARTY, TAG, TAG_GROUP, Object
from sync.facts import Existence, is_later_word
from sync.objects.base import Cause, Row
from sync.objects.rows import lock_rows, save_rows

# Table, and the column that says since when it is no more.
_PLACES: Mapping[str, tuple[Table, str]] = {
    CHAT: (group_chat, "dismissed_at"),
    MEMBER: (employee, "left_at"),
    PARTY: (department, "deleted_at"),
    TAG: (tag, "deleted_at"),
    TAG_GROUP: (tag_group, "deleted_at"),
}


async def write_existence(
    conn: AsyncConnection, dialect: str, corpid: str, told: Mapping[Object, Existence], now: datetime
) -> None:
    """Raise what is known of these objects."""
    for kind in sorted({kind for kind, _ in told}):
        table, ending = _PLACES[kind]
        facts = {_id(kind, object_id): each for (of, object_id), each in told.items() if of == kind}
        old, made = await lock_rows(conn, dialect, table, corpid, facts, now)
        new = {object_id: _raised(row, facts[object_id], ending) for object_id, row in old.items()}
        causes = {object_id: each.cause or Cause("event") for object_id, each in facts.items()}
        await save_rows(conn, table, corpid, old, new, made, causes, now)


def _raised(row: Row, facts: Existence, ending: str) -> Row:
    merged = Existence(row["last_create_at"], row["last_delete_at"]) | facts
    # What the platform itself called deleted, without an event, stays so.
    ended_at: datetime | None = row[ending] if merged.deleted_at is None else merged.ended_at
    if ended_at is not None and row["gone_at"] is None and is_later_word(row["fetched_at"], ended_at):
        ended_at = None
    return row | {"last_create_at": merged.created_at, "last_delete_at": merged.deleted_at, ending: ended_at}


def _id(kind: str, object_id: str) -> Any:
    return int(object_id) if kind == PARTY else object_id
