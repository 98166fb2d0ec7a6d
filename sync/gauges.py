"""How much waits to be read, for metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy import case, func, select

from core.db.engine import Database, is_transient
from core.db.tables import pending_read
from core.metrics import Metrics
from core.runtime import stopped_within

EVERY = 5.0


async def measure_pending(database: Database, metrics: Metrics, corpids: Sequence[str]) -> None:
    """Set the gauges of pending reads once."""
    t = pending_read.c
    async with database.read() as conn:
        now = await database.clock(conn)
        # What somebody looks at is due in the past, so that it comes first.
        due_at = case((t.due_at < t.wanted_at, t.wanted_at), else_=t.due_at)
        found = await conn.execute(select(t.corpid, func.count(), func.min(due_at)).group_by(t.corpid))
        rows = {row[0]: (row[1], row[2]) for row in found}
    for corpid in corpids:
        count, oldest = rows.get(corpid, (0, None))
        metrics.pending_reads.labels(corpid).set(count)
        overdue = (now - oldest).total_seconds() if oldest is not None else 0.0
        metrics.pending_oldest_seconds.labels(corpid).set(max(0.0, overdue))


async def keep_measuring(database: Database, metrics: Metrics, corpids: Sequence[str], stopping: asyncio.Event) -> None:
    """Set them again and again until told to stop; a database that is away leaves them as they are."""
    while not stopping.is_set():
        try:
            await measure_pending(database, metrics, corpids)
        except Exception as error:
            if not is_transient(error):
                raise
        await stopped_within(stopping, EVERY)
