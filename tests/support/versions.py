"""What must hold of the versions of rows, whatever happened to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from typing import Any

from sqlalchemy import Select, Table, or_, select

from core.db.engine import Database
from core.db.tables import HISTORY, business_columns
from tests.support.crm import rows


async def versions(database: Database, table: Table, *columns: str, **key: object) -> list[dict[str, Any]]:
    """The versions of the rows with this key or part of one, oldest first, with these columns (all without any)."""
    found = await rows(database, HISTORY[table.name])
    mine = [row for row in found if all(row[name] == value for name, value in key.items())]
    return [{name: row[name] for name in columns} if columns else row for row in mine]


def as_of(table: Table, moment: datetime) -> Select[Any]:
    """The rows that this table had then, with its key and those of its columns that history keeps."""
    kept = HISTORY[table.name]
    names = [*(column.name for column in table.primary_key), *business_columns(table)]
    counted = kept.c.valid_from <= moment, or_(kept.c.valid_to.is_(None), kept.c.valid_to > moment)
    return select(*[kept.c[name] for name in names]).where(*counted)


async def check_history(database: Database, table: Table, *, gaps: bool = False) -> None:
    """Every row stands as its open version says, and no two versions of a row count at the same moment.

    ``gaps``: rows of this table come and go; otherwise one version begins when the one before ends.
    """
    names = [column.name for column in table.primary_key]
    columns = business_columns(table)
    current = {tuple(row[name] for name in names): row for row in await rows(database, table)}
    kept = await rows(database, HISTORY[table.name])
    assert {tuple(row[name] for name in names) for row in kept} >= current.keys()
    for key, group in groupby(kept, key=lambda row: tuple(row[name] for name in names)):
        history = list(group)
        _check_order(history, gaps=gaps)
        last = history[-1]
        if key in current:
            assert last["valid_to"] is None, f"{table.name} {key} has no open version"
            assert {name: last[name] for name in columns} == {name: current[key][name] for name in columns}
        else:
            assert last["valid_to"] is not None, f"{table.name} {key} is no more and has an open version"


def _check_order(history: Sequence[Mapping[str, Any]], *, gaps: bool) -> None:
    for before, after in pairwise(history):
        assert before["valid_to"] is not None
        assert before["valid_from"] < before["valid_to"] <= after["valid_from"]
        assert gaps or before["valid_to"] == after["valid_from"]
    last = history[-1]
    assert last["valid_to"] is None or last["valid_from"] < last["valid_to"]
