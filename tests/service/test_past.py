"""As of a moment: the views of history, asked as analysts are told to, say what the tables said then.

Two weeks of a small company: at two hundred moments of them everything is applied and read, and the tables are held
against the platform's state. When all is over, history has to give the same rows for each of these moments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.db.engine import Database
from core.db.tables import HISTORY, metadata
from tests.support.crm import rows
from tests.support.days import Days, lived
from tests.support.views import COLUMNS, seen
from wecom.simulator.truth import truth_of
from wecom_crm.comparison import compare

pytestmark = pytest.mark.asyncio

MOMENTS = 200
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "ask-the-tables.md"
OTHERWISE = {"remark_mobiles", "mobile", "telephone", "oper_userid", "invitor"}
"""What the views mask, or give by the employee's id of today."""

Tables = Mapping[str, list[dict[str, Any]]]


def columns_of(name: str) -> dict[str, str]:
    """Of this table those columns that its view of history shows as they were, by what they are called there."""
    found = {column: column for column in COLUMNS[f"v_{name}_history"] if column in metadata.tables[name].c}
    if "follow_userid" in found:
        # The employee's id of then, not of today.
        found["known_userid"] = found.pop("follow_userid")
    return {here: there for here, there in found.items() if here not in OTHERWISE}


def as_told(moment: str) -> str:
    """Which versions counted then, in the words of the page."""
    (condition,) = re.findall(r"counted at a\s+moment has `(.+?)`", PAGE.read_text(encoding="utf-8"))
    return str(condition).replace("moment", f"'{moment}'")


def in_order(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(lines, key=lambda line: repr(sorted(line.items())))


async def tables_of(database: Database) -> Tables:
    """The rows of every table with history."""
    return {
        name: in_order(
            {there: row[there] for there in columns_of(name).values()} for row in await rows(database, table)
        )
        for name, table in metadata.tables.items()
        if name in HISTORY
    }


async def past_of(database: Database, moment: str) -> Tables:
    """The same as the views have it of that moment."""
    return {
        name: in_order(
            {there: row[here] for here, there in columns_of(name).items()}
            for row in await seen(database, f"v_{name}_history", *columns_of(name), where=as_told(moment))
        )
        for name in HISTORY
    }


async def test_history_gives_what_the_tables_said_at_each_of_two_hundred_moments(tmp_path: Path) -> None:
    then: list[tuple[str, Tables]] = []

    async def remember(days: Days) -> None:
        report = await compare(days.database, truth_of(days.world))
        assert report.equal, f"{report}: {report.missing[:3]} {report.spurious[:3]} {report.differing[:3]}"
        async with days.database.read() as conn:
            moment = await days.database.clock(conn)
        then.append((f"{moment:%Y-%m-%d %H:%M:%S.%f}", await tables_of(days.database)))

    url = f"sqlite+aiosqlite:///{tmp_path / 'crm.sqlite'}"
    async with lived(url, tmp_path, changes=MOMENTS + 20, seed=6, settled=remember) as days:
        assert len(then) >= MOMENTS
        assert sum(one != other for (_, one), (_, other) in pairwise(then)) > MOMENTS / 2
        for moment, tables in then:
            assert await past_of(days.database, moment) == tables, moment
        # Each table with history had something to remember.
        for name, table in HISTORY.items():
            assert any(row["valid_to"] is not None for row in await rows(days.database, table)), name
