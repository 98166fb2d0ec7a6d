"""What answers say about tags and their groups, merged into the rows of both tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.wishes import Wish, write_wishes
from sync.facts import latest
from sync.objects.base import Cause, Row, newer
from sync.objects.rows import lock_rows, missed, save_rows, shown_or_not
from wecom.customer_tags import Tag, TagGroup

ENDING = "deleted_at"
_COLUMNS: Mapping[type, Sequence[str]] = {
    Tag: ("group_id", "tag_name", "type", "sort_order", "create_time"),
    TagGroup: ("group_name", "sort_order", "create_time", "strategy_id"),
}


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says about one tag or group: how it is, or (None) that the platform does not list it.

    ``group`` is, for a tag, the row of its group if that was deleted, and all its tags with it.
    """

    object_id: str
    fetched_at: datetime
    found: Tag | TagGroup | None
    cause: Cause
    group: Row | None = None

    @property
    def shown(self) -> bool:
        return self.found is not None and not self.found.deleted


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows of one table before and after, by id."""

    old: Mapping[str, Row]
    new: Mapping[str, Row]
    changed: set[str]
    """Those with another value in a business column, or new."""

    def differs_in(self, object_id: str, *columns: str) -> bool:
        """Whether a column that was known before has another value now."""
        old, new = self.old[object_id], self.new[object_id]
        return any(old[name] is not None and old[name] != new[name] for name in columns)

    def ended(self, object_id: str) -> bool:
        """Whether it is deleted now."""
        return self.new[object_id][ENDING] is not None


def merge(row: Row, said: Said) -> Row:
    """The row after this answer; the same if it is not news."""
    new = dict(row)
    if said.group is not None:
        # No event follows for the tags of a deleted group (document 92130).
        new[ENDING] = row[ENDING] or said.group[ENDING]
        new["last_delete_at"] = latest(row["last_delete_at"], said.group["last_delete_at"])
    if not newer(said.fetched_at, row["fetched_at"]):
        return new
    new |= shown_or_not(new, ENDING, said.fetched_at, shown=said.shown)
    if said.found is not None:
        new |= {column: getattr(said.found, column) for column in _COLUMNS[type(said.found)]}
        new["fetched_at"] = said.fetched_at
        if said.found.deleted:
            # Final, with an event or without: the platform never uses the id again.
            new[ENDING] = new[ENDING] or said.fetched_at
    return new


def contradicted(old: Row, new: Row, said: Said) -> datetime | None:
    """Since when events and this answer contradict each other, if it was news."""
    return missed(new, ENDING, shown=said.shown) if newer(said.fetched_at, old["fetched_at"]) else None


async def write_said(
    conn: AsyncConnection, dialect: str, table: Table, corpid: str, said: Sequence[Said], now: datetime
) -> Merged:
    """Merge and write, with history. There may be several answers about one object, of which the newest counts."""
    old, made = await lock_rows(conn, dialect, table, corpid, [one.object_id for one in said], now)
    new = dict(old)
    causes: dict[str, Cause] = {}
    for one in said:
        row = merge(new[one.object_id], one)
        if row != new[one.object_id] or one.object_id not in causes:
            causes[one.object_id] = one.cause
        new[one.object_id] = row
    changed = await save_rows(conn, table, corpid, old, new, made, causes, now)
    return Merged(old, new, changed)


async def wish_for(
    conn: AsyncConnection, dialect: str, corpid: str, kind: str, causes: Mapping[str, Cause], now: datetime
) -> None:
    """Have these objects read as well, for the reason that led here."""
    wishes = [
        Wish(object_id, source=cause.source, event_id=cause.event_id, happened_at=cause.happened_at)
        for object_id, cause in causes.items()
    ]
    await write_wishes(conn, dialect, corpid, wishes, now, kind)
