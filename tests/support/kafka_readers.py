"""Readers of a topic as sync is one: positions move with the effects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from core.eventlog.base import Batch, PartitionLost, Record
from core.eventlog.kafka import KafkaLog
from core.eventlog.kafka_member import Pace
from core.eventlog.kafka_reader import KafkaReader

# 6 s is the shortest session that a broker allows.
QUICK = Pace(session=6.0, heartbeat=0.3, drain=2.0, join=10.0, stall=1.0, beyond=0.3)


class Applied:
    """Positions as sync keeps them: moved with the effects, from where a batch began and from nowhere else."""

    def __init__(self) -> None:
        self.positions: dict[int, int] = {}
        self.records: list[Record] = []

    async def load(self, log_id: str, partitions: Sequence[int]) -> Mapping[int, int]:
        return {number: self.positions[number] for number in partitions if number in self.positions}

    def apply(self, batch: Batch) -> None:
        for number, span in batch.spans.items():
            if self.positions.get(number, span.begin) != span.begin:
                raise PartitionLost(f"{number} stands at {self.positions[number]}, not at {span.begin}")
        self.positions |= {number: span.end for number, span in batch.spans.items()}
        self.records += batch.records


async def fill(log: KafkaLog, count: int, *, keys: int = 20) -> None:
    await asyncio.gather(*(log.append(f"ww1:wm{n % keys}", b"%d" % n, {}) for n in range(count)))


async def apply_until(reader: KafkaReader, applied: Applied, count: int) -> None:
    async with asyncio.timeout(30):
        while len(applied.records) < count:
            await apply_once(reader, applied)


async def apply_once(reader: KafkaReader, applied: Applied) -> None:
    batch = await reader.read(50, 0.1)
    if not batch:
        return
    try:
        applied.apply(batch)
        await reader.report(batch)
    except PartitionLost:
        await reader.rewind()


async def reading(reader: KafkaReader) -> None:
    """Read on, as whoever has a reader does; what comes is thrown away."""
    while True:
        await reader.read(50, 0.1)
