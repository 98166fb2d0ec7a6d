"""The event log on Kafka: one topic.

Everything the brokers are asked goes through three parts: ``kafka_publisher`` appends, ``kafka_reader`` reads as a
member of a group, ``kafka_cluster`` looks every few seconds which topic it is and whether somebody answers, because
aiokafka's clients say neither: to them brokers that are away look like a topic in which nothing happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from core.eventlog.base import LogUnavailable, Positions
from core.eventlog.kafka_chatter import quieten
from core.eventlog.kafka_cluster import (
    CLIENT,
    NO_LEADER,
    Cluster,
    LogForbidden,
    TopicMissing,
    TopicView,
    client_options,
)
from core.eventlog.kafka_member import Pace
from core.eventlog.kafka_publisher import Publisher
from core.eventlog.kafka_reader import KafkaReader
from core.health import Component
from core.logs import get_logger
from core.metrics import Metrics
from core.settings import KafkaSettings

_log = get_logger(__name__)

APPEND_SECONDS = 15.0
WEDGED_SECONDS = 30.0
_LOOK_EVERY = 2.0
_LOOK_AGAIN = 0.5
_CLOSES_WITHIN = 3.0


class KafkaLog:
    """An ``EventLog`` in a topic. It may be made while no broker answers; ``identified`` waits for one."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        append_seconds: float | None = APPEND_SECONDS,
        wedged_seconds: float = WEDGED_SECONDS,
        request_seconds: float = 10.0,
        pace: Pace | None = None,
        health: Component | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """``append_seconds`` bounds one append; None: it waits for brokers that are away, however long.

        A producer that confirms nothing for ``wedged_seconds`` though the brokers are well is replaced.
        ``health`` shows what is waited for.
        """
        self.topic = settings.topic
        self.options: Mapping[str, Any] = {
            "bootstrap_servers": settings.bootstrap_servers,
            "client_id": CLIENT,
            **client_options(settings),
        }
        self._chatter = quieten()
        self._cluster = Cluster(settings)
        self._metrics = metrics or Metrics()
        self._publisher = Publisher(
            settings.topic, self.options, self._metrics, seconds=append_seconds, request_seconds=request_seconds
        )
        self._wedged_seconds = wedged_seconds
        self._pace = pace or Pace()
        self._health = health
        self._view: TopicView | None = None
        self._looked = asyncio.Condition()
        self._failure: LogUnavailable | None = None
        self._away_since: float | None = None
        self._kept_back = 0
        self._troubles: dict[object, str] = {}
        self._readers: set[KafkaReader] = set()
        self._closed: asyncio.Task[None] | None = None
        self._looking = asyncio.create_task(self._keep_looking(), name="kafka-look")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def log_id(self) -> str:
        """See ``EventLog``. Raises ``LogUnavailable`` as long as no broker has told it."""
        if self._view is None:
            raise self._failure or LogUnavailable("no broker was asked yet")
        return self._view.log_id

    @property
    def view(self) -> TopicView | None:
        """The topic as it was described last."""
        return self._view

    @property
    def away(self) -> bool:
        """Whether no broker answers, or none that knows the topic."""
        return self._failure is not None

    @property
    def producers_replaced(self) -> int:
        """Producers that were given up since this log was made."""
        return self._publisher.replaced

    async def identified(self, seconds: float) -> str:
        """The ``log_id``, waited for. Raises ``TopicMissing`` and ``LogForbidden`` at once, ``LogUnavailable`` then."""
        try:
            async with asyncio.timeout(seconds), self._looked:
                await self._looked.wait_for(lambda: self._view is not None or self._refusal is not None)
        except TimeoutError:
            raise self._failure or LogUnavailable(f"no broker answers within {seconds:.0f} s") from None
        if self._refusal is not None:
            raise self._refusal
        return self.log_id

    @property
    def _refusal(self) -> LogUnavailable | None:
        """What waiting alone can't help, and a human has to."""
        return self._failure if isinstance(self._failure, TopicMissing | LogForbidden) else None

    async def append(self, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See ``EventLog``. Raises ``RecordRefused`` for a record that Kafka will never take."""
        await self._publisher.append(key, value, headers)

    @asynccontextmanager
    async def reader(self, group: str, positions: Positions | None = None) -> AsyncIterator[KafkaReader]:
        """See ``EventLog``. Raises ``TopicMissing``, ``LogForbidden``, ``LogUnavailable`` if no broker answers."""
        if self._closed is not None:
            raise LogUnavailable("the event log is closed")
        await self.identified(self._pace.join)
        reader = KafkaReader(self, group, positions, self._pace)
        self._readers.add(reader)
        try:
            await reader.join()
            yield reader
        finally:
            self._readers.discard(reader)
            await reader.leave()

    async def close(self) -> None:
        """See ``EventLog``. What no broker confirms within a few seconds is given up."""
        if self._closed is None:
            self._closed = asyncio.create_task(self._close(), name="kafka-close")
        await asyncio.shield(self._closed)

    async def _close(self) -> None:
        await self._publisher.close(_CLOSES_WITHIN if not self.away else 0.0)
        self._looking.cancel()
        await asyncio.wait({self._looking})
        await self._cluster.close()

    async def offsets(self, partitions: Iterable[int], which: int) -> dict[int, int]:
        """See ``Cluster.offsets``."""
        if self._view is None:
            raise self._failure or LogUnavailable("no broker was asked yet")
        return await self._cluster.offsets(self.topic, self._view, partitions, which)

    def trouble(self, part: object, reason: str | None) -> None:
        """Say in health what ``part`` waits for; None: nothing any more."""
        if reason is None:
            self._troubles.pop(part, None)
        else:
            self._troubles[part] = reason
        self._show()

    def lost(self) -> None:
        """Count a stretch of records that is gone before it was read."""
        self._metrics.log_gaps_total.inc()

    async def _keep_looking(self) -> None:
        missed = False
        while True:
            try:
                view = await self._cluster.look(self.topic)
                missed = False
            except TopicMissing as error:
                # A broker that has just started, or a topic that was just made: not believed at the first time.
                if not missed:
                    missed = True
                    await asyncio.sleep(_LOOK_AGAIN)
                    continue
                self._unwell(error)
            except LogUnavailable as error:
                self._unwell(error)
            except Exception as error:
                # Not known, so it must not end the looking.
                _log.exception("kafka.look_failed", topic=self.topic)
                self._unwell(LogUnavailable(f"looking at the topic failed: {type(error).__name__}"))
            else:
                self._well(view)
            async with self._looked:
                self._looked.notify_all()
            await asyncio.sleep(_LOOK_EVERY if self._failure is None else _LOOK_EVERY / 2)

    def _well(self, view: TopicView) -> None:
        loop = asyncio.get_running_loop()
        if self._view is not None and self._view.log_id != view.log_id:
            _log.error("kafka.topic_replaced", topic=self.topic)
        elif self._view is not None and len(self._view.partitions) != len(view.partitions):
            _log.warning("kafka.partitions_changed", topic=self.topic, partitions=len(view.partitions))
            self._publisher.partitions_changed()
            for reader in self._readers:
                reader.partitions_changed()
        self._view = view
        self._publisher.refused = None
        leaders = all(partition.leader != NO_LEADER for partition in view.partitions.values())
        if self._away_since is not None:
            kept_back, self._kept_back = self._chatter.kept_back - self._kept_back, self._chatter.kept_back
            seconds = round(loop.time() - self._away_since, 1)
            _log.info("kafka.back", topic=self.topic, seconds=seconds, client_lines=kept_back)
            self._away_since = None
            self._publisher.forgive()
        elif leaders:
            self._publisher.check(self._wedged_seconds)
        else:
            self._publisher.forgive()
        self._failure = None
        self._show()

    def _unwell(self, error: LogUnavailable) -> None:
        if self._away_since is None:
            self._away_since = asyncio.get_running_loop().time()
            self._kept_back = self._chatter.kept_back
        if self._failure is None or str(self._failure) != str(error):
            _log.warning("kafka.away", topic=self.topic, reason=str(error))
        self._failure = error
        # Appends wait for a broker that is away, and not for these.
        self._publisher.refused = self._refusal
        self._show()

    def _show(self) -> None:
        if self._health is None:
            return
        reason = str(self._failure) if self._failure is not None else next(iter(self._troubles.values()), None)
        leaderless = sorted(
            n for n, p in (self._view.partitions if self._view else {}).items() if p.leader == NO_LEADER
        )
        if reason is not None:
            self._health.waiting(reason)
        elif leaderless:
            self._health.degraded(f"partitions without a leader: {', '.join(map(str, leaderless))}")
        else:
            self._health.ok()
