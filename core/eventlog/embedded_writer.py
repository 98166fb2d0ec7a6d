"""The thread that writes the embedded log: what waits is inserted in one transaction, made durable with one fsync,
and all its callers are told at once. Whatever else changes the file is a command to the same thread.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from core.eventlog.base import LogFull, LogUnavailable, ReaderChanged
from core.eventlog.embedded_file import Draft, FileDamaged, LogFile, Row, is_damage
from core.eventlog.embedded_rescue import replace_damaged
from core.logs import get_logger

T = TypeVar("T")

DRAINED_BY = {
    "crm-sync": "wecom-crm serve all, without [kafka] in the configuration",
    "relay": "wecom-crm serve ingest, with [kafka] in the configuration",
}
"""What reads the rest of a group's records."""

_MOST_IN_GROUP = 2000
_ENOUGH = 64
_REMOVED_AT_ONCE = 1000
_RETAIN_EVERY = 60.0
_OVERHEAD = 120
_MEASURE_EVERY = 4 * 2**20

_log = get_logger(__name__)


@dataclass(slots=True)
class Append:
    """One record that waits to become durable; ``done`` is set in the loop."""

    key: str
    value: bytes
    headers: Mapping[str, str]
    at: int
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_bytes`` caps the file; ``keep_seconds`` is how long what was read stays; ``clock`` gives Unix seconds."""

    max_bytes: int
    keep_seconds: float
    clock: Callable[[], float]


class Writer:
    """Owns the writing connection. Attributes are read by other threads and written by its own only."""

    def __init__(
        self,
        path: Path,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        *,
        written: Callable[[Sequence[Append], int, LogUnavailable | None], None],
        damaged: Callable[[int], None],
    ) -> None:
        """``written`` (what was written, the next position, or why not) and ``damaged`` (how many records or files
        just turned out to be) are called in the loop. Raises ``LogUnavailable`` or ``sqlite3.Error``."""
        self._path = path
        self._limits = limits
        self._loop = loop
        self._told_written = written
        self._told_damaged = damaged
        self._waiting: deque[Append] = deque()
        self._commands: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._wake = threading.Event()
        self._gathering = False
        self._closing = False
        self._headers: dict[tuple[tuple[str, str], ...], str] = {}
        self._group: str | None = None
        self._standing: int | None = None
        """Where the reader of the group is now: behind what was reported, if a database was put back."""
        self._retained_at = 0.0
        self.commits = 0
        """Transactions that made records durable."""
        self.generation = 0
        """Grows when the file is replaced: other connections are to the old one then."""
        self._file = self._opened()
        self._next = self._file.next_position()
        self.log_id = self._file.meta("log_id") or ""
        self.bytes = 0
        """Size of what is in the file, about."""
        self._unmeasured = 0
        self._measure()
        self._thread = threading.Thread(target=self._run, name="event-log-writer", daemon=True)

    @property
    def next_position(self) -> int:
        """The position of the next record."""
        return self._next

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    # Called in the loop.

    def append(self, item: Append) -> None:
        """Take one record; its future tells when it is durable."""
        self._waiting.append(item)
        if not self._gathering:
            self._gathering = True
            self._loop.call_soon(self._gather, 0)

    async def command(self, work: Callable[[], T]) -> T:
        """Run ``work`` between two writes."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._commands.append((work, future))
        self._wake.set()
        return await future

    async def stop(self) -> None:
        """Write what waits, then end the thread and let go of the file."""
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    def _gather(self, before: int) -> None:
        # A commit costs as much as a dozen records. So the thread is not woken for the first one but when a turn of
        # the loop has brought no more, or when there are enough.
        waiting = len(self._waiting)
        if before < waiting < _ENOUGH:
            self._loop.call_soon(self._gather, waiting)
        else:
            self._gathering = False
            self._wake.set()

    # Run as commands, in the thread.

    def join(self, group: str) -> int | None:
        """Make this the group that reads; returns where it stands, None if it never read. Raises ``ReaderChanged``."""
        before = self._file.meta("group")
        if before is not None and before != group:
            unread = self._next - (self._file.group_position(before) or self._file.oldest_position())
            if unread > 0:
                raise ReaderChanged(
                    f"{unread} deliveries are waiting for another reader ({before}); "
                    f"let it finish first: {DRAINED_BY.get(before, before)}"
                )
            # The other one has dealt with everything so far.
            self._file.move_group(group, self._next)
        self._file.set_meta("group", group)
        self._group = group
        return self._file.group_position(group)

    def kept(self, group: str) -> tuple[int, int]:
        """The oldest position kept, and the next one that the group has not reported."""
        oldest = self._file.oldest_position()
        reported = self._file.group_position(group)
        return oldest, oldest if reported is None else max(oldest, reported)

    def stand(self, group: str, position: int) -> None:
        """The group reads from here on; a position that was not given yet means that an old copy was put back."""
        if position > self._next:
            _log.error("log.behind", next=self._next, applied=position)
            self._file.skip_to(position)
            self._file.set_meta("reconciliation_wanted", "1")
            self._next = position
            self._loop.call_soon_threadsafe(self._told_written, (), position, None)
        self._standing = position
        self._file.move_group(group, position)

    def report(self, group: str, position: int) -> None:
        """Everything below ``position`` took effect; now and then remove what is old."""
        self._standing = position
        self._file.move_group(group, position)
        now = time.monotonic()
        if now - self._retained_at >= _RETAIN_EVERY:
            self._measure()
            removed = self._remove(everything=self.bytes > self._limits.max_bytes // 2)
            # A full step means that there may be more: it is for the next report, appends come first.
            if removed < _REMOVED_AT_ONCE:
                self._retained_at = now

    def set_aside(self, rows: Sequence[Row]) -> int:
        """Keep damaged records; returns how many were not known yet."""
        found = self._file.set_aside(rows)
        if found:
            self._file.set_meta("reconciliation_wanted", "1")
            _log.error("log.damaged", records=found, first=rows[0][0])
        return found

    def reconciliation_wanted(self) -> bool:
        """Whether events were lost here."""
        return self._file.meta("reconciliation_wanted") == "1"

    def want_reconciliation(self, wanted: bool) -> None:
        """Note that events were lost, or that the comparison with the platform was made."""
        self._file.set_meta("reconciliation_wanted", "1" if wanted else "0")

    def replace(self, generation: int) -> None:
        """Go on in a new file, if it is still the one that was found damaged."""
        if generation == self.generation:
            self._replace()

    # The thread itself.

    def _run(self) -> None:
        while not (self._closing and not self._waiting and not self._commands):
            self._wake.wait()
            # Before anything is taken: what comes after this line wakes the thread again.
            self._wake.clear()
            while self._commands:
                self._execute(*self._commands.popleft())
            # Not until nothing waits: what comes meanwhile is the next group, and is still being gathered.
            ready = len(self._waiting)
            while ready:
                group = [self._waiting.popleft() for _ in range(min(ready, _MOST_IN_GROUP))]
                ready -= len(group)
                self._write(group)
        self._file.close()

    def _execute(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        result: Any = None
        failure: Exception | None = None
        try:
            try:
                result = work()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._replace()
                result = work()
        except (sqlite3.Error, FileDamaged, OSError) as error:
            failure = LogUnavailable(f"the event log can't be written: {error}")
            failure.__cause__ = error
        except Exception as error:
            failure = error

        def tell() -> None:
            if future.done():
                return
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(result)

        self._loop.call_soon_threadsafe(tell)

    def _write(self, group: Sequence[Append]) -> None:
        error: LogUnavailable | None = None
        try:
            drafts: list[Draft] = [(item.key, item.value, self._encoded(item.headers), item.at) for item in group]
            self._make_room(drafts)
            try:
                self._file.append(self._next, drafts)
            except sqlite3.DatabaseError as damage:
                if not is_damage(damage):
                    raise
                self._replace()
                self._file.append(self._next, drafts)
            self._next += len(drafts)
            self.commits += 1
        except LogUnavailable as full:
            error = full
        except Exception as failure:
            # Whatever it was, the callers must hear of it, and the next group gets a try of its own.
            _log.error("log.unavailable", error=type(failure).__name__, records=len(group))
            error = LogUnavailable(f"the event log can't be written: {failure}")
            self._reopen()
        self._loop.call_soon_threadsafe(self._told_written, group, self._next, error)

    def _encoded(self, headers: Mapping[str, str]) -> str:
        # A handful of different ones, over and over.
        key = tuple(headers.items())
        found = self._headers.get(key)
        if found is None:
            found = json.dumps(dict(headers), ensure_ascii=False, separators=(",", ":"))
            if len(self._headers) < 1000:
                self._headers[key] = found
        return found

    def _make_room(self, drafts: Sequence[Draft]) -> None:
        # Measuring is three statements, so in between it is estimated.
        grown = sum(len(value) + _OVERHEAD for _, value, _, _ in drafts)
        self.bytes += grown
        self._unmeasured += grown
        limit = self._limits.max_bytes
        if self.bytes >= limit or self._unmeasured > min(_MEASURE_EVERY, limit // 32):
            self._measure()
        while self.bytes >= limit:
            if not self._remove(everything=True):
                raise LogFull(f"the event log has reached {limit} bytes and all of it is unread")
            self._measure()

    def _measure(self) -> None:
        self.bytes = self._file.used_bytes()
        self._unmeasured = 0

    def _remove(self, *, everything: bool) -> int:
        """Remove some of what was read and is old; with ``everything`` also what is not old."""
        group = self._group or self._file.meta("group")
        below = self._file.group_position(group) if group is not None else None
        if below is None:
            return 0
        if self._standing is not None:
            below = min(below, self._standing)
        before = 2**62 if everything else int((self._limits.clock() - self._limits.keep_seconds) * 1000)
        return self._file.remove(below, before, _REMOVED_AT_ONCE)

    def _reopen(self) -> None:
        """After a failed write: a connection whose fsync failed must not be believed again."""
        try:
            file = LogFile(self._path)
        except FileDamaged:
            try:
                self._replace()
            except Exception as error:
                # No room for the new file, say. The thread lives on: the next write tries again.
                _log.error("log.not_replaced", error=type(error).__name__)
        except Exception as error:
            _log.error("log.not_reopened", error=type(error).__name__)
        else:
            self._file.close()
            self._file = file
            self._next = file.next_position()

    def _replace(self) -> None:
        self._file.close()
        self._file = self._opened(damaged=True)
        self._next = self._file.next_position()
        self.log_id = self._file.meta("log_id") or ""
        if self._group is not None:
            self._file.set_meta("group", self._group)
        self.generation += 1

    def _opened(self, *, damaged: bool = False) -> LogFile:
        if not damaged:
            try:
                return LogFile(self._path, check=True)
            except FileDamaged:
                pass
        aside, saved = replace_damaged(self._path)
        self._loop.call_soon_threadsafe(self._told_damaged, 1)
        _log.error("log.replaced", damaged=aside.name, saved=saved)
        return LogFile(self._path)
