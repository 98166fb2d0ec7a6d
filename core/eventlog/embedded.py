"""The embedded event log: one file, one owner, one partition.

One thread writes (``embedded_writer``), another reads, so reading never stands in an append's way. What this can't
notice is a WAL that SQLite itself cut short at its first bad frame after a power failure: those records are gone
without a trace.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from core.eventlog.base import Batch, Gap, LogOwned, LogUnavailable, Positions, Record, Span
from core.eventlog.embedded_file import (
    PARTITION,
    FileDamaged,
    LogFile,
    Row,
    create,
    create_folder,
    is_damage,
    record_of,
)
from core.eventlog.embedded_rescue import finish_rescue
from core.eventlog.embedded_writer import Append, Limits, Writer
from core.metrics import Metrics

T = TypeVar("T")

MAX_BYTES = 4 * 2**30
KEEP_SECONDS = 7 * 86400.0


class EmbeddedLog:
    """An ``EventLog`` in an SQLite file. Open it with ``open``; safe for many tasks of the loop it was opened on."""

    def __init__(self, path: Path, lock: int, limits: Limits, metrics: Metrics) -> None:
        """Not for callers: ``open`` makes sure that there is one owner."""
        self._path = path
        self._lock = lock
        self._limits = limits
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._arrivals: set[asyncio.Future[None]] = set()
        self._closed: asyncio.Task[None] | None = None
        self.damage = 0
        """Records and files whose bytes did not survive, since this log was opened."""
        self._writer = Writer(path, limits, self._loop, written=self._written, damaged=self._damaged)
        self._next = self._writer.next_position
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="event-log-reader")
        self._reads: tuple[int, LogFile] | None = None
        metrics.log_bytes.set(self._writer.bytes)
        self._writer.start()

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        max_bytes: int = MAX_BYTES,
        keep_seconds: float = KEEP_SECONDS,
        clock: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> EmbeddedLog:
        """Open or make the log. Raises ``LogOwned`` if a process has it already, ``LogUnavailable`` if it can't be had.

        ``max_bytes`` caps the file; ``keep_seconds`` is how long records stay that were read; ``clock`` gives seconds
        since the epoch.
        """
        try:
            create_folder(path)
            lock = _own(path)
        except OSError as error:
            raise LogUnavailable(f"{path}: {error.strerror}") from error
        try:
            finish_rescue(path)
            create(path)
            return cls(path, lock, Limits(max_bytes, keep_seconds, clock), metrics or Metrics())
        except BaseException as error:
            os.close(lock)
            if isinstance(error, sqlite3.Error | OSError):
                raise LogUnavailable(f"{path}: {error}") from error
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def log_id(self) -> str:
        """See ``EventLog``."""
        return self._writer.log_id

    @property
    def next_position(self) -> int:
        """The position of the next record that is appended."""
        return self._next

    @property
    def commits(self) -> int:
        """Transactions that made records durable since this log was opened."""
        return self._writer.commits

    async def append(self, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See ``EventLog``."""
        if self._closed is not None:
            raise LogUnavailable("the event log is closed")
        began = self._limits.clock()
        done: asyncio.Future[None] = self._loop.create_future()
        self._writer.append(Append(key, value, headers, int(began * 1000), done))
        await done
        self._metrics.log_append_seconds.observe(max(0.0, self._limits.clock() - began))

    @asynccontextmanager
    async def reader(self, group: str, positions: Positions | None = None) -> AsyncIterator[EmbeddedReader]:
        """See ``EventLog``. Raises ``ReaderChanged`` while another group has unread records."""
        log_id = self.log_id
        start = await self.command(partial(self._writer.join, group))
        reader = EmbeddedReader(self, self._writer, log_id, group, positions, start)
        await reader.rewind()
        yield reader

    async def lag(self, group: str) -> int:
        """Records appended and not yet reported by the group."""
        position: int | None = await self.read(lambda file: file.group_position(group))
        if position is None:
            position = await self.read(LogFile.oldest_position)
        return self._next - position

    async def kept(self, group: str) -> tuple[int, int]:
        """The oldest position kept, and the next one that the group has not reported."""
        return await self.command(partial(self._writer.kept, group))

    async def reconciliation_wanted(self) -> bool:
        """Whether events were lost here, so that only a comparison with the platform can tell what they said."""
        return await self.command(self._writer.reconciliation_wanted)

    async def reconciled(self) -> None:
        """The comparison was made."""
        await self.command(partial(self._writer.want_reconciliation, False))

    async def close(self) -> None:
        """See ``EventLog``."""
        if self._closed is None:
            for arrival in self._arrivals:
                if not arrival.done():
                    arrival.set_result(None)
            self._closed = asyncio.create_task(self._close(), name="event-log-close")
        await asyncio.shield(self._closed)

    async def _close(self) -> None:
        await self._writer.stop()
        # Whatever the thread said last is in the loop's queue before this line goes on.
        await asyncio.to_thread(self._reading.shutdown)
        if self._reads is not None:
            self._reads[1].close()
        os.close(self._lock)

    async def command(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the writer's thread, between two writes."""
        if self._closed is not None:
            raise LogUnavailable("the event log is closed")
        return await self._writer.command(work)

    async def read(self, work: Callable[[LogFile], T]) -> T:
        """Run ``work`` in the reader's thread, on its connection."""
        if self._closed is not None:
            raise LogUnavailable("the event log is closed")
        generation = self._writer.generation
        try:
            return await self._loop.run_in_executor(self._reading, self._with_file, work)
        except (sqlite3.Error, FileDamaged) as error:
            if isinstance(error, FileDamaged) or is_damage(error):
                await self.command(partial(self._writer.replace, generation))
            raise LogUnavailable(f"the event log can't be read: {error}") from error

    def _with_file(self, work: Callable[[LogFile], T]) -> T:
        generation = self._writer.generation
        if self._reads is None or self._reads[0] != generation:
            if self._reads is not None:
                self._reads[1].close()
                self._reads = None
            self._reads = (generation, LogFile(self._path))
        return work(self._reads[1])

    async def arrival(self, position: int, seconds: float) -> bool:
        """Wait until there is a record at ``position``; False when the time is over or the log closes."""
        if self._next <= position and self._closed is None:
            arrival: asyncio.Future[None] = self._loop.create_future()
            self._arrivals.add(arrival)
            try:
                async with asyncio.timeout(seconds):
                    await arrival
            except TimeoutError:
                pass
            finally:
                self._arrivals.discard(arrival)
        return self._next > position and self._closed is None

    def found_damaged(self, records: int) -> None:
        """Count records whose bytes did not survive."""
        self._damaged(records)

    def lost(self) -> None:
        """Count a stretch of records that is gone before it was read."""
        self._metrics.log_gaps_total.inc()

    def _written(self, group: Sequence[Append], tail: int, error: LogUnavailable | None) -> None:
        self._next = tail
        for item in group:
            if not item.done.done():
                if error is None:
                    item.done.set_result(None)
                else:
                    item.done.set_exception(error)
        self._metrics.log_bytes.set(self._writer.bytes)
        if error is None:
            self._metrics.log_appended_total.inc(len(group))
            arrivals, self._arrivals = self._arrivals, set()
            for arrival in arrivals:
                if not arrival.done():
                    arrival.set_result(None)

    def _damaged(self, number: int) -> None:
        self.damage += number
        self._metrics.log_damaged_total.inc(number)


class EmbeddedReader:
    """A ``Reader`` of the one partition."""

    def __init__(
        self, log: EmbeddedLog, writer: Writer, log_id: str, group: str, positions: Positions | None, start: int | None
    ) -> None:
        """``start`` is what the group reported last."""
        self._log = log
        self._writer = writer
        self._log_id = log_id
        self._group = group
        self._positions = positions
        self._reported = start
        self._position = 0

    @property
    def log_id(self) -> str:
        """See ``Reader``."""
        return self._log_id

    async def rewind(self) -> None:
        """See ``Reader``."""
        self._check_identity()
        position = self._reported
        if self._positions is not None:
            position = (await self._positions.load(self._log_id, [PARTITION])).get(PARTITION)
        if position is None:
            position = await self._log.read(LogFile.oldest_position)
        await self._log.command(partial(self._writer.stand, self._group, position))
        self._position = position
        # Also backwards: what has to be applied again is lag again.
        self._reported = position

    async def read(self, limit: int, wait: float) -> Batch:
        """See ``Reader``. Raises ``LogUnavailable`` when the file was replaced by a new one."""
        self._check_identity()
        if not await self._log.arrival(self._position, wait):
            return Batch()
        rows, end = await self._log.read(partial(self._fetch, limit=limit))
        self._check_identity()
        records: list[Record] = []
        bad: list[Row] = []
        gaps: list[Gap] = []
        expected = self._position
        for row in rows:
            if row[0] > expected:
                gaps.append(Gap(PARTITION, expected, row[0]))
            expected = row[0] + 1
            record = record_of(row)
            if record is None:
                bad.append(row)
            else:
                records.append(record)
        if end > expected:
            gaps.append(Gap(PARTITION, expected, end))
        for _ in gaps:
            self._log.lost()
        if gaps:
            await self._log.command(partial(self._writer.want_reconciliation, True))
        if bad:
            self._log.found_damaged(await self._log.command(partial(self._writer.set_aside, bad)))
        span = Span(self._position, end)
        self._position = end
        return Batch(records, {PARTITION: span}, gaps, len(bad))

    def _fetch(self, file: LogFile, limit: int) -> tuple[list[Row], int]:
        # The end first: a record that arrives between the two statements is then no hole.
        end = file.next_position()
        rows = file.read(self._position, limit)
        return rows, rows[-1][0] + 1 if rows else end

    def _check_identity(self) -> None:
        if self._log.log_id != self._log_id:
            raise LogUnavailable("the event log was damaged and replaced: join again")

    async def report(self, batch: Batch) -> None:
        """See ``Reader``."""
        span = batch.spans.get(PARTITION)
        if span is None:
            return
        self._check_identity()
        await self._log.command(partial(self._writer.report, self._group, span.end))
        self._reported = max(self._reported or 0, span.end)

    async def lag(self) -> Mapping[int, int]:
        """See ``Reader``."""
        return {PARTITION: max(0, self._log.next_position - (self._reported or 0))}


def _own(path: Path) -> int:
    """Take the lock file, which is let go of when the process ends, however it ends."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise LogOwned(
            f"{path} belongs to process {owner or '?'}: end it first, or give this one another data_dir"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
