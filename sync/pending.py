"""What to read next: one row per object, however many events named it.

``plan`` is the pure part, the life of a row after a read::

    event ──▶ first ──▶ (changed, alone, not read lately) ──────────────▶ done
                │
                ├──▶ confirm: 5 s after the last event unless read so late, as the API may have lagged ──▶ done
                ├──▶ unseen: a relation that should stand was not listed: 2 s, 10 s, 60 s, 10 min ──▶ done
                └──▶ recheck: after a transfer, which the API shows with hours of delay: 1 min, 25 h ──▶ done

A new event puts the row back to ``first`` at any time; a reader removes a row only if no event came meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Delete, Integer, Select, Update, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import amend, among, lists
from core.db.tables import pending_read
from core.db.wishes import CUSTOMER, SPACING, Wish, write_wishes
from sync.effects import Effect, Object
from sync.facts import newest_cause
from sync.objects.base import Cause, Written

S = TypeVar("S", Update, Delete)
_NEXT = ("stage", "due_at", "attempts", "reason", "recheck_at", "recheck_last_at", "events")

LEASE = timedelta(seconds=60)
CONFIRM_AFTER = timedelta(seconds=5)
# An answer that differs from one read so shortly before may be the older of the two.
SETTLED_AFTER = timedelta(seconds=60)
UNSEEN_LADDER = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 60, 600))
# Out of sight for longer than the whole ladder: more reads tell nothing, reconciliation decides.
UNSEEN_FOR_LONG = timedelta(minutes=30)
RECHECK = (timedelta(minutes=1), timedelta(hours=25))
# While events wait in line: one read after many of them says as much as one after each.
SETTLING = timedelta(seconds=1)
BACKOFF_LIMIT = timedelta(minutes=10)
# What only a permission can help: counted with the rechecks, as nothing is late by it.
RARELY = 86400.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that this reader has for the time of its lease."""

    kind: str
    object_id: str
    version: int
    stage: str
    events: int
    attempts: int
    wanted_at: datetime
    recheck_at: datetime | None
    recheck_last_at: datetime | None
    cause: Cause = field(default=Cause("event"))

    @property
    def key(self) -> Object:
        return self.kind, self.object_id


@dataclass(frozen=True, slots=True)
class Next:
    """When and why to read the object again."""

    stage: str
    due_at: datetime
    attempts: int = 0
    reason: str | None = None
    recheck_at: datetime | None = None
    recheck_last_at: datetime | None = None
    events: int = 0


def plan(claim: Claim, written: Written, now: datetime) -> Next | None:
    """What comes after a read that brought an answer; None: the object is done."""
    # This read began when the row was due, so it was the recheck if the time for that has come.
    left = [moment for moment in (claim.recheck_at, claim.recheck_last_at) if moment is not None and moment > now]
    rechecks = (left[0] if left else None, left[1] if left[1:] else None)
    if written.unfinished:
        return Next(claim.stage, now, claim.attempts, "more of it is left to write", *rechecks, events=claim.events)
    recent = [since for since in written.unseen.values() if now - since < UNSEEN_FOR_LONG]
    step = claim.attempts if claim.stage == "unseen" else 0
    if recent and step < len(UNSEEN_LADDER):
        due_at = now + UNSEEN_LADDER[step]
        reason = "the answer contradicts the events" if "" in written.unseen else "a relation is not listed"
        return Next("unseen", due_at, step + 1, reason, *rechecks, events=claim.events)
    confirm_at = claim.wanted_at + CONFIRM_AFTER
    just_read = written.previous_fetch is not None and now - written.previous_fetch < SETTLED_AFTER
    unproven = written.unproven and claim.cause.source == "event"
    doubtful = claim.events > 1 or not written.changed or unproven or just_read
    # A read that came so late is itself the one that confirms.
    early = written.fetched_at is None or written.fetched_at < confirm_at
    if doubtful and early and (claim.stage == "first" or (claim.stage == "unseen" and not recent)):
        return Next("confirm", max(confirm_at, now), 0, "the API may have lagged", *rechecks)
    if left:
        return Next("recheck", left[0], 0, "transferred", *rechecks)
    return None


def postpone(claim: Claim, now: datetime, reason: str, wait: float | None = None) -> Next:
    """After a read without an answer: in ``wait`` seconds, or later and later (1 s to 10 min).

    What is read ``RARELY`` from now on is a recheck.
    """
    delay = timedelta(seconds=wait) if wait is not None else timedelta(seconds=2.0 ** min(claim.attempts, 20))
    return Next(
        "recheck" if wait == RARELY else claim.stage,
        now + (delay if wait is not None else min(delay, BACKOFF_LIMIT)),
        # Steps of the ladder are not failures, and a failure is no step.
        claim.attempts if claim.stage == "unseen" or wait is not None else claim.attempts + 1,
        reason,
        claim.recheck_at,
        claim.recheck_last_at,
        claim.events,
    )


async def want(
    conn: AsyncConnection,
    dialect: str,
    corpid: str,
    effects: Sequence[Effect],
    now: datetime,
    *,
    more_to_come: bool = False,
) -> None:
    """Fold the wishes of these events: one row per object.

    ``more_to_come``: the next events are waiting already, and may well name the same objects.
    """
    counts: Counter[Object] = Counter()
    causes: dict[Object, Cause] = {}
    transferred: set[Object] = set()
    for effect in effects:
        for this in effect.wishes:
            counts[this] += 1
            causes[this] = newest_cause(causes.get(this), effect.cause) or effect.cause
            if effect.transferred:
                transferred.add(this)
    again = (now + RECHECK[0], now + RECHECK[1])
    kinds: dict[str, list[Wish]] = {}
    for this, events in counts.items():
        cause = causes[this]
        first, last = again if this in transferred else (None, None)
        wish = Wish(this[1], events, first, last, cause.source, cause.event_id, cause.happened_at)
        kinds.setdefault(this[0], []).append(wish)
    for kind in sorted(kinds):
        delay = SETTLING if more_to_come else timedelta()
        await write_wishes(conn, dialect, corpid, kinds[kind], now, kind, delay=delay)


async def claim(
    conn: AsyncConnection,
    dialect: str,
    corpid: str,
    reader: str,
    limit: int,
    now: datetime,
    *,
    settled: bool = False,
) -> list[Claim]:
    """Take up to ``limit`` due rows, the longest due first, for the time of a lease.

    ``settled``: no more events wait in line, so rows that wait for those (``SETTLING``) are due.
    """
    moments = {"now": now, "settled": now + SETTLING if settled else now, "spaced": now - SPACING}
    rows = await conn.execute(_due(dialect), moments | {"of_corpid": corpid, "most": limit})
    claims = [
        Claim(
            *(row.kind, row.object_id, row.version, row.stage, row.events, row.attempts, row.wanted_at),
            *(row.recheck_at, row.recheck_last_at),
            cause=Cause(row.source or "event", row.event_id, row.happened_at),
        )
        for row in rows
    ]
    lease = {"lease": now + LEASE, "reader": reader, "now": now}
    for kind, ids in _by_kind(claim.key for claim in claims):
        await conn.execute(_lease(dialect), _ids(dialect, corpid, kind, ids) | lease)
    return claims


@cache
def _due(dialect: str) -> Select[Any]:
    t = pending_read.c
    waits_for_more = and_(
        *(t.kind == CUSTOMER, t.stage == "first", t.reason.is_(None)),
        or_(t.read_at.is_(None), t.read_at < bindparam("spaced")),
    )
    due = (
        select(
            *(t.kind, t.object_id, t.version, t.stage, t.events, t.attempts, t.wanted_at),
            *(t.recheck_at, t.recheck_last_at, t.source, t.event_id, t.happened_at),
        )
        .where(
            *(t.corpid == bindparam("of_corpid"), t.due_at <= bindparam("settled")),
            or_(t.due_at <= bindparam("now"), waits_for_more),
            or_(t.leased_until.is_(None), t.leased_until < bindparam("now")),
        )
        .order_by(t.due_at)
        .limit(bindparam("most", type_=Integer))
    )
    return due if dialect == "sqlite" else due.with_for_update(skip_locked=True)


@cache
def _lease(dialect: str) -> Update:
    leased = _these(dialect, update(pending_read))
    return leased.values(leased_until=bindparam("lease"), leased_by=bindparam("reader"), read_at=bindparam("now"))


def _these(dialect: str, statement: S) -> S:
    t = pending_read.c
    return statement.where(
        t.corpid == bindparam("of_corpid"), t.kind == bindparam("of_kind"), among(dialect, t.object_id)
    )


def _ids(dialect: str, corpid: str, kind: str, ids: Sequence[str]) -> dict[str, Any]:
    return lists(dialect, object_id=ids) | {"of_corpid": corpid, "of_kind": kind}


def _by_kind(objects: Iterable[Object]) -> list[tuple[str, list[str]]]:
    """In key order."""
    ids: dict[str, list[str]] = {}
    for kind, object_id in sorted(objects):
        ids.setdefault(kind, []).append(object_id)
    return list(ids.items())


async def settle(
    conn: AsyncConnection,
    corpid: str,
    plans: Mapping[Claim, Next | None],
    reader: str,
    wished: Iterable[Object] = (),
) -> None:
    """Write what comes next for claimed rows; one that was asked for again meanwhile only loses its lease.

    A row whose lease ran out and that another reader has now is left to that reader. Rows of ``wished`` are locked
    along with them, for who writes wishes behind this.
    """
    if not plans:
        return
    dialect = conn.dialect.name
    keys = {claim.key for claim in plans}
    found: dict[Object, Any] = {}
    # In key order, as apply takes them: deletes and updates one after the other would not be.
    for kind, ids in _by_kind(keys.union(wished)):
        rows = await conn.execute(_held(dialect), _ids(dialect, corpid, kind, ids))
        found |= {(kind, row.object_id): row for row in rows}
    mine = {key: row.version for key, row in found.items() if key in keys and row.leased_by == reader}
    unchanged = {claim.key: after for claim, after in plans.items() if mine.get(claim.key) == claim.version}
    for kind, ids in _by_kind(key for key, after in unchanged.items() if after is None):
        await conn.execute(_done(dialect), _ids(dialect, corpid, kind, ids))
    later = [
        {"corpid": corpid, "kind": key[0], "object_id": key[1]}
        | {name: getattr(after, name) for name in _NEXT}
        | {"leased_until": None, "leased_by": None}
        for key, after in sorted(unchanged.items(), key=lambda pair: pair[0])
        if after is not None
    ]
    await amend(conn, pending_read, later, (*_NEXT, "leased_until", "leased_by"))
    await release(conn, corpid, [key for key in mine if key not in unchanged], reader)


async def release(conn: AsyncConnection, corpid: str, objects: Iterable[Object], reader: str) -> None:
    """Give rows back as they are."""
    dialect = conn.dialect.name
    for kind, ids in _by_kind(objects):
        await conn.execute(_release(dialect), _ids(dialect, corpid, kind, ids) | {"reader": reader})


@cache
def _held(dialect: str) -> Select[Any]:
    t = pending_read.c
    rows = select(t.object_id, t.version, t.leased_by).where(
        *(t.corpid == bindparam("of_corpid"), t.kind == bindparam("of_kind"), among(dialect, t.object_id))
    )
    return rows if dialect == "sqlite" else rows.order_by(t.object_id).with_for_update()


@cache
def _done(dialect: str) -> Delete:
    return _these(dialect, delete(pending_read))


@cache
def _release(dialect: str) -> Update:
    released = _these(dialect, update(pending_read)).where(pending_read.c.leased_by == bindparam("reader"))
    return released.values(leased_until=None, leased_by=None)


async def release_all(conn: AsyncConnection) -> None:
    """End every lease: for a process that knows it is the only reader, after the one before it was killed."""
    await conn.execute(update(pending_read).values(leased_until=None, leased_by=None))


async def next_due(conn: AsyncConnection, corpid: str) -> datetime | None:
    """When the first row of the corp that nobody reads is due."""
    t = pending_read.c
    first = select(func.min(t.due_at)).where(t.corpid == corpid, t.leased_until.is_(None))
    found: datetime | None = (await conn.execute(first)).scalar_one()
    return found
