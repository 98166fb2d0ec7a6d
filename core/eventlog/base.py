"""The event log: one interface, two products.

A log keeps records in *partitions*; inside one partition every record has a *position*, positions grow and are
never given twice, also after everything was deleted. A *group* of readers reads each partition in order and
reports the *next position to read*. Where a reader stands after a restart is decided by whoever keeps the
effects: ``Positions`` loads it from there (the database), and only a group without one starts from what it reported
to the log itself.

Guarantees, the same for every implementation and no stronger: at least once; order within a partition; one key
always lands in one partition (as long as their number stays); what ``append`` returned for is durable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


class LogError(Exception):
    """Root of the event log's errors."""


class LogUnavailable(LogError):
    """The record could not be made durable (disk full, I/O error, closed, broker away)."""


class LogFull(LogUnavailable):
    """The size cap is reached and nothing can be removed because it has not been read yet."""


class RecordRefused(LogUnavailable):
    """The log takes this record never (too large); trying again can't help, and other records are not concerned."""


class LogOwned(LogError):
    """Another process owns this log."""


class ReaderChanged(LogError):
    """Another kind of reader still has unread entries; the message names the command that drains them."""


class PartitionLost(LogError):
    """The partition belongs to another reader of the group by now; what was read must be abandoned."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was appended. ``appended_at`` is in milliseconds since the epoch (UTC)."""

    partition: int
    position: int
    key: str
    value: bytes
    headers: Mapping[str, str]
    appended_at: int


@dataclass(frozen=True, slots=True)
class Span:
    """Where a batch began in one partition and the next position to read after it."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that were removed before this reader got to them: from ``wanted`` up to ``available``."""

    partition: int
    wanted: int
    available: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read brought: records in order per partition, the span of each partition, and known losses.

    ``damaged`` counts records inside the spans whose bytes did not survive and were set aside.
    A batch may have spans without records (only damaged records, or a gap): it still has to be reported.
    """

    records: Sequence[Record] = ()
    spans: Mapping[int, Span] = field(default_factory=dict)
    gaps: Sequence[Gap] = ()
    damaged: int = 0

    def __bool__(self) -> bool:
        return bool(self.spans)


class Positions(Protocol):
    """Where the effects of a log are kept, and with them how far it has been applied."""

    async def load(self, log_id: str, partitions: Sequence[int]) -> Mapping[int, int]:
        """The next position to read of each of these partitions; partitions never applied are absent."""
        ...


class Reader(Protocol):
    """One member of a group, reading the partitions that are its own at the moment. Not for concurrent use."""

    @property
    def log_id(self) -> str:
        """Identity of the log: a new file or a new topic has a new one, so positions are never mixed up."""
        ...

    async def read(self, limit: int, wait: float) -> Batch:
        """The next records, at most ``limit``; waits up to ``wait`` seconds for the first, then an empty batch.

        Calling it again without ``report`` goes on after the last batch; ``rewind`` goes back.
        """
        ...

    async def report(self, batch: Batch) -> None:
        """Tell the log that everything in ``batch`` has taken effect. Raises ``PartitionLost`` if it is not ours now.

        What was reported may be removed by retention. Never moves a group's position back.
        """
        ...

    async def rewind(self) -> None:
        """Abandon what was read and not reported: ask ``Positions`` again and read from there."""
        ...

    async def lag(self) -> Mapping[int, int]:
        """Records appended and not yet reported, per partition of this reader."""
        ...


class EventLog(Protocol):
    """A durable log of records."""

    @property
    def log_id(self) -> str:
        """Identity of this log, kept with it."""
        ...

    async def append(self, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """Append one record; returns when it is durable, raises ``LogUnavailable`` when it is not known to be.

        After an error the record may or may not be in the log; appending again is safe for the readers.
        """
        ...

    def reader(self, group: str, positions: Positions | None = None) -> AbstractAsyncContextManager[Reader]:
        """Join ``group``. Reading starts where ``positions`` say, and at the oldest record kept of a partition that
        they know nothing of (a new database). Without ``positions`` it starts at what the group reported last, or at
        the oldest record kept."""
        ...

    async def close(self) -> None:
        """Finish what waits to be appended, then let go of every resource. Safe to call twice."""
        ...
