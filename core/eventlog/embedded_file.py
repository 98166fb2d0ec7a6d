"""The file of the embedded log: an SQLite database in WAL mode. Plain blocking calls, each connection for one thread.

Positions are given here and never twice: AUTOINCREMENT remembers the last one even after everything was deleted.
Every record carries a CRC-32 over all of it, because a page that went bad may still be a valid page.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from core.eventlog.base import LogUnavailable, Record

PARTITION = 0
MOST_ROWS = 128
"""Rows of one INSERT; six parameters each stay below the oldest limit of SQLite, 999."""

_SCHEMA = "1"
# About a second to read; a larger log was hardly left unread by accident, and starting has to be quick.
_CHECKED_UP_TO = 256 * 2**20
_TABLES = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "record": "CREATE TABLE record (position INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, "
    "value BLOB NOT NULL, headers TEXT NOT NULL, appended_at INTEGER NOT NULL, crc INTEGER NOT NULL)",
    "reader_group": "CREATE TABLE reader_group (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID",
    "damaged": "CREATE TABLE damaged (position INTEGER PRIMARY KEY, key, value, headers, appended_at, crc)",
}

Row = tuple[int, str, bytes, str, int, int]
"""Position, key, value, headers as JSON, moment in milliseconds, CRC-32."""
Draft = tuple[str, bytes, str, int]
"""Key, value, headers as JSON, moment in milliseconds."""


class FileDamaged(Exception):
    """The file is not readable as a log; what can be saved has to be moved to a new one."""


def create_folder(path: Path) -> None:
    """Make the folder of the file, for nobody else."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def create(path: Path) -> None:
    """Make the file, readable by nobody else, whatever the umask."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


class LogFile:
    """One connection to the file. Raises ``sqlite3.Error`` for trouble that may pass, ``FileDamaged`` for damage."""

    def __init__(self, path: Path, *, check: bool = False) -> None:
        """``check`` looks for structural damage first, in a file that is not too large for it."""
        self._connection = sqlite3.connect(
            path, isolation_level=None, timeout=10.0, check_same_thread=False, cached_statements=2 * MOST_ROWS
        )
        self._connection.text_factory = _text
        try:
            # FULL: without it a commit in WAL mode is not on the disk yet when it returns. secure_delete: what
            # retention removes is personal data and must not stay in free pages.
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = ON",
                "wal_autocheckpoint = 4000",
            ):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            self._connection.execute("PRAGMA journal_size_limit = 67108864").fetchall()
            self._check_schema()
            if check:
                self._check_structure()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            # The second: words of SQLite about a damaged name.
            self._connection.close()
            if isinstance(error, UnicodeDecodeError) or is_damage(error):
                raise FileDamaged(str(error)) from error
            raise
        except BaseException:
            self._connection.close()
            raise

    def _check_schema(self) -> None:
        statement = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        found = dict(self._connection.execute(statement).fetchall())
        if not found:
            # In the same transaction as the tables: a log without an identity would be taken for a damaged one.
            values = f"INSERT INTO meta VALUES ('log_id', '{uuid.uuid4().hex}'), ('schema', '{_SCHEMA}')"  # noqa: S608
            script = ";".join(("BEGIN IMMEDIATE", *_TABLES.values(), values, "COMMIT"))
            self._connection.executescript(script + ";")
            return
        if not found.keys() & _TABLES.keys():
            raise LogUnavailable("the file is a database, but not an event log")
        # Before the tables are looked at: those of another release may be others.
        schema = self.meta("schema") if found.get("meta") == _TABLES["meta"] else None
        if schema is not None and schema.isdecimal() and schema != _SCHEMA:
            raise LogUnavailable(f"the event log was written by another release (format {schema}, this one: {_SCHEMA})")
        if found != _TABLES or schema != _SCHEMA or not self.meta("log_id"):
            raise FileDamaged("its tables are not those of a log")

    def _check_structure(self) -> None:
        if self.used_bytes() > _CHECKED_UP_TO:
            return
        (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise FileDamaged(verdict)

    def close(self) -> None:
        """Also moves the WAL into the file, if nobody else has it open."""
        self._connection.close()

    def meta(self, name: str) -> str | None:
        """A value kept with the log."""
        row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Keep a value with the log."""
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def next_position(self) -> int:
        """The position of the next record; positions begin at 1."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'").fetchone()
        return 1 if row is None else int(row[0]) + 1

    def skip_to(self, position: int) -> None:
        """Make sure that no position below is given."""
        if position > self.next_position():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("INSERT INTO record VALUES (?, '', '', '', 0, 0)", (position - 1,))
            self._connection.execute("DELETE FROM record WHERE position = ?", (position - 1,))
            self._connection.execute("COMMIT")

    def oldest_position(self) -> int:
        """The oldest record kept, or the next one if there is none."""
        row = self._connection.execute("SELECT min(position) FROM record").fetchone()
        return self.next_position() if row[0] is None else int(row[0])

    def append(self, first: int, drafts: Sequence[Draft]) -> None:
        """Write these records from position ``first`` on, in one transaction: on the disk, or not at all."""
        # One statement is a transaction by itself. It is also one wait for the interpreter's lock, where executemany
        # has one per row: beside a busy event loop those are most of the time.
        if len(drafts) <= MOST_ROWS:
            self._insert(first, drafts)
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for begin in range(0, len(drafts), MOST_ROWS):
                self._insert(first + begin, drafts[begin : begin + MOST_ROWS])
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _insert(self, first: int, drafts: Sequence[Draft]) -> None:
        values: list[str | bytes | int] = []
        for position, draft in enumerate(drafts, first):
            values += (position, *draft, checksum(position, *draft))
        self._connection.execute(_insert_statement(len(drafts)), values)

    def read(self, position: int, limit: int) -> list[Row]:
        """Records from this position on, in order, good and bad."""
        return self._connection.execute(
            "SELECT position, key, value, headers, appended_at, crc FROM record WHERE position >= ? "
            "ORDER BY position LIMIT ?",
            (position, limit),
        ).fetchall()

    def set_aside(self, rows: Iterable[Row]) -> int:
        """Keep the bytes of damaged records; returns how many were not known yet."""
        before = self._connection.total_changes
        self._connection.executemany("INSERT OR IGNORE INTO damaged VALUES (?, ?, ?, ?, ?, ?)", list(rows))
        return self._connection.total_changes - before

    def group_position(self, group: str) -> int | None:
        """The next position that the group has not reported; None for a group that never read."""
        row = self._connection.execute("SELECT position FROM reader_group WHERE name = ?", (group,)).fetchone()
        return None if row is None else int(row[0])

    def move_group(self, group: str, position: int) -> None:
        """Move a group forward; never back."""
        self._connection.execute(
            "INSERT INTO reader_group VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)",
            (group, position),
        )

    def remove(self, below: int, before: int, limit: int) -> int:
        """Delete records below a position that were appended before a moment (ms); returns how many.

        The oldest first and never one behind a younger one: what is kept has no holes, so a hole is damage.
        """
        return self._connection.execute(
            "DELETE FROM record WHERE position < "
            "(SELECT coalesce(min(CASE WHEN appended_at >= ? THEN position END), max(position) + 1) FROM "
            "(SELECT position, appended_at FROM record WHERE position < ? ORDER BY position LIMIT ?))",
            (before, below, limit),
        ).rowcount

    def used_bytes(self) -> int:
        """Bytes in use; what deleted records left behind is used again before the file grows."""
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size


@cache
def _insert_statement(rows: int) -> str:
    return "INSERT INTO record VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)  # noqa: S608


def checksum(position: int, key: str, value: bytes, headers: str, appended_at: int) -> int:
    """CRC-32 over the whole record, its position included."""
    return zlib.crc32(value, zlib.crc32(f"{position}\0{key}\0{headers}\0{appended_at}".encode()))


def record_of(row: Row) -> Record | None:
    """The record, or None if it is not what was appended."""
    position, key, value, headers, appended_at, crc = row
    try:
        if checksum(position, key, value, headers, appended_at) != crc:
            return None
        table: Mapping[str, str] = json.loads(headers)
    except (TypeError, ValueError):
        return None
    return Record(PARTITION, position, key, value, table, appended_at)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, as against a full disk or a lock."""
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte is the primary code.
    return code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _text(value: bytes) -> str:
    # Not an error, as by default: a record with one bad byte is one bad record, found by its checksum.
    return value.decode("utf-8", "replace")
