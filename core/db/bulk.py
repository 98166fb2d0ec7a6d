"""Many rows in one statement, in the words of each database.

On PostgreSQL all rows travel in one parameter, as JSON: executed row by row, even in one packet, they take three to
eight times as long; with a parameter per value the SQL would be another one, to be planned anew, for each number of
rows; and for arrays, one per column, the driver takes twice the CPU time. The driver of MySQL folds the rows of an
INSERT into one statement and of no other; SQLite is in this process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Delete,
    LargeBinary,
    Result,
    Select,
    String,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine

from core.db.types import Id
from core.db.upsert import Changes, insert_ignore, upsert


def for_each(dialect: str, query: Select[Any], columns: Sequence[Column[Any]]) -> Select[Any]:
    """The query's rows with the values of these columns that it is executed with, as ``lists`` makes them.

    Rows come in the order of the lists if there is an index by corpid and these columns, so locks are taken in it too.
    With several columns a few rows too many may come: those of other combinations of the values.
    """
    if dialect != "postgresql":
        return query.where(*(column.in_(bindparam(_list(column.name), expanding=True)) for column in columns))
    # One step into the index for each. Neither IN nor a join: as long as a table that grows has no statistics, those
    # compare all its rows with all values. OFFSET keeps the planner from making a join of it.
    wanted = _given({column.name: column.type for column in columns})
    theirs = query.where(*(column == wanted.c[column.name] for column in columns)).offset(literal_column("0"))
    found = theirs.lateral("found")
    return select(*found.c).select_from(wanted.join(found, true()))


def lists(dialect: str, **values: Sequence[Any]) -> dict[str, Any]:
    """Parameters for a statement of ``for_each``: for each column its values, together the wanted rows.

    The caller brings them in key order, against deadlocks, and none of them twice.
    """
    if dialect == "postgresql":
        return _encoded([dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)])
    return {_list(name): sorted(set(part)) for name, part in values.items()}


def among(dialect: str, column: Column[Any]) -> ColumnElement[bool]:
    """That the value is one of those in ``lists``: a condition for the rows of an UPDATE or a DELETE."""
    if dialect == "postgresql":
        return column == _given({column.name: column.type}).c[column.name]
    return column.in_(bindparam(_list(column.name), expanding=True))


def as_dicts(found: Result[Any]) -> list[dict[str, Any]]:
    """The rows by the names of their columns, in a third of the time that ``dict(row)`` takes for each."""
    names = tuple(found.keys())
    return [dict(zip(names, row, strict=True)) for row in found]


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


async def fold(conn: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]], changes: Changes) -> None:
    """Insert these rows; one whose key is there already is changed as ``changes`` says (see ``upsert``).

    ``changes`` is a function of a module, as the statement is made once for each.
    """
    if rows:
        names = tuple(rows[0])
        await _execute(conn, _fold(conn.dialect.name, table, names, changes), rows, names)


async def amend(conn: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]], change: Sequence[str]) -> None:
    """Overwrite the columns in ``change`` in the rows that are there with these keys; all have the same columns."""
    if rows:
        names = tuple(rows[0])
        await _execute(conn, _amend(conn.dialect.name, table, names, tuple(change)), rows, names)


async def remove(conn: AsyncConnection, table: Table, keys: Sequence[Mapping[str, Any]]) -> None:
    """Delete the rows with these keys, each with the same columns, in key order."""
    if keys:
        names = tuple(keys[0])
        await _execute(conn, _remove(conn.dialect.name, table, names), keys, names)


async def _execute(
    conn: AsyncConnection, statement: Insert | Update | Delete, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> None:
    if conn.dialect.name == "postgresql":
        await conn.execute(statement, _encoded(rows))
    elif isinstance(statement, Update | Delete):
        await conn.execute(statement, [{_list(name): row[name] for name in names} for row in rows])
    else:
        await conn.execute(statement, list(rows))


# To make a statement takes as long as to execute it.
@lru_cache(maxsize=256)
def _add(dialect: str, table: Table, names: tuple[str, ...]) -> Insert:
    return _from_given(table, names) if dialect == "postgresql" else insert(table)


@lru_cache(maxsize=256)
def _put(dialect: str, table: Table, names: tuple[str, ...], change: tuple[str, ...]) -> Insert:
    if dialect == "postgresql":
        statement, key = _from_given(table, names), list(table.primary_key)
        if not change:
            return statement.on_conflict_do_nothing(index_elements=key)
        values = {name: statement.excluded[name] for name in change}
        return statement.on_conflict_do_update(index_elements=key, set_=values)
    if not change:
        return insert_ignore(dialect, table)
    return upsert(dialect, table, lambda _old, new: [(name, new[name]) for name in change])


@lru_cache(maxsize=32)
def _fold(dialect: str, table: Table, names: tuple[str, ...], changes: Changes) -> Insert:
    if dialect == "postgresql":
        statement = _from_given(table, names)
        values = dict(changes(table.c, statement.excluded))
        return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)
    return upsert(dialect, table, changes)


def _from_given(table: Table, names: Sequence[str]) -> PostgresqlInsert:
    types = {name: table.c[name].type for name in names}
    given = _given(types)
    values = [
        func.decode(given.c[name], "base64") if isinstance(kind, LargeBinary) else given.c[name]
        for name, kind in types.items()
    ]
    return postgresql_insert(table).from_select(list(names), select(*values))


@lru_cache(maxsize=32)
def _amend(dialect: str, table: Table, names: tuple[str, ...], change: tuple[str, ...]) -> Update:
    if dialect == "postgresql":
        given: Any = _given({name: table.c[name].type for name in names}).c
    else:
        given = {name: bindparam(_list(name), type_=table.c[name].type) for name in names}
    statement = update(table).where(*(table.c[name] == given[name] for name in names if name not in change))
    return statement.values({name: given[name] for name in change})


@lru_cache(maxsize=256)
def _remove(dialect: str, table: Table, names: tuple[str, ...]) -> Delete:
    if dialect == "postgresql":
        given = _given({name: table.c[name].type for name in names})
        return delete(table).where(*(table.c[name] == given.c[name] for name in names))
    return delete(table).where(*(table.c[name] == bindparam(_list(name)) for name in names))


def _given(types: Mapping[str, TypeEngine[Any]]) -> TableValuedAlias:
    # Texts without their length: what is too long would silently be cut off. JSON has no bytes, they come as Base64.
    kinds = {name: Text() if isinstance(kind, String | Id | LargeBinary) else kind for name, kind in types.items()}
    rows = func.json_to_recordset(cast(bindparam("given", type_=Text()), JSON))
    return rows.table_valued(*[column(name, kind) for name, kind in kinds.items()]).render_derived(
        name="given", with_types=True
    )


def _encoded(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    # None becomes NULL, in columns of JSON too. Types are PostgreSQL's to check. A moment has to carry its zone: one
    # that does not is refused on the other databases only, whose tests run the same code.
    return {"given": msgspec.json.encode(rows).decode()}


def _list(name: str) -> str:
    return f"list_{name}"
