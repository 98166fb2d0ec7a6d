"""Wishes: what is to be read from the platform next, one row of ``pending_read`` per object.

Apply wishes for what an event named, the sidebar for what an employee looks at. Sync reads the objects, and removes a
row only if nobody wished for it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import pending_read
from core.db.upsert import Columns, upsert

CUSTOMER = "customer"

SPACING = timedelta(seconds=2)
"""An object is not read again sooner than this."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One object to read; ``events`` say so. With the two rechecks it is read again then, whatever is found before."""

    object_id: str
    events: int = 1
    recheck_at: datetime | None = None
    recheck_last_at: datetime | None = None


async def write_wishes(
    conn: AsyncConnection, dialect: str, corpid: str, wishes: Sequence[Wish], now: datetime, kind: str = CUSTOMER
) -> None:
    """Fold these wishes, one per object, into what is wished for already; ``now`` by the database's clock."""
    if not wishes:
        return
    rows = [_row(corpid, kind, wish, now) for wish in sorted(wishes, key=lambda wish: wish.object_id)]
    await conn.execute(upsert(dialect, pending_read, _fold), rows)
    t = pending_read.c
    await conn.execute(
        update(pending_read)
        .where(
            *(t.corpid == corpid, t.kind == kind, t.object_id.in_([row["object_id"] for row in rows])),
            t.read_at > now - SPACING,
        )
        .values(due_at=now + SPACING)
    )


def _fold(old: Columns, new: Columns) -> Sequence[tuple[str, Any]]:
    return [
        ("wanted_at", new.wanted_at),
        ("version", old.version + new.version),
        ("due_at", new.due_at),
        ("stage", new.stage),
        ("events", old.events + new.events),
        ("attempts", new.attempts),
        ("reason", new.reason),
        ("recheck_at", func.coalesce(new.recheck_at, old.recheck_at)),
        ("recheck_last_at", func.coalesce(new.recheck_last_at, old.recheck_last_at)),
    ]


def _row(corpid: str, kind: str, wish: Wish, now: datetime) -> dict[str, Any]:
    return {
        "corpid": corpid,
        "kind": kind,
        "object_id": wish.object_id,
        "wanted_at": now,
        "due_at": now,
        "version": 1,
        "stage": "first",
        "events": wish.events,
        "attempts": 0,
        "reason": None,
        "recheck_at": wish.recheck_at,
        "recheck_last_at": wish.recheck_last_at,
    }
