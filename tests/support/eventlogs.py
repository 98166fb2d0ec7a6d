"""What the contract suite of the event log needs of each implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from core.eventlog.base import Batch, EventLog, Reader, Record, Span
from core.eventlog.embedded import EmbeddedLog
from core.eventlog.kafka import KafkaLog
from tests.support.kafka_topics import create_topic, delete_records, kafka_settings


class Backend(Protocol):
    """One place that holds logs of one kind."""

    async def open(self) -> EventLog:
        """The same log each time: as a process does that starts again."""
        ...

    async def open_another(self) -> EventLog:
        """A new, empty log."""
        ...

    async def remove_before(self, log: EventLog, partition: int, position: int) -> EventLog:
        """Have the log's retention remove every record below a position that was reported.

        Returns the log to go on with.
        """
        ...


class EmbeddedBackend:
    """Files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logs = 0

    async def open(self) -> EventLog:
        return await EmbeddedLog.open(self._folder / "log.sqlite")

    async def open_another(self) -> EventLog:
        self._logs += 1
        return await EmbeddedLog.open(self._folder / f"other-{self._logs}.sqlite")

    async def remove_before(self, log: EventLog, partition: int, position: int) -> EventLog:
        await log.close()
        # To be kept for less than no time; the first report of an open log looks for what is old.
        log = await EmbeddedLog.open(self._folder / "log.sqlite", keep_seconds=-3600)
        async with log.reader("crm-sync") as reader:
            await reader.report(Batch(spans={partition: Span(position - 1, position)}))
        return log


class KafkaBackend:
    """Topics of a real broker."""

    def __init__(self, address: str, topic: str) -> None:
        self._address = address
        self._topic = topic
        self._made = False
        self._logs = 0

    async def open(self) -> KafkaLog:
        if not self._made:
            await create_topic(self._address, self._topic)
            self._made = True
        return await self._open(self._topic)

    async def open_another(self) -> KafkaLog:
        self._logs += 1
        topic = f"{self._topic}-{self._logs}"
        await create_topic(self._address, topic)
        return await self._open(topic)

    async def remove_before(self, log: EventLog, partition: int, position: int) -> EventLog:
        await delete_records(self._address, self._topic, partition, position)
        return log

    async def _open(self, topic: str) -> KafkaLog:
        log = KafkaLog(kafka_settings(self._address, topic))
        await log.identified(10)
        return log


class FixedPositions:
    """``Positions`` as a plain table."""

    def __init__(self, positions: Mapping[int, int] | None = None) -> None:
        self.positions = dict(positions or {})

    async def load(self, log_id: str, partitions: Sequence[int]) -> Mapping[int, int]:
        return {partition: self.positions[partition] for partition in partitions if partition in self.positions}


async def read_all(reader: Reader, count: int, *, report: bool = False, limit: int = 100) -> list[Record]:
    """Read until ``count`` records have come. Raises ``TimeoutError`` if they never do."""
    records: list[Record] = []
    # Longer than a consumer is given before it is made anew.
    async with asyncio.timeout(90):
        while len(records) < count:
            batch = await reader.read(limit, 1.0)
            records += batch.records
            if batch and report:
                await reader.report(batch)
    return records


def values(records: Iterable[Record]) -> list[bytes]:
    return [record.value for record in records]
