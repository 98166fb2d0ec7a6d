"""Inserts that meet a row already there, in the words of each database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.dml import Insert

Columns = ReadOnlyColumnCollection[str, ColumnElement[Any]]
Changes = Callable[[Columns, Columns], Sequence[tuple[str, Any]]]


def upsert(dialect: str, table: Table, changes: Changes) -> Insert:
    """INSERT that changes the row with the same primary key instead, to be executed with a list of rows.

    ``changes(old, new)`` returns (column, expression) pairs. MySQL evaluates them from left to right and sees
    what it has assigned already, the others see the old row only: name a column before its inputs change.
    They are made of columns only, without values: MySQL's driver has no place for those in a list of rows.
    Rows of one statement must not repeat a key (PostgreSQL refuses that), and go in key order against deadlocks.
    """
    old: Any = table.c
    if dialect == "mysql":
        mysql = mysql_insert(table)
        return mysql.on_duplicate_key_update(list(changes(old, mysql.inserted)))
    if dialect == "postgresql":
        postgresql = postgresql_insert(table)
        return postgresql.on_conflict_do_update(
            index_elements=list(table.primary_key), set_=dict(changes(old, postgresql.excluded))
        )
    sqlite = sqlite_insert(table)
    return sqlite.on_conflict_do_update(
        index_elements=list(table.primary_key), set_=dict(changes(old, sqlite.excluded))
    )


def insert_ignore(dialect: str, table: Table, key: Sequence[str] = ()) -> Insert:
    """INSERT that leaves a row with the same primary key as it is, to be executed with a list of rows.

    ``key`` names the columns of another unique index that decides instead. Not MySQL's INSERT IGNORE, which would also
    swallow values that do not fit.
    """
    columns = [table.c[name] for name in key] or list(table.primary_key)
    if dialect == "mysql":
        first = next(iter(table.primary_key))
        return mysql_insert(table).on_duplicate_key_update([(first.name, first)])
    if dialect == "postgresql":
        return postgresql_insert(table).on_conflict_do_nothing(index_elements=columns)
    return sqlite_insert(table).on_conflict_do_nothing(index_elements=columns)
