"""Being a member of a consumer group: one consumer after the other, and which partitions are ours.

What is known about a rebalance is kept here; where reading starts and what was read is the reader's
(``kafka_reader``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from core.eventlog.base import PartitionLost
from core.eventlog.kafka_clients import ask_for_metadata, is_fetching, stop_consumer
from core.logs import get_logger
from core.runtime import cancelled_from_outside

_log = get_logger(__name__)

_BOUND = 5.0
_PAUSE = 1.0
# A member that does not read for so long is shut out of its group by aiokafka, and one without partitions never gets
# back in. Whether a reader is stuck is for the health of its service to say.
_NEVER_MS = 7 * 86_400_000
FORBIDDEN = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of a reader, in seconds.

    ``session``: a member that is silent for so long loses its partitions. ``drain``: how long a rebalance waits for the
    batch in hand. ``join``: how long joining waits for partitions before reading begins without them. ``stall``: after
    so long without progress, with records there, the consumer is made anew. ``beyond``: how long a log that is shorter
    than what was applied may take to show the rest.
    """

    session: float = 15.0
    heartbeat: float = 3.0
    drain: float = 5.0
    join: float = 10.0
    stall: float = 30.0
    beyond: float = 15.0


class Source(Protocol):
    """What a reader needs of its log."""

    topic: str
    options: Mapping[str, Any]

    @property
    def log_id(self) -> str:
        """Identity of the topic as it is now."""
        ...

    @property
    def away(self) -> bool:
        """Whether no broker answers."""
        ...

    async def offsets(self, partitions: Iterable[int], which: int) -> dict[int, int]:
        """See ``Cluster.offsets``."""
        ...

    def trouble(self, part: object, reason: str | None) -> None:
        """Say in health what ``part`` waits for; None: nothing any more."""
        ...

    def lost(self) -> None:
        """Count a stretch of records that is gone before it was read."""
        ...


@dataclass(eq=False)
class Assignment:
    """Partitions from one rebalance to the next; ``settled`` when it is known where reading starts in them."""

    partitions: frozenset[int]
    settled: bool = False


class Member:
    """One member of ``group``. ``consumer`` is for reading only while ``assignment`` is there and not ``leaving``."""

    def __init__(self, log: Source, group: str, pace: Pace) -> None:
        self._log = log
        self._group = group
        self._pace = pace
        self._consumer: Any = None
        self._empty_handed = asyncio.Event()
        self._changed = asyncio.Event()
        self._broken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._committing: set[asyncio.Task[None]] = set()
        self.assignment: Assignment | None = None
        self.leaving = False
        """Partitions are about to go: what is in hand may be finished, nothing more is read."""
        self.in_hand: dict[int, int] = {}
        """Per partition the end of what was read and not reported."""

    @property
    def consumer(self) -> Any:
        """The consumer once it has joined; None in between."""
        return self._consumer

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are ours now."""
        return self.assignment.partitions if self.assignment is not None else frozenset()

    def start(self) -> None:
        """Begin to join, and to join again whenever that is needed."""
        self._task = asyncio.create_task(self._keep_joined(), name=f"kafka-member:{self._group}")

    async def stop(self) -> None:
        """Leave the group, within a bounded time."""
        self.empty_handed()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def check(self) -> None:
        """Raise what ended joining for good, a fault of ours."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def change(self, deadline: float) -> bool:
        """Wait for partitions to come; False when the deadline (in the loop's time) came first."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def empty_handed(self) -> None:
        """What was in hand is finished or given up."""
        self.in_hand.clear()
        self._empty_handed.set()

    def finished(self, partition: int, end: int) -> None:
        """Everything read of this partition below ``end`` has taken effect."""
        if self.in_hand.get(partition, 0) <= end:
            self.in_hand.pop(partition, None)
        if not self.in_hand:
            self._empty_handed.set()

    def rejoin(self, reason: str) -> None:
        """Go on with a new consumer."""
        if not self._broken.is_set():
            _log.warning("kafka.rejoins", group=self._group, reason=reason)
            self._broken.set()

    def partitions_changed(self) -> None:
        """Ask for the partitions anew, instead of within half a minute; the group then shares them out."""
        if self._consumer is not None:
            ask_for_metadata(self._consumer._client)

    def alive(self) -> bool:
        """Whether the consumer still fetches."""
        return self._consumer is None or is_fetching(self._consumer)

    def seek(self, partition: int, position: int) -> None:
        """Read on from there. Raises ``IllegalStateError`` if the partition has just gone."""
        self._consumer.seek(TopicPartition(self._log.topic, partition), position)

    async def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """The group's own offsets. Raises ``KafkaError`` or ``TimeoutError``."""
        found: dict[int, int] = {}
        async with asyncio.timeout(_BOUND):
            for number in partitions:
                offset = await self._consumer.committed(TopicPartition(self._log.topic, number))
                if offset is not None:
                    found[number] = offset
        return found

    async def commit(self, offsets: Mapping[int, int]) -> bool:
        """Set the group's offsets; False if that could not be done now, which matters to the lag only.

        Raises ``PartitionLost`` if the group knows this member no longer.
        """
        consumer = self._consumer
        if consumer is None:
            return False
        # One at a time: none is given up before its consumer is, and while a broker hangs they would pile up.
        if self._committing and (await asyncio.wait(self._committing, timeout=_BOUND))[1]:
            return False
        wanted = {TopicPartition(self._log.topic, number): end for number, end in offsets.items()}
        # Not to be cancelled: the request inside would go on, and nobody would hear of its failure.
        committing = asyncio.create_task(consumer.commit(wanted), name="kafka-commit-offsets")
        self._committing.add(committing)
        committing.add_done_callback(self._committed)
        done, _ = await asyncio.wait({committing}, timeout=_BOUND)
        if not done or committing.cancelled():
            return False
        try:
            committing.result()
        except (CommitFailedError, IllegalStateError) as error:
            raise PartitionLost(f"group {self._group} has given its partitions to others") from error
        except KafkaError:
            return False
        return True

    def _committed(self, committing: asyncio.Task[None]) -> None:
        self._committing.discard(committing)
        if not committing.cancelled():
            # Who asked may have stopped waiting for it; nobody else is to hear of a failure then.
            committing.exception()

    def tell(self, error: BaseException) -> None:
        """Say in health why nothing is read."""
        if isinstance(error, FORBIDDEN):
            what = "topic" if isinstance(error, TopicAuthorizationFailedError) else f"group {self._group}"
            self._log.trouble(self, f"this client may not read the {what}")
        else:
            self._log.trouble(self, f"reading fails: {type(error).__name__}")

    async def _keep_joined(self) -> None:
        while True:
            consumer = AIOKafkaConsumer(
                group_id=self._group,
                enable_auto_commit=False,
                # Reading would go on somewhere else, and nobody would hear of it.
                auto_offset_reset="none",
                session_timeout_ms=int(self._pace.session * 1000),
                heartbeat_interval_ms=int(self._pace.heartbeat * 1000),
                max_poll_interval_ms=_NEVER_MS,
                metadata_max_age_ms=30_000,
                # Joining is answered when all others have joined or were given up.
                request_timeout_ms=int(self._pace.session * 1000) + 5_000,
                **self._log.options,
            )
            consumer.subscribe([self._log.topic], listener=_Listener(self))
            self._broken.clear()
            try:
                async with asyncio.timeout(self._pace.stall):
                    await consumer.start()
                self._consumer = consumer
                self._changed.set()
                self._log.trouble(self, None)
                await self._broken.wait()
            except TimeoutError:
                pass
            except (KafkaError, OSError) as error:
                self.tell(error)
            except asyncio.CancelledError:
                # The client cancels what it waits for itself when a connection breaks at a bad moment.
                if cancelled_from_outside():
                    raise
            finally:
                self._consumer = None
                self._gone()
                await stop_consumer(consumer, 0.2 if self._log.away else _BOUND, self._committing)
            await asyncio.sleep(_PAUSE)

    # Called by the group's coordination, which stands still meanwhile: nothing in here may wait for the consumer.

    async def _revoked(self) -> None:
        self.leaving = True
        self._empty_handed.clear()
        if self.in_hand:
            try:
                async with asyncio.timeout(self._pace.drain):
                    await self._empty_handed.wait()
            except TimeoutError:
                _log.warning("kafka.unfinished", group=self._group, partitions=sorted(self.in_hand))
        self._gone()

    def _gone(self) -> None:
        self.leaving = False
        self.assignment = None
        self.empty_handed()

    def _assigned(self, partitions: frozenset[int]) -> None:
        self.leaving = False
        self.assignment = Assignment(partitions)
        self._changed.set()
        _log.info("kafka.assigned", group=self._group, partitions=sorted(partitions))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, member: Member) -> None:
        self._member = member

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        await self._member._revoked()

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._member._assigned(frozenset(tp.partition for tp in assigned))
