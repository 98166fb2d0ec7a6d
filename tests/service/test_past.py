"""As of a moment: what the tables said then, as they say it today.

At each of two hundred moments everything is applied and read, and the tables are held against the platform's state.
When all is over, history has to give the same rows for each of these moments.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.db.engine import Database
from core.db.past import as_of
from core.db.tables import HISTORY, business_columns, metadata
from tests.support.crm import crm_database
from tests.support.histories import Histories
from wecom_crm.comparison import compare

pytestmark = pytest.mark.asyncio

MOMENTS = 200
_Tables = Mapping[str, list[dict[str, Any]]]


async def tables_of(database: Database, moment: datetime | None = None) -> _Tables:
    """The rows of every table with history, as they are or as they were then, by their keys."""
    found: dict[str, list[dict[str, Any]]] = {}
    async with database.read() as conn:
        for name in HISTORY:
            table = metadata.tables[name]
            keys = [column.name for column in table.primary_key]
            wanted = table.select() if moment is None else as_of(table, moment)
            rows = [dict(row) for row in (await conn.execute(wanted)).mappings()]
            columns = (*keys, *business_columns(table))
            lines = [{column: row[column] for column in columns} for row in rows]
            found[name] = sorted(lines, key=lambda line, keys=keys: [line[key] for key in keys])
    return found


async def test_history_gives_what_the_tables_said_at_each_of_two_hundred_moments(tmp_path: Path) -> None:
    source = random.Random(6)
    async with crm_database(tmp_path, (), ()) as database:
        histories = Histories(database, 6, 2)
        then: list[tuple[datetime, _Tables]] = []
        for _ in range(MOMENTS):
            await histories.run(source.choice((1, 1, 2, 3)), drop=0)
            await histories.settle()
            report = await compare(database, histories.truth)
            assert report.equal, f"{report}: {report.missing[:3]} {report.spurious[:3]} {report.differing[:3]}"
            async with database.read() as conn:
                moment = await database.clock(conn)
            then.append((moment, await tables_of(database)))
        assert sum(one != other for (_, one), (_, other) in pairwise(then)) > MOMENTS / 2
        for moment, tables in then:
            assert await tables_of(database, moment) == tables
        # Each table with history had something to remember.
        for name in HISTORY:
            async with database.read() as conn:
                versions = (await conn.execute(HISTORY[name].select())).all()
            assert any(row.valid_to is not None for row in versions), name
