"""Wishes: what is to be read from the platform next, one row of ``pending_read`` per object.

Apply wishes for what an event named, the sidebar for what an employee looks at. Sync reads the objects, and removes a
row only if nobody wished for it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, case, func, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import fold
from core.db.tables import pending_read
from core.db.types import Later
from core.db.upsert import Columns

CUSTOMER, CHAT = "customer", "chat"
"""Kinds of objects that more than sync has to know."""

SPACING = timedelta(seconds=2)
"""An object is not read again sooner than this."""
VIEW = "view"
FIRST = timedelta(hours=1)
"""So much longer than anything else has a wish of somebody who waits in front of the page been due."""
DELAYS = {CHAT: timedelta(seconds=2)}
"""Kinds whose answer is not up to date right after the event (document 92130), and how long to wait."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One object to read; ``events`` say so. With the two rechecks it is read again then, whatever is found before.

    ``source`` is event, view or reconcile; for an event also which one it was and its CreateTime.
    """

    object_id: str
    events: int = 1
    recheck_at: datetime | None = None
    recheck_last_at: datetime | None = None
    source: str = "event"
    event_id: str | None = None
    happened_at: datetime | None = None


async def write_wishes(
    conn: AsyncConnection,
    dialect: str,
    corpid: str,
    wishes: Sequence[Wish],
    now: datetime,
    kind: str = CUSTOMER,
    *,
    delay: timedelta = timedelta(),
) -> None:
    """Fold these wishes, one per object, into what is wished for already; ``now`` by the database's clock.

    They are due after ``delay``, or after their kind's own if that is longer; what somebody looks at is read before
    everything else.
    """
    if not wishes:
        return
    due_at = now + max(delay, DELAYS.get(kind, delay))
    rows = [
        _row(corpid, kind, wish, now, now - FIRST if wish.source == VIEW else due_at)
        for wish in sorted(wishes, key=lambda wish: wish.object_id)
    ]
    await fold(conn, pending_read, rows, _fold)


def _fold(old: Columns, new: Columns) -> Sequence[tuple[str, Any]]:
    # The latest event stays the cause, also if somebody looks meanwhile. The order of the columns matters to MySQL.
    later = and_(new.happened_at.is_not(None), or_(old.happened_at.is_(None), new.happened_at >= old.happened_at))
    # One that is due for a first read does not wait longer because of another event.
    sooner = and_(old.stage == new.stage, old.due_at < new.due_at)
    spaced = Later(old.read_at, SPACING) > new.wanted_at
    return [
        ("source", case((later, new.source), else_=func.coalesce(old.source, new.source))),
        ("event_id", case((later, new.event_id), else_=old.event_id)),
        ("happened_at", case((later, new.happened_at), else_=old.happened_at)),
        ("wanted_at", new.wanted_at),
        ("version", old.version + new.version),
        ("due_at", case((spaced, Later(new.wanted_at, SPACING)), (sooner, old.due_at), else_=new.due_at)),
        ("stage", new.stage),
        ("events", old.events + new.events),
        ("attempts", new.attempts),
        ("reason", new.reason),
        ("recheck_at", func.coalesce(new.recheck_at, old.recheck_at)),
        ("recheck_last_at", func.coalesce(new.recheck_last_at, old.recheck_last_at)),
    ]


def _row(corpid: str, kind: str, wish: Wish, now: datetime, due_at: datetime) -> dict[str, Any]:
    return {
        "corpid": corpid,
        "kind": kind,
        "object_id": wish.object_id,
        "wanted_at": now,
        "due_at": due_at,
        "version": 1,
        "stage": "first",
        "events": wish.events,
        "attempts": 0,
        "reason": None,
        "recheck_at": wish.recheck_at,
        "recheck_last_at": wish.recheck_last_at,
        "source": wish.source,
        "event_id": wish.event_id,
        "happened_at": wish.happened_at,
    }
