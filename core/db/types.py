"""Column types that mean the same on every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, String
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME
from sqlalchemy.dialects.mysql import MEDIUMBLOB
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import DateTime, TypeDecorator, TypeEngine

ID_LENGTH = 128

LongBytes = LargeBinary().with_variant(MEDIUMBLOB(), "mysql", "mariadb")
"""Bytes up to 16 MiB; MySQL's and MariaDB's plain BLOB ends at 64 KiB."""


class Id(TypeDecorator[str]):
    """An id, compared byte by byte: letter case and trailing blanks count.

    PostgreSQL gets ``COLLATE "C"``, MariaDB ``utf8mb4_nopad_bin``, MySQL 8 ``utf8mb4_0900_bin`` (``utf8mb4_bin``
    would take ``a`` and ``a `` for equal); SQLite compares so by itself.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int = ID_LENGTH) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        length = self._length
        if dialect.name == "postgresql":
            return dialect.type_descriptor(String(length, collation="C"))
        if dialect.name in {"mysql", "mariadb"}:
            mariadb = bool(getattr(dialect, "is_mariadb", False))
            return dialect.type_descriptor(
                String(length, collation="utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin")
            )
        return dialect.type_descriptor(String(length))


class Instant(TypeDecorator[datetime]):
    """A moment in UTC with microseconds: aware in Python, whatever the database keeps."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(MYSQL_DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs its time zone: use datetime.now(UTC)")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Later(ColumnElement[datetime]):
    """A moment of a column, and so much after it, in a statement without further parameters."""

    inherit_cache = True
    type = Instant()
    _traverse_internals = [  # noqa: RUF012
        ("moment", InternalTraversal.dp_clauseelement),
        ("by", InternalTraversal.dp_plain_obj),
    ]

    def __init__(self, moment: ColumnElement[Any], by: timedelta) -> None:
        self.moment = moment
        self.by = by


@compiles(Later)
def _later(element: Later, compiler: SQLCompiler, **options: Any) -> str:
    moment, seconds = compiler.process(element.moment, **options), element.by.total_seconds()
    if compiler.dialect.name == "sqlite":
        # As the type writes it, but for the last three digits.
        return f"strftime('%Y-%m-%d %H:%M:%f000', {moment}, '{seconds:+f} seconds')"
    if compiler.dialect.name == "postgresql":
        return f"({moment} + INTERVAL '{seconds:f} seconds')"
    return f"({moment} + INTERVAL {seconds:f} SECOND)"
