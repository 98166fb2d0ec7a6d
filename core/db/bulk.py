"""Many rows in one statement, in the words of each database.

On PostgreSQL a list of rows travels as one array per column: executed row by row, even in one packet, it takes three to
eight times as long, and its SQL would be another one, to be planned anew, for each number of rows. The driver of MySQL
folds the rows of an INSERT into one statement and of no other; SQLite is in this process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    Delete,
    Select,
    String,
    Table,
    Text,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    true,
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
    wanted = _rows_of_lists({column.name: column.type for column in columns})
    theirs = query.where(*(column == wanted.c[column.name] for column in columns)).offset(literal_column("0"))
    found = theirs.lateral("found")
    return select(*found.c).select_from(wanted.join(found, true()))


def lists(dialect: str, **values: Sequence[Any]) -> dict[str, Any]:
    """Parameters for a statement of ``for_each``: for each column its values, together the wanted rows.

    They are in key order against deadlocks, and none comes twice.
    """
    if dialect == "postgresql":
        return {_list(name): list(part) for name, part in values.items()}
    return {_list(name): sorted(set(part)) for name, part in values.items()}


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


@lru_cache(maxsize=32)
def _fold(dialect: str, table: Table, names: tuple[str, ...], changes: Changes) -> Insert:
    if dialect == "postgresql":
        statement = _from_lists(table, names)
        values = dict(changes(table.c, statement.excluded))
        return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)
    return upsert(dialect, table, changes)


def _from_lists(table: Table, names: Sequence[str]) -> PostgresqlInsert:
    given = _rows_of_lists({name: table.c[name].type for name in names})
    return postgresql_insert(table).from_select(list(names), select(*[given.c[name] for name in names]))


@lru_cache(maxsize=256)
def _remove(dialect: str, table: Table, names: tuple[str, ...]) -> Delete:
    if dialect == "postgresql":
        given = _rows_of_lists({name: table.c[name].type for name in names})
        return delete(table).where(*(table.c[name] == given.c[name] for name in names))
    return delete(table).where(*(table.c[name] == bindparam(_list(name)) for name in names))


def _rows_of_lists(types: Mapping[str, TypeEngine[Any]]) -> TableValuedAlias:
    # Texts without their length: a parameter is converted to its type, and what is too long would silently be cut off.
    kinds = {name: Text() if isinstance(kind, String | Id) else kind for name, kind in types.items()}
    parameters = [bindparam(_list(name), type_=ARRAY(kind, dimensions=1)) for name, kind in kinds.items()]
    columns = [column(name, kind) for name, kind in kinds.items()]
    return func.unnest(*parameters).table_valued(*columns).render_derived(name="lists")


def _list(name: str) -> str:
    return f"list_{name}"
