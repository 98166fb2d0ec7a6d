"""What to do with a log whose file is broken: move it aside, save what can be read, go on in a new one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from core.eventlog.base import LogUnavailable
from core.eventlog.embedded_file import Draft, FileDamaged, LogFile, create, record_of

_CHUNK = 200
_COMPLETE = "rescue_complete"
_COLUMNS = 6
# The highest position may itself be damaged; this many are looked for at the most.
_MOST = 20_000_000


def replace_damaged(path: Path, now: datetime | None = None) -> tuple[Path, int]:
    """Move a damaged file aside and save its unread records into a new one with an identity of its own.

    Returns where the damaged file is now and how many records were saved. The new file is complete before the old one
    is touched, so whatever breaks in on this leaves the old one to be rescued again, or the new one to be used.
    """
    fresh = _fresh(path)
    _remove(fresh)
    create(fresh)
    file = LogFile(fresh)
    saved = 0
    try:
        file.set_meta("reconciliation_wanted", "1")
        for drafts in _readable(path):
            file.append(file.next_position(), drafts)
            saved += len(drafts)
        file.set_meta(_COMPLETE, "1")
    finally:
        file.close()
    return _swap(path, now or datetime.now(UTC)), saved


def finish_rescue(path: Path) -> None:
    """At the start: put a new file into place whose rescue was broken off after it was complete.

    A half-made one is removed: then the old one is still there to be rescued.
    """
    fresh = _fresh(path)
    if not fresh.exists():
        return
    if _is_complete(fresh):
        _swap(path, datetime.now(UTC))
    else:
        _remove(fresh)


def _swap(path: Path, now: datetime) -> Path:
    """Put the new file into the old one's place; returns where the old one is now."""
    aside = path.with_name(f"{path.name}.damaged-{now.strftime('%Y%m%dT%H%M%S%f')}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    _fresh(path).rename(path)
    return aside


def _fresh(path: Path) -> Path:
    return path.with_name(path.name + ".rescued")


def _is_complete(fresh: Path) -> bool:
    try:
        file = LogFile(fresh)
    except (sqlite3.Error, FileDamaged, LogUnavailable):
        return False
    try:
        return file.meta(_COMPLETE) == "1"
    finally:
        file.close()


def _remove(fresh: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)


def _readable(path: Path) -> Iterator[list[Draft]]:
    """What can still be read of a damaged file, in order, without what its readers have reported."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error:
        return
    try:
        position = _asked(connection, "SELECT min(position) FROM reader_group") or 1
        last = _asked(connection, "SELECT seq FROM sqlite_sequence WHERE name = 'record'") or 0
        last = _asked(connection, "SELECT max(_rowid_) FROM record") or last
        last = min(last, position + _MOST)
        for begin in range(position, last + 1, _CHUNK):
            end = min(begin + _CHUNK, last + 1)
            drafts = _rows(connection, begin, end)
            if drafts is None:
                singles = (_rows(connection, one, one + 1) for one in range(begin, end))
                drafts = [draft for found in singles if found for draft in found]
            if drafts:
                yield drafts
    finally:
        connection.close()


def _asked(connection: sqlite3.Connection, statement: str) -> int | None:
    try:
        row = connection.execute(statement).fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    return row[0] if row and isinstance(row[0], int) else None


def _rows(connection: sqlite3.Connection, begin: int, end: int) -> list[Draft] | None:
    try:
        # By place and not by name: the columns' names may be what was damaged.
        found = connection.execute("SELECT * FROM record WHERE _rowid_ >= ? AND _rowid_ < ?", (begin, end)).fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    return [row[1:5] for row in found if len(row) == _COLUMNS and record_of(row) is not None]
