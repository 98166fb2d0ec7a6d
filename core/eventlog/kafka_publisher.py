"""Appending to one topic: acks=all, idempotent, in the order of the calls, with a producer that is replaced when stuck.

Why idempotent, though every reader here is idempotent itself: a producer of aiokafka without it gives up a batch after
a while and goes on with the next one of the same partition, and then the order within a key is broken in the topic.
With it a batch is tried until it is in, so an outage of any length leaves the topic in order and without duplicates.
Its price: a batch that is refused, or that finds no leader for too long, uses up numbers that the broker never sees,
and from then on the broker refuses everything from that producer. So after any refusal, and when nothing was confirmed
for a while though the brokers are well, the producer is given up and a new one made; what waited in it was then perhaps
appended, and its callers are told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from core.eventlog.base import LogUnavailable, RecordRefused
from core.eventlog.kafka_clients import ask_for_metadata, stop_producer
from core.eventlog.kafka_cluster import LogForbidden, TopicMissing
from core.logs import get_logger
from core.metrics import Metrics

_log = get_logger(__name__)

_REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTimestampError, PolicyViolationError)
_FORBIDDEN = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
_LONGEST_PAUSE = 5.0
_GLANCE = 0.5
_CLOSED = "the event log is closed"


@dataclass(eq=False)
class _Lane:
    """One producer and the appends that wait in it."""

    producer: Any
    waiting: set[asyncio.Future[None]] = field(default_factory=set)
    progress_at: float = 0.0


class Publisher:
    """Appends records. Safe for many tasks; a cancelled append may still be delivered and disturbs no other."""

    def __init__(
        self,
        topic: str,
        options: Mapping[str, Any],
        metrics: Metrics,
        *,
        seconds: float | None,
        request_seconds: float,
    ) -> None:
        """``options`` are for the producer.

        An append fails after ``seconds`` without confirmation; None: it waits as long as the brokers are away.
        ``request_seconds`` is how long one request may take before it is sent again.
        """
        self._topic = topic
        self._options = dict(options)
        self._metrics = metrics
        self._seconds = seconds
        self._request_ms = int(request_seconds * 1000)
        self._order = asyncio.Lock()
        self._lane: asyncio.Future[_Lane] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._closing = False
        self._appends = 0
        self._quiet = asyncio.Event()
        self._hopeful = asyncio.Event()
        self.refused: LogUnavailable | None = None
        """Why nothing can be appended at the moment, as far as the cluster knows; set from outside."""
        self.replaced = 0
        """Producers that were given up."""

    async def append(self, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See ``EventLog``. Raises ``RecordRefused`` if Kafka won't ever take this record."""
        if self._closing:
            raise LogUnavailable(_CLOSED)
        self._appends += 1
        self._quiet.clear()
        try:
            async with asyncio.timeout(self._seconds):
                await (await self._send(key, value, headers))
        except TimeoutError:
            raise LogUnavailable(f"no broker confirmed it within {self._seconds:g} s; it may be in the log") from None
        finally:
            self._appends -= 1
            if not self._appends:
                self._quiet.set()

    def check(self, seconds: float) -> None:
        """Give up the producer if it confirmed nothing for ``seconds`` though something waits in it.

        To be called while the brokers are well only.
        """
        lane = self._current()
        if lane is None or not lane.waiting:
            return
        if asyncio.get_running_loop().time() - lane.progress_at > seconds:
            self._replace(lane, LogUnavailable(f"the producer got nowhere for {seconds:.0f} s; it may be in the log"))

    def forgive(self) -> None:
        """So far it was not the producer's fault: brokers were away, or a partition had no leader."""
        self._hopeful.set()
        lane = self._current()
        if lane is not None:
            lane.progress_at = asyncio.get_running_loop().time()

    def partitions_changed(self) -> None:
        """Ask for the partitions anew, instead of within half a minute."""
        if (lane := self._current()) is not None:
            ask_for_metadata(lane.producer.client)

    async def close(self, seconds: float) -> None:
        """Wait up to ``seconds`` for what is being appended, then give it up."""
        self._closing = True
        if self._appends:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._quiet.wait()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        closed = LogUnavailable(_CLOSED)
        if lane := self._current():
            self._retire(lane, closed, seconds=1.0 if not self._appends else 0.0)
        elif self._lane is not None and not self._lane.done():
            self._lane.set_exception(closed)
            self._lane.exception()
        if self._stopping:
            await asyncio.wait(self._stopping)

    async def _send(self, key: str, value: bytes, headers: Mapping[str, str]) -> asyncio.Future[None]:
        # One at a time, so that records are queued in the order in which they were given.
        async with self._order:
            lane = await self._ready()
            pairs = [(name, text.encode()) for name, text in headers.items()]
            loop = asyncio.get_running_loop()
            if not lane.waiting:
                lane.progress_at = loop.time()
            sent = await self._queued(lane.producer, key.encode(), value, pairs)
        told: asyncio.Future[None] = loop.create_future()
        lane.waiting.add(told)
        sent.add_done_callback(partial(self._confirmed, lane, told))
        return told

    async def _queued(
        self, producer: Any, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> asyncio.Future[Any]:
        """What tells of its delivery. Errors come before it was queued, so the producer is as good as before."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._request_ms / 1000
        # Here and not in ``send``, whose wait for them never ends if the producer is stopped meanwhile.
        while producer.client.cluster.partitions_for_topic(self._topic) is None:
            if self.refused is not None:
                raise self.refused
            if loop.time() > until:
                raise LogUnavailable("no broker names the partitions of the topic")
            try:
                async with asyncio.timeout(_GLANCE):
                    await producer.partitions_for(self._topic)
            except KafkaError as error:
                raise _explained(error) from error
            except TimeoutError:
                pass
        while True:
            try:
                sent: asyncio.Future[Any] = await producer.send(self._topic, value, key, headers=headers)
            except KafkaTimeoutError:
                # The queue of its partition is full, as it should be while no broker takes anything.
                continue
            except KafkaError as error:
                raise _explained(error) from error
            else:
                return sent

    def _confirmed(self, lane: _Lane, told: asyncio.Future[None], sent: asyncio.Future[Any]) -> None:
        lane.waiting.discard(told)
        lane.progress_at = asyncio.get_running_loop().time()
        error = None if sent.cancelled() else sent.exception()
        if error is not None:
            self._replace(lane, LogUnavailable("the producer was given up; it may be in the log"))
        if told.done():
            return
        if error is not None or sent.cancelled():
            told.set_exception(_explained(error) if error is not None else LogUnavailable(_CLOSED))
        else:
            told.set_result(None)

    def _current(self) -> _Lane | None:
        lane = self._lane
        return lane.result() if lane is not None and lane.done() and lane.exception() is None else None

    async def _ready(self) -> _Lane:
        """The producer, waited for; not while the cluster says that it is of no use."""
        while True:
            if self.refused is not None:
                raise self.refused
            lane = self._opened()
            if not lane.done():
                await asyncio.wait({lane}, timeout=_GLANCE)
            if lane.done():
                return lane.result()

    def _opened(self) -> asyncio.Future[_Lane]:
        if self._lane is None:
            self._lane = asyncio.get_running_loop().create_future()
            self._starting = asyncio.create_task(self._start(self._lane), name="kafka-producer-start")
        return self._lane

    async def _start(self, lane: asyncio.Future[_Lane]) -> None:
        """Until it is there: starting fails while no broker answers."""
        pause = 0.1
        while True:
            producer = AIOKafkaProducer(
                acks="all",
                enable_idempotence=True,
                request_timeout_ms=self._request_ms,
                metadata_max_age_ms=30_000,
                **self._options,
            )
            try:
                async with asyncio.timeout(self._request_ms / 1000):
                    await producer.start()
            except BaseException as error:
                await stop_producer(producer, 0.0)
                if not isinstance(error, Exception):
                    raise
                if not isinstance(error, KafkaConnectionError | OSError | TimeoutError):
                    # It answered and refused, or it is a fault: whoever appends has to hear of it.
                    self._lane = None
                    lane.set_exception(_explained(error))
                    return
            else:
                lane.set_result(_Lane(producer, progress_at=asyncio.get_running_loop().time()))
                return
            self._hopeful.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hopeful.wait()
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _replace(self, lane: _Lane, reason: LogUnavailable) -> None:
        if self._current() is lane:
            self.replaced += 1
            self._metrics.producers_replaced_total.inc()
            _log.warning("kafka.producer_replaced", waiting=len(lane.waiting))
            self._retire(lane, reason, seconds=0.0)

    def _retire(self, lane: _Lane, reason: LogUnavailable, *, seconds: float) -> None:
        self._lane = None
        for told in lane.waiting:
            if not told.done():
                told.set_exception(reason)
                # Whoever gave up does not look.
                told.exception()
        lane.waiting.clear()
        task = asyncio.create_task(stop_producer(lane.producer, seconds), name="kafka-producer-stop")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


def _explained(error: BaseException) -> LogUnavailable:
    name = type(error).__name__
    if isinstance(error, _REFUSED):
        return RecordRefused(f"Kafka refuses the record: {name}")
    if isinstance(error, _FORBIDDEN):
        return LogForbidden(f"this client may not write to the topic: {name}")
    if isinstance(error, UnknownTopicOrPartitionError):
        return TopicMissing("the topic is gone: make it with wecom-crm topics create")
    return LogUnavailable(f"Kafka did not confirm the record: {name}; it may be in the log")
