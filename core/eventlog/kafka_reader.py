"""A reader of a topic that starts where the database says.

Kafka's group protocol decides who reads which partition; where reading starts is decided by ``Positions`` each time
that partitions come, and never by the group's offsets. Those are committed for whoever watches the lag (without
``Positions`` they are all there is).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from core.eventlog.base import Batch, Gap, LogError, LogUnavailable, PartitionLost, Positions, Record, Span
from core.eventlog.kafka_cluster import EARLIEST, LATEST
from core.eventlog.kafka_member import FORBIDDEN, Assignment, Member, Pace, Source
from core.runtime import cancelled_from_outside

_PAUSE = 1.0
_CALM = 3.0
_COMMIT_EVERY = 1.0


class PositionBeyondLog(LogError):
    """The database has applied more than the log holds: records were lost there. The message says what to do."""


class KafkaReader:
    """A ``Reader``. Made by ``KafkaLog.reader``."""

    def __init__(self, log: Source, group: str, positions: Positions | None, pace: Pace) -> None:
        self._log = log
        self._group = group
        self._positions = positions
        self._pace = pace
        self._log_id = log.log_id
        self._loop = asyncio.get_running_loop()
        self._member = Member(log, group, pace)
        self._next: dict[int, int] = {}
        self._reported: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._gaps: dict[int, Gap] = {}
        self._committing: asyncio.Task[None] | None = None
        self._beyond_since: dict[int, float] = {}
        self._stalled_since: float | None = None
        self._troubled_at: float | None = None

    @property
    def log_id(self) -> str:
        """See ``Reader``."""
        return self._log_id

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are this reader's own now."""
        return self._member.partitions

    def partitions_changed(self) -> None:
        """The topic has got more partitions, and they have to be shared out."""
        self._member.partitions_changed()

    async def join(self) -> None:
        """Become a member; returns when the first partitions are there, or after a while without."""
        self._member.start()
        await self._ready(self._loop.time() + self._pace.join)

    async def leave(self) -> None:
        """Commit what was reported and leave the group, within a bounded time."""
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.wait({self._committing})
        if not self._log.away:
            with suppress(PartitionLost):
                await self._commit()
        await self._member.stop()
        self._log.trouble(self._member, None)

    async def read(self, limit: int, wait: float) -> Batch:
        """See ``Reader``.

        Raises ``LogUnavailable`` when the topic was made anew, ``PositionBeyondLog``, and what ``Positions`` raise.
        """
        self._check_identity()
        self._member.check()
        deadline = self._loop.time() + wait
        while True:
            assignment = await self._ready(deadline)
            if assignment is not None:
                fetched = await self._fetch(limit, deadline)
                # What came while partitions moved is not ours to say anything about.
                if self._member.assignment is assignment and not self._member.leaving:
                    over = self._loop.time() >= deadline
                    if fetched or (over and self._gaps):
                        return self._batch(fetched)
            if self._loop.time() >= deadline:
                self._look_for_stall()
                return Batch()

    async def report(self, batch: Batch) -> None:
        """See ``Reader``. That the group's offsets can't be committed is no failure while there are ``Positions``."""
        self._check_identity()
        mine = self.partitions
        for partition, span in batch.spans.items():
            self._member.finished(partition, span.end)
            if partition in mine:
                self._reported[partition] = max(self._reported.get(partition, 0), span.end)
        if self._positions is None:
            await self._commit()
        elif self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._keep_committing(), name="kafka-commit")
        if lost := sorted(set(batch.spans) - mine):
            raise PartitionLost(f"partitions {lost} of {self._log.topic} belong to another reader of {self._group} now")

    async def rewind(self) -> None:
        """See ``Reader``."""
        self._check_identity()
        self._member.empty_handed()
        if (assignment := self._member.assignment) is not None:
            assignment.settled = False
            await self._settle(assignment)

    async def lag(self) -> Mapping[int, int]:
        """See ``Reader``. While no broker answers, what was known before."""
        mine = sorted(self.partitions & self._reported.keys())
        if mine and not self._log.away:
            with suppress(LogUnavailable):
                self._ends.update(await self._log.offsets(mine, LATEST))
        return {number: max(0, self._ends.get(number, 0) - self._reported.get(number, 0)) for number in mine}

    async def _ready(self, deadline: float) -> Assignment | None:
        """The partitions, when it is known where to read in them; None if that is not so by the deadline."""
        while True:
            assignment = self._member.assignment
            if self._member.leaving:
                # Whoever reads on has nothing in hand to wait for.
                self._member.empty_handed()
            elif assignment is not None and self._member.consumer is not None:
                if assignment.settled or await self._settle(assignment):
                    return assignment
                if self._loop.time() >= deadline:
                    return None
                await self._nap(deadline)
                continue
            if not await self._member.change(deadline):
                return None

    async def _settle(self, assignment: Assignment) -> bool:
        """Find out where to read on and go there; False if that can't be said now."""
        numbers = sorted(assignment.partitions)
        try:
            if self._positions is not None:
                found = dict(await self._positions.load(self._log_id, numbers))
            else:
                found = await self._member.committed(numbers)
            unknown = [number for number in numbers if number not in found]
            if unknown:
                found.update(await self._log.offsets(unknown, EARLIEST))
            if assignment is not self._member.assignment or self._member.consumer is None:
                return False
            for number in numbers:
                self._member.seek(number, found[number])
        except (LogUnavailable, KafkaError, TimeoutError):
            return False
        self._next = dict(found)
        self._reported = dict(found)
        self._committed.clear()
        self._gaps.clear()
        self._beyond_since.clear()
        self._stalled_since = None
        assignment.settled = True
        return True

    async def _fetch(self, limit: int, deadline: float) -> Mapping[Any, Any]:
        seconds = max(0.0, deadline - self._loop.time())
        try:
            # Bounded from outside too: while partitions move it waits for them without a limit.
            async with asyncio.timeout(seconds + 0.1):
                found: Mapping[Any, Any] = await self._member.consumer.getmany(
                    timeout_ms=int(seconds * 1000), max_records=limit
                )
        except TimeoutError:
            pass
        except NoOffsetForPartitionError:
            # It looked before the position was set.
            pass
        except asyncio.CancelledError:
            if cancelled_from_outside():
                raise
            self._member.rejoin("fetching was cancelled")
            await self._nap(deadline)
        except OffsetOutOfRangeError as error:
            await self._out_of_range([tp.partition for tp in error.args[0]], deadline)
        except (KafkaError, AssertionError) as error:
            self._member.tell(error)
            self._troubled_at = self._loop.time()
            if not isinstance(error, FORBIDDEN):
                self._member.rejoin(type(error).__name__)
            await self._nap(deadline)
        else:
            # One of several partitions may still fail a moment later.
            if self._troubled_at is not None and self._loop.time() - self._troubled_at > _CALM:
                self._troubled_at = None
                self._log.trouble(self._member, None)
            return found
        return {}

    async def _out_of_range(self, numbers: Iterable[int], deadline: float) -> None:
        """The log does not hold these positions: retention was faster, or records were lost."""
        numbers = [number for number in numbers if number in self.partitions]
        try:
            first = await self._log.offsets(numbers, EARLIEST)
            end = await self._log.offsets(numbers, LATEST)
        except LogUnavailable:
            await self._nap(deadline)
            return
        for number in numbers:
            wanted = self._next.get(number)
            if wanted is None or number not in self.partitions:
                continue
            goal = wanted
            if wanted < first[number]:
                goal = first[number]
                self._gaps[number] = Gap(number, wanted, goal)
            elif wanted > end[number]:
                await self._beyond(number, wanted, end[number], deadline)
            with suppress(IllegalStateError):
                self._member.seek(number, goal)

    async def _beyond(self, number: int, wanted: int, end: int, deadline: float) -> None:
        # A new leader may not know the end yet.
        since = self._beyond_since.setdefault(number, self._loop.time())
        if self._loop.time() - since < self._pace.beyond:
            self._log.trouble(self._member, f"partition {number} of {self._log.topic} ends before what was applied")
            self._troubled_at = self._loop.time()
            await self._nap(deadline)
            return
        self._check_identity()
        raise PositionBeyondLog(
            f"partition {number} of {self._log.topic} ends at {end}, but everything before {wanted} was applied: "
            "the topic has lost records. Restore it, or delete the rows of this topic from log_position: then "
            "everything in the topic is applied again, which does no harm, and only the lost records stay missing"
        )

    def _batch(self, fetched: Mapping[Any, Any]) -> Batch:
        records: list[Record] = []
        spans: dict[int, Span] = {}
        for tp, found in fetched.items():
            kept = [_record(item) for item in found if item.offset >= self._next[tp.partition]]
            if kept:
                records += kept
                spans[tp.partition] = Span(self._next[tp.partition], kept[-1].position + 1)
        gaps = list(self._gaps.values())
        for gap in gaps:
            self._log.lost()
            if gap.partition not in spans:
                spans[gap.partition] = Span(gap.wanted, gap.available)
        self._gaps.clear()
        for partition, span in spans.items():
            self._next[partition] = self._member.in_hand[partition] = span.end
            self._beyond_since.pop(partition, None)
        self._stalled_since = None
        return Batch(records, spans, gaps)

    def _look_for_stall(self) -> None:
        """Brokers answer, and still nothing comes: then the consumer is no good any more.

        Either records are there, or no partitions come, not even none: rebalances end long before that.
        """
        joined = self._member.assignment is not None
        waiting = any(self._ends.get(number, 0) > self._next.get(number, 0) for number in self.partitions)
        patience = self._pace.stall if joined else max(self._pace.stall, 2 * self._pace.session)
        if self._log.away:
            self._stalled_since = None
        elif not self._member.alive():
            self._member.rejoin("fetching ended")
        elif joined and not waiting:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = self._loop.time()
        elif self._loop.time() - self._stalled_since > patience:
            self._stalled_since = None
            self._member.rejoin("no progress" if joined else "no partitions")

    async def _nap(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, min(_PAUSE, deadline - self._loop.time())))

    async def _keep_committing(self) -> None:
        while self._uncommitted():
            with suppress(PartitionLost):
                await self._commit()
            await asyncio.sleep(_COMMIT_EVERY)

    def _uncommitted(self) -> dict[int, int]:
        mine = self.partitions
        return {n: end for n, end in self._reported.items() if n in mine and end > self._committed.get(n, -1)}

    async def _commit(self) -> None:
        """Raises ``PartitionLost`` if the group knows this member no longer."""
        if (wanted := self._uncommitted()) and await self._member.commit(wanted):
            self._committed.update(wanted)

    def _check_identity(self) -> None:
        if self._log.log_id != self._log_id:
            raise LogUnavailable("the topic was deleted and made anew: join again")


def _record(item: Any) -> Record:
    return Record(
        item.partition,
        item.offset,
        (item.key or b"").decode("utf-8", "replace"),
        item.value or b"",
        {name: (value or b"").decode("utf-8", "replace") for name, value in item.headers},
        item.timestamp,
    )
