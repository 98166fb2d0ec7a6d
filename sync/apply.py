"""The first loop: from the event log into the database, without a call to WeCom.

One transaction per batch: the position moves only if it still stands where the batch began, then come ledger, facts,
wishes to read and dead letters. So the database and its position are one: what a killed process had not committed is
read again, a restored backup replays by itself, and a batch of a reader that lost its partition fails as a whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import put
from core.db.engine import Database, as_moment, is_transient, name_of
from core.db.tables import contact_event, log_position
from core.envelope import UNDECODABLE, Envelope, EnvelopeUnreadable, decode, interpret
from core.eventlog.base import Batch, PartitionLost, Reader, Record
from core.health import Component
from core.logs import get_logger
from core.metrics import Metrics
from core.runtime import stopped_within
from sync.dead_letters import Ceiling, DeadLetter, set_aside
from sync.effects import Effect, EventUnusable, effect_of
from sync.told import write_effects

_log = get_logger(__name__)

BATCH = 1000
# So many at once are never a day's events: others wait behind them.
CROWD = 200
# Nothing is missed by it: a record wakes the reader. It bounds how long stopping waits for an idle reader.
IDLE = 0.25
# While events wait in line there is hardly ever none for so long.
GAP = 0.02
# Brokers are asked for it, and each batch would wait for their answer.
MEASURED_EVERY = 0.5
Decode = Callable[[Record], Envelope]


def decode_delivery(record: Record) -> Envelope:
    """A record of ingest's own log: the inner document as it came."""
    return interpret(record.key, record.headers.get("callback", ""), record.appended_at, record.value)


def decode_envelope(record: Record) -> Envelope:
    """A record of the topic: interpreted by the relay already. Raises ``EnvelopeUnreadable``."""
    return decode(record.value)


@dataclass(frozen=True, slots=True)
class Item:
    """A record with what it means; ``effect`` is None for what has to be set aside, with the reason."""

    record: Record
    corpid: str
    envelope: Envelope | None
    effect: Effect | None
    reason: str = ""

    @property
    def key(self) -> str:
        return self.envelope.key if self.envelope else f"{self.corpid}:{self.record.position}"


def read_item(record: Record, decode_record: Decode) -> Item:
    """Interpret one record; never raises for its content."""
    try:
        envelope = decode_record(record)
    except EnvelopeUnreadable as error:
        return Item(record, record.key.partition(":")[0], None, None, f"unreadable record: {error.reason}")
    if envelope.event == UNDECODABLE:
        return Item(record, envelope.corpid, envelope, None, f"undecodable: {envelope.reason}")
    try:
        return Item(record, envelope.corpid, envelope, effect_of(envelope))
    except EventUnusable as error:
        return Item(record, envelope.corpid, envelope, None, str(error))


class DatabasePositions:
    """How far each log has been applied, kept beside the effects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, log_id: str, partitions: Sequence[int]) -> Mapping[int, int]:
        async with self._database.read() as conn:
            rows = await conn.execute(
                select(log_position.c.partition, log_position.c.position).where(
                    log_position.c.log_id == log_id, log_position.c.partition.in_(partitions)
                )
            )
            return {row.partition: row.position for row in rows}


class Applier:
    """Applies what one reader brings, until it is told to stop."""

    def __init__(
        self,
        database: Database,
        decode: Decode,
        metrics: Metrics,
        health: Component,
        *,
        applied: Callable[[Iterable[str]], None],
        caught_up: Callable[[Iterable[str]], None] | None = None,
    ) -> None:
        """``applied`` is called with the corpids of every batch that was committed, ``caught_up`` with those of a crowd
        of events when nothing waits behind it any more.
        """
        self._database = database
        self._lock = _lock(database)
        self._decode = decode
        self._metrics = metrics
        self._health = health
        self._applied = applied
        self._caught_up = caught_up or applied
        self._crowded: set[str] = set()
        self._waiting_since: int | None = None
        self._measured_at = -MEASURED_EVERY
        metrics.log_oldest_seconds.labels("sync").set_function(self._oldest_seconds)
        self._undecodable = Ceiling(run=1000)
        self._failing = Ceiling(run=100, share=0.1)

    @property
    def behind(self) -> bool:
        """Whether events came in a crowd, and no end of it has been seen yet."""
        return bool(self._crowded)

    async def run(self, reader: Reader, stopping: asyncio.Event) -> None:
        """Read, apply, report. A database that is away is waited for; everything unexpected is raised."""
        delay = 0.0
        self._health.ok()
        while not stopping.is_set():
            try:
                batch = await reader.read(BATCH, GAP if self.behind else IDLE)
                if batch.records:
                    self._waiting_since = min(record.appended_at for record in batch.records)
                elif self.behind:
                    corpids, self._crowded = self._crowded, set()
                    self._caught_up(corpids)
                if batch:
                    await self._apply(batch, reader.log_id)
                    await reader.report(batch)
            except PartitionLost:
                _log.warning("apply.abandoned", reason="partition belongs to another reader")
                await self._rewind(reader, stopping)
                continue
            except Exception as error:
                if not is_transient(error):
                    raise
                delay = min(30.0, delay * 2 or 0.5)
                self._health.waiting(f"database: {name_of(error)}")
                _log.warning("apply.waits", error=name_of(error), seconds=delay)
                await stopped_within(stopping, delay)
                await self._rewind(reader, stopping)
                continue
            delay = 0.0
            if self._health.state != "ok":
                self._health.ok()
            await self._measure(reader)

    async def _measure(self, reader: Reader) -> None:
        self._health.turned()
        now = asyncio.get_running_loop().time()
        if now < self._measured_at + MEASURED_EVERY:
            return
        self._measured_at = now
        lag = await reader.lag()
        for partition, records in lag.items():
            self._metrics.log_lag.labels("sync", str(partition)).set(records)
        if not sum(lag.values()):
            self._waiting_since = None

    def _oldest_seconds(self) -> float:
        # Asked when somebody looks, so that it grows while a batch can't be applied.
        return 0.0 if self._waiting_since is None else max(0.0, time.time() - self._waiting_since / 1000)

    async def _rewind(self, reader: Reader, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await reader.rewind()
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("apply.waits", error=name_of(error), seconds=1.0)
                await stopped_within(stopping, 1.0)
            else:
                return

    async def _apply(self, batch: Batch, log_id: str) -> None:
        items = [read_item(record, self._decode) for record in batch.records]
        letters = [_letter(item, item.reason) for item in items if item.effect is None]
        # On copies: above a ceiling nothing is committed, and what was not committed was not counted.
        undecodable, failing = self._undecodable.copy(), self._failing.copy()
        for item in items:
            undecodable.note(item.effect is None)
        keys = _by_key(items)
        try:
            with self._metrics.apply_seconds.time():
                async with self._database.write() as conn:
                    now = await self._move(conn, log_id, batch)
                    await self._write(conn, items, now, more_to_come=len(items) >= CROWD)
                    await set_aside(conn, self._database.dialect, log_id, letters, now)
        except PartitionLost:
            raise
        except Exception as error:
            if is_transient(error):
                raise
            _log.warning("apply.redo", error=name_of(error))
            letters += await self._redo(batch, log_id, keys, failing)
            async with self._database.write() as conn:
                now = await self._move(conn, log_id, batch)
                await set_aside(conn, self._database.dialect, log_id, letters, now)
        else:
            for _ in keys:
                failing.note(False)
        self._undecodable, self._failing = undecodable, failing
        for gap in batch.gaps:
            # The log has counted it.
            _log.error("log.gap", partition=gap.partition, missing=gap.available - gap.wanted)
        self._count(items, letters)
        corpids = {item.corpid for item in items}
        if len(items) >= CROWD:
            self._crowded |= corpids
        self._applied(corpids)

    async def _redo(
        self, batch: Batch, log_id: str, keys: Mapping[str, Sequence[Item]], failing: Ceiling
    ) -> list[DeadLetter]:
        """Each key in a transaction of its own; the records of a key that still fails are to be set aside.

        What it commits is harmless if the batch is read again: facts, ledger and wishes may come twice.
        """
        letters: list[DeadLetter] = []
        for group in keys.values():
            try:
                async with self._database.write() as conn:
                    now = await self._hold(conn, log_id, batch)
                    await self._write(conn, group, now)
            except PartitionLost:
                raise
            except Exception as error:
                if is_transient(error):
                    raise
                # The class only: a driver's message may quote the row.
                letters += [_letter(item, f"can't be applied: {_root(error)}") for item in group]
                failing.note(True)
            else:
                failing.note(False)
        return letters

    async def _move(self, conn: AsyncConnection, log_id: str, batch: Batch) -> datetime:
        """Set the position behind the batch; raises ``PartitionLost`` if it does not stand where the batch began.

        Returns the time by the database's clock.
        """
        now = await self._hold(conn, log_id, batch)
        await put(conn, log_position, _positions(log_id, batch, now, behind=True), ("position", "updated_at"))
        return now

    async def _hold(self, conn: AsyncConnection, log_id: str, batch: Batch) -> datetime:
        """Leave the position where the batch began and lock it there; raises and returns likewise.

        All partitions at once, in their order: each statement is a wait for the server, in every batch.
        """
        stands, now = await self._locked(conn, log_id, sorted(batch.spans))
        if len(stands) < len(batch.spans):
            await put(conn, log_position, _positions(log_id, batch, now, behind=False))
            stands, _ = await self._locked(conn, log_id, sorted(batch.spans))
        for number, span in sorted(batch.spans.items()):
            if stands.get(number) != span.begin:
                raise PartitionLost(f"partition {number} is no longer at {span.begin}")
        return now

    async def _locked(
        self, conn: AsyncConnection, log_id: str, partitions: Sequence[int]
    ) -> tuple[dict[int, int], datetime]:
        values = {"log_id": log_id, "partitions": partitions}
        rows = (await conn.execute(self._lock, values)).all()
        now = as_moment(rows[0].now) if rows else await self._database.clock(conn)
        return {row.partition: row.position for row in rows}, now

    async def _write(
        self, conn: AsyncConnection, items: Sequence[Item], now: datetime, *, more_to_come: bool = False
    ) -> None:
        dialect = self._database.dialect
        ledger = {
            (item.corpid, item.envelope.event_id): _ledger_row(item.envelope, item.effect, now)
            for item in items
            if item.envelope is not None and item.effect is not None
        }
        if ledger:
            await put(conn, contact_event, [ledger[key] for key in sorted(ledger)])
        effects: dict[str, list[Effect]] = {}
        for item in items:
            if item.effect is not None and item.effect.known:
                effects.setdefault(item.corpid, []).append(item.effect)
        for corpid in sorted(effects):
            await write_effects(conn, dialect, corpid, effects[corpid], now, more_to_come=more_to_come)

    def _count(self, items: Sequence[Item], letters: Sequence[DeadLetter]) -> None:
        failed = {(letter.record.partition, letter.record.position) for letter in letters}
        for item in items:
            if item.effect is None or (item.record.partition, item.record.position) in failed:
                continue
            outcome = "applied" if item.effect.known else "unknown"
            if item.envelope is not None:
                self._metrics.count_event(item.envelope.event, item.envelope.change, outcome)
        for letter in letters:
            self._metrics.dead_letters_total.labels(letter.reason.partition(":")[0]).inc()
            _log.warning(
                "dead.letter",
                corpid=letter.corpid,
                position=letter.record.position,
                reason=letter.reason,
            )


def _lock(database: Database) -> Select[Any]:
    t = log_position.c
    rows = select(t.partition, t.position, database.clock_column().label("now")).where(
        t.log_id == bindparam("log_id"), t.partition.in_(bindparam("partitions", expanding=True))
    )
    return rows if database.dialect == "sqlite" else rows.order_by(t.partition).with_for_update()


def _positions(log_id: str, batch: Batch, now: datetime, *, behind: bool) -> list[dict[str, Any]]:
    return [
        {"log_id": log_id, "partition": number, "position": span.end if behind else span.begin, "updated_at": now}
        for number, span in sorted(batch.spans.items())
    ]


def _by_key(items: Iterable[Item]) -> dict[str, list[Item]]:
    keys: dict[str, list[Item]] = {}
    for item in items:
        if item.effect is not None:
            keys.setdefault(item.key, []).append(item)
    return keys


def _letter(item: Item, reason: str) -> DeadLetter:
    record, envelope = item.record, item.envelope
    if envelope is None:
        return DeadLetter(record, item.corpid, reason, record.value, record.appended_at)
    # The document as WeCom sent it, where the record only carries it.
    payload = record.value if envelope.raw is None else envelope.raw
    # One that no date can have may be the very reason.
    received_at = envelope.received_at if 0 <= envelope.received_at <= record.appended_at else record.appended_at
    return DeadLetter(record, item.corpid, reason, payload, received_at, envelope.event_id)


def _root(error: BaseException) -> str:
    return type(getattr(error, "orig", None) or error).__name__


def _ledger_row(event: Envelope, effect: Effect, now: datetime) -> dict[str, object]:
    return {
        "corpid": event.corpid,
        "event_id": event.event_id,
        "event": event.event,
        "change": event.change,
        "kind": event.kind,
        "object_id": event.object_id,
        "userid": event.userid,
        "happened_at": datetime.fromtimestamp(event.create_time, UTC),
        "received_at": datetime.fromtimestamp(event.received_at / 1000, UTC),
        "recorded_at": now,
        "detail": effect.detail,
        "callback": event.callback,
        "leaves": event.leaves,
        "outcome": "applied" if effect.known else "unknown",
    }
