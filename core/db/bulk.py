"""Many rows in one statement, in the words of each database.

On PostgreSQL a list of rows travels as one array per column: executed row by row, even in one packet, it takes three to
eight times as long, and its SQL would be another one, to be planned anew, for each number of rows. The driver of MySQL
folds the rows of an INSERT into one statement and of no other; SQLite is in this process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Delete, Table, any_, bindparam, column, delete, func, insert, select
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.selectable import TableValuedAlias

from core.db.upsert import insert_ignore, upsert


def among(dialect: str, here: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """That the column is one of the values which the statement is executed with under this name, as a list."""
    if dialect == "postgresql":
        return here == any_(bindparam(name, type_=ARRAY(here.type, dimensions=1)))
    return here.in_(bindparam(name, expanding=True))


async def add(conn: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert these rows, all with the same columns; one that is there already is an error."""
    if rows:
        names = tuple(rows[0])
        await _execute(conn, _add(conn.dialect.name, table, names), rows, names)


async def put(
    conn: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]], change: Sequence[str] = ()
) -> None:
    """Insert these rows; in one whose key is there already only the columns in ``change`` are overwritten.

    All rows have the same columns, those of the key and those that must not be NULL among them, no key comes twice,
    and they are in key order against deadlocks.
    """
    if rows:
        names = tuple(rows[0])
        await _execute(conn, _put(conn.dialect.name, table, names, tuple(change)), rows, names)


async def remove(conn: AsyncConnection, table: Table, keys: Sequence[Mapping[str, Any]]) -> None:
    """Delete the rows with these keys, each with the same columns, in key order."""
    if keys:
        names = tuple(keys[0])
        await _execute(conn, _remove(conn.dialect.name, table, names), keys, names)


async def _execute(
    conn: AsyncConnection, statement: Insert | Delete, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> None:
    if conn.dialect.name == "postgresql":
        await conn.execute(statement, {_list(name): [row[name] for row in rows] for name in names})
    elif isinstance(statement, Delete):
        await conn.execute(statement, [{_list(name): row[name] for name in names} for row in rows])
    else:
        await conn.execute(statement, list(rows))


# To make a statement takes as long as to execute it.
@lru_cache(maxsize=256)
def _add(dialect: str, table: Table, names: tuple[str, ...]) -> Insert:
    return _from_lists(table, names) if dialect == "postgresql" else insert(table)


@lru_cache(maxsize=256)
def _put(dialect: str, table: Table, names: tuple[str, ...], change: tuple[str, ...]) -> Insert:
    if dialect == "postgresql":
        statement, key = _from_lists(table, names), list(table.primary_key)
        if not change:
            return statement.on_conflict_do_nothing(index_elements=key)
        values = {name: statement.excluded[name] for name in change}
        return statement.on_conflict_do_update(index_elements=key, set_=values)
    if not change:
        return insert_ignore(dialect, table)
    return upsert(dialect, table, lambda _old, new: [(name, new[name]) for name in change])


def _from_lists(table: Table, names: Sequence[str]) -> PostgresqlInsert:
    lists = rows_of_lists(table, names)
    return postgresql_insert(table).from_select(list(names), select(*[lists.c[name] for name in names]))


@lru_cache(maxsize=256)
def _remove(dialect: str, table: Table, names: tuple[str, ...]) -> Delete:
    if dialect == "postgresql":
        lists = rows_of_lists(table, names)
        return delete(table).where(*(table.c[name] == lists.c[name] for name in names))
    return delete(table).where(*(table.c[name] == bindparam(_list(name)) for name in names))


def rows_of_lists(table: Table, names: Sequence[str]) -> TableValuedAlias:
    """PostgreSQL only: rows with these columns of the table, from lists that the statement is executed with.

    The parameter of a column is named ``list_`` and its name.
    """
    lists = [bindparam(_list(name), type_=ARRAY(table.c[name].type, dimensions=1)) for name in names]
    columns = [column(name, table.c[name].type) for name in names]
    return func.unnest(*lists).table_valued(*columns).render_derived(name="lists")


def _list(name: str) -> str:
    return f"list_{name}"
