"""From ingest's own log to the topic that everybody reads.

The relay is a reader of the delivery log as sync is one in the embedded mode: it interprets each delivery once,
publishes the record, and reports only what was confirmed. Whatever becomes of the topic (away, slow, refusing),
receiving goes on; the log keeps what waits. Order within a key is the order of arrival: after a failure the records
that were not confirmed are published again, and with them the later ones of the same keys.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.envelope import encode, interpret
from core.eventlog.base import Batch, EventLog, LogUnavailable, Reader, Record, RecordRefused
from core.eventlog.embedded import EmbeddedLog
from core.health import Component
from core.logs import get_logger
from core.metrics import Metrics
from core.runtime import stopped_within

_log = get_logger(__name__)

GROUP = "relay"
BATCH = 200
IDLE = 0.25
# Interpreting takes the loop's time, and callbacks are answered in the same loop.
_INTERPRETED_AT_ONCE = 20
_SLOW_AFTER = 3.0
_STANDS_AFTER = 30.0
_LONGEST_PAUSE = 5.0
_GRACE = 2.0


@dataclass(frozen=True, slots=True)
class Item:
    """One delivery as it is published."""

    delivery: Record
    key: str
    value: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StartAt:
    """``Positions`` for publishing again, from one position on."""

    position: int

    async def load(self, log_id: str, partitions: Sequence[int]) -> Mapping[int, int]:
        """That position, for every partition."""
        return dict.fromkeys(partitions, self.position)


class Relay:
    """Publishes deliveries. One per delivery log."""

    def __init__(
        self, source: EmbeddedLog, target: EventLog, metrics: Metrics, health: Component, parked: Path
    ) -> None:
        """``target`` should wait for brokers that are away rather than fail. What it refuses for good is written to
        the file ``parked``, one JSON document per line."""
        self._source = source
        self._target = target
        self._metrics = metrics
        self._health = health
        self._parked = parked
        self._reader: Reader | None = None
        self._again: int | None = None
        self.published = 0
        """Records confirmed by the target."""

    def again(self, position: int) -> None:
        """Have the running relay publish everything kept from ``position`` on once more."""
        self._again = position

    async def run(self, stopping: asyncio.Event) -> None:
        """Until told to stop. Raises ``ReaderChanged`` while sync has deliveries to apply in the embedded mode."""
        while not stopping.is_set():
            async with self._source.reader(GROUP) as reader:
                self._reader = reader
                self._health.ok()
                while not stopping.is_set() and self._again is None:
                    batch = await reader.read(BATCH, IDLE)
                    if not await self._relay(batch, stopping):
                        return
                    await reader.report(batch)
                    await self._measure()
            position, self._again = self._again, None
            if position is not None:
                _log.info("relay.again", position=position)
                await self.publish_again(position, stopping)

    async def publish_again(self, position: int, stopping: asyncio.Event) -> int:
        """Publish everything kept from ``position`` on once more, up to what is there now; returns how many records.

        Stopping cuts it short.
        """
        before = self.published
        oldest, reported = await self._source.kept(GROUP)
        # What was never published is the relay's own to publish, and must not be passed over.
        start = max(oldest, min(position, reported))
        async with self._source.reader(GROUP, StartAt(start)) as reader:
            missing = sum((await reader.lag()).values())
            while missing > 0 and (batch := await reader.read(BATCH, IDLE)):
                if not await self._relay(batch, stopping):
                    break
                await reader.report(batch)
                missing -= sum(span.end - span.begin for span in batch.spans.values())
        return self.published - before

    async def _measure(self) -> None:
        self._health.turned()
        if self._reader is not None:
            for partition, records in (await self._reader.lag()).items():
                self._metrics.log_lag.labels(GROUP, str(partition)).set(records)

    async def _relay(self, batch: Batch, stopping: asyncio.Event) -> bool:
        """Publish a batch, however long it takes; False if stopping came first."""
        for gap in batch.gaps:
            _log.error("log.gap", partition=gap.partition, missing=gap.available - gap.wanted)
        items = await _items(batch.records)
        pause = 0.5
        alone = False
        while items:
            items, failure = await self._attempt(items, stopping, alone=alone)
            if not items:
                break
            if stopping.is_set():
                return False
            # A batch is refused as a whole: one at a time, each is judged by itself.
            alone = isinstance(failure, RecordRefused)
            if not alone and failure is not None:
                self._health.waiting(str(failure))
                _log.warning("relay.waits", reason=str(failure), records=len(items), seconds=pause)
                await stopped_within(stopping, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        if batch.records and self._health.state != "ok":
            self._health.ok()
        return True

    async def _attempt(
        self, items: Sequence[Item], stopping: asyncio.Event, *, alone: bool
    ) -> tuple[list[Item], LogUnavailable | None]:
        """Publish; returns what has to be published again and why."""
        if not alone:
            return await self._all_at_once(items, stopping)
        for number, item in enumerate(items):
            left, failure = await self._all_at_once([item], stopping)
            if isinstance(failure, RecordRefused):
                await self._park(item, failure)
            elif left:
                return list(items[number:]), failure
        return [], None

    async def _all_at_once(
        self, items: Sequence[Item], stopping: asyncio.Event
    ) -> tuple[list[Item], LogUnavailable | None]:
        # Tasks begin in the order in which they are made, and the target keeps it.
        tasks = [asyncio.create_task(self._target.append(item.key, item.value, item.headers)) for item in items]
        try:
            await self._confirmed(tasks, stopping)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        failures: list[LogUnavailable] = []
        again: list[Item] = []
        keys: set[str] = set()
        done = 0
        for item, result in zip(items, results, strict=True):
            if result is None:
                done += 1
            elif isinstance(result, LogUnavailable):
                failures.append(result)
            elif not isinstance(result, asyncio.CancelledError):
                raise result
            if result is not None or item.key in keys:
                again.append(item)
                keys.add(item.key)
        self.published += done
        self._metrics.relayed_total.labels("published").inc(done)
        refused = next((failure for failure in failures if isinstance(failure, RecordRefused)), None)
        return again, refused or (failures[0] if failures else None)

    async def _confirmed(self, tasks: Iterable[asyncio.Task[None]], stopping: asyncio.Event) -> None:
        """Wait for all of them, saying so if it takes long; for a moment only once it has to stop."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        stopped_at: float | None = None
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=0.5)
            if done:
                began = loop.time()
            if stopping.is_set():
                stopped_at = stopped_at or loop.time()
                if loop.time() - stopped_at > _GRACE:
                    return
            await self._measure()
            seconds = loop.time() - began
            if waiting and seconds > _STANDS_AFTER:
                self._health.waiting(f"Kafka has confirmed nothing for {seconds:.0f} s")
            elif waiting and seconds > _SLOW_AFTER and self._health.state == "ok":
                self._health.degraded("Kafka is slow to confirm")

    async def _park(self, item: Item, failure: RecordRefused) -> None:
        """Set aside what can't ever be published, durably, so that the rest goes on."""
        line = {
            "position": item.delivery.position,
            "corpid": item.delivery.key,
            "headers": dict(item.delivery.headers),
            "received_at": item.delivery.appended_at,
            "reason": str(failure),
            "document": base64.b64encode(item.delivery.value).decode(),
        }
        await asyncio.to_thread(_append_line, self._parked, json.dumps(line, ensure_ascii=False))
        self._metrics.relayed_total.labels("parked").inc()
        _log.error(
            "relay.parked",
            corpid=item.delivery.key,
            position=item.delivery.position,
            bytes=len(item.value),
            reason=str(failure),
        )


async def _items(deliveries: Sequence[Record]) -> list[Item]:
    items: list[Item] = []
    for delivery in deliveries:
        envelope = interpret(delivery.key, delivery.headers.get("callback", ""), delivery.appended_at, delivery.value)
        headers = {"event": envelope.event, "change": envelope.change, "schema": str(envelope.schema)}
        items.append(Item(delivery, envelope.key, encode(envelope), headers))
        if len(items) % _INTERPRETED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return items


def _append_line(path: Path, line: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
