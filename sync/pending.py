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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import pending_read
from core.db.wishes import CUSTOMER, Wish, write_wishes
from sync.facts import Effect
from sync.objects.customers import Written

LEASE = timedelta(seconds=60)
CONFIRM_AFTER = timedelta(seconds=5)
# An answer that differs from one read so shortly before may be the older of the two.
SETTLED_AFTER = timedelta(seconds=60)
UNSEEN_LADDER = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 60, 600))
# Out of sight for longer than the whole ladder: more reads tell nothing, reconciliation decides.
UNSEEN_FOR_LONG = timedelta(minutes=30)
RECHECK = (timedelta(minutes=1), timedelta(hours=25))
BACKOFF_LIMIT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that this reader has for the time of its lease."""

    object_id: str
    version: int
    stage: str
    events: int
    attempts: int
    wanted_at: datetime
    recheck_at: datetime | None
    recheck_last_at: datetime | None


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
    recent = [since for since in written.unseen.values() if now - since < UNSEEN_FOR_LONG]
    step = claim.attempts if claim.stage == "unseen" else 0
    if recent and step < len(UNSEEN_LADDER):
        due_at = now + UNSEEN_LADDER[step]
        return Next("unseen", due_at, step + 1, "a relation is not listed", *rechecks, events=claim.events)
    confirm_at = claim.wanted_at + CONFIRM_AFTER
    just_read = written.previous_fetch is not None and now - written.previous_fetch < SETTLED_AFTER
    doubtful = claim.events > 1 or not written.changed or just_read
    # A read that came so late is itself the one that confirms.
    early = written.fetched_at is None or written.fetched_at < confirm_at
    if doubtful and early and (claim.stage == "first" or (claim.stage == "unseen" and not recent)):
        return Next("confirm", max(confirm_at, now), 0, "the API may have lagged", *rechecks)
    if left:
        return Next("recheck", left[0], 0, "transferred", *rechecks)
    return None


def postpone(claim: Claim, now: datetime, reason: str, wait: float | None = None) -> Next:
    """After a read without an answer: in ``wait`` seconds, or later and later (1 s to 10 min)."""
    delay = timedelta(seconds=wait) if wait is not None else timedelta(seconds=2.0 ** min(claim.attempts, 20))
    return Next(
        claim.stage,
        now + (delay if wait is not None else min(delay, BACKOFF_LIMIT)),
        # Steps of the ladder are not failures, and a failure is no step.
        claim.attempts if claim.stage == "unseen" or wait is not None else claim.attempts + 1,
        reason,
        claim.recheck_at,
        claim.recheck_last_at,
        claim.events,
    )


async def want(conn: AsyncConnection, dialect: str, corpid: str, effects: Sequence[Effect], now: datetime) -> None:
    """Fold the wishes of these events: one row per customer."""
    counts: Counter[str] = Counter(effect.customer for effect in effects if effect.customer is not None)
    transferred = {effect.customer for effect in effects if effect.transferred}
    again = [now + wait for wait in RECHECK]
    wishes = [
        Wish(customer, events, *(again if customer in transferred else ())) for customer, events in counts.items()
    ]
    await write_wishes(conn, dialect, corpid, wishes, now)


async def claim(
    conn: AsyncConnection, dialect: str, corpid: str, reader: str, limit: int, now: datetime
) -> list[Claim]:
    """Take up to ``limit`` due rows, the longest due first, for the time of a lease."""
    t = pending_read.c
    due = select(
        *(t.object_id, t.version, t.stage, t.events, t.attempts, t.wanted_at, t.recheck_at, t.recheck_last_at)
    ).where(
        t.corpid == corpid, t.kind == CUSTOMER, t.due_at <= now, or_(t.leased_until.is_(None), t.leased_until < now)
    )
    due = due.order_by(t.due_at).limit(limit)
    if dialect != "sqlite":
        due = due.with_for_update(skip_locked=True)
    claims = [Claim(*row) for row in await conn.execute(due)]
    if claims:
        await conn.execute(
            update(pending_read)
            .where(_is(corpid, [claim.object_id for claim in claims]))
            .values(leased_until=now + LEASE, leased_by=reader, read_at=now)
        )
    return claims


async def settle(conn: AsyncConnection, corpid: str, plans: Mapping[Claim, Next | None], reader: str) -> None:
    """Write what comes next for claimed rows; one that was asked for again meanwhile only loses its lease.

    A row whose lease ran out and that another reader has now is left to that reader.
    """
    t = pending_read.c
    same = and_(
        *(t.corpid == corpid, t.kind == CUSTOMER, t.object_id == bindparam("k_id")),
        *(t.version == bindparam("k_version"), t.leased_by == reader),
    )
    if plans and conn.dialect.name != "sqlite":
        # In key order, as apply takes them: deletes and updates one after the other would not be.
        rows = select(t.object_id).where(_is(corpid, [claim.object_id for claim in plans]))
        await conn.execute(rows.order_by(t.object_id).with_for_update())
    done = sorted(_version(claim) for claim, after in plans.items() if after is None)
    if done:
        await conn.execute(delete(pending_read).where(same), [dict(key) for key in done])
    later = sorted((_version(claim), after) for claim, after in plans.items() if after is not None)
    columns = ("stage", "due_at", "attempts", "reason", "recheck_at", "recheck_last_at", "events")
    if later:
        await conn.execute(
            update(pending_read)
            .where(same)
            .values({name: bindparam(f"v_{name}") for name in columns})
            .values(leased_until=None, leased_by=None),
            [dict(key) | {f"v_{name}": getattr(after, name) for name in columns} for key, after in later],
        )
    await release(conn, corpid, [claim.object_id for claim in plans], reader)


async def release(conn: AsyncConnection, corpid: str, object_ids: Sequence[str], reader: str) -> None:
    """Give rows back as they are."""
    await conn.execute(
        update(pending_read)
        .where(_is(corpid, object_ids), pending_read.c.leased_by == reader)
        .values(leased_until=None, leased_by=None)
    )


async def release_all(conn: AsyncConnection) -> None:
    """End every lease: for a process that knows it is the only reader, after the one before it was killed."""
    await conn.execute(update(pending_read).values(leased_until=None, leased_by=None))


async def next_due(conn: AsyncConnection, corpid: str) -> datetime | None:
    """When the first row of the corp that nobody reads is due."""
    t = pending_read.c
    first = select(func.min(t.due_at)).where(t.corpid == corpid, t.kind == CUSTOMER, t.leased_until.is_(None))
    found: datetime | None = (await conn.execute(first)).scalar_one()
    return found


def _is(corpid: str, object_ids: Sequence[str]) -> Any:
    t = pending_read.c
    return and_(t.corpid == corpid, t.kind == CUSTOMER, t.object_id.in_(sorted(object_ids)))


def _version(claim: Claim) -> tuple[tuple[str, Any], ...]:
    return (("k_id", claim.object_id), ("k_version", claim.version))
