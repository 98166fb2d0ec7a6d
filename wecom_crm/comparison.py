"""Are the CRM tables equal to what WeCom says? Row by row, with SQL of its own.

It shares no code with what wrote the tables: plain SELECTs on the one side, the simulator's own state on the other.
What the platform can no longer show (a customer without a relation in sight, a relation that the employee ended) is
compared as far as it can be known: that the row is there, and since when and by whom the relation has ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from core.db.engine import Database

Key = tuple[str, ...]
Rows = dict[Key, dict[str, Any]]

CUSTOMER_COLUMNS = ("name", "type", "gender", "avatar", "position", "corp_name", "corp_full_name", "unionid")
FOLLOW_COLUMNS = (
    *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way"),
    *("state", "oper_userid", "createtime"),
)
TAG_COLUMNS = ("type", "tag_id", "group_name", "tag_name")


@dataclass(frozen=True, slots=True)
class Truth:
    """What the tables should hold. A value of None in a table of it means: not to be known, not compared."""

    customers: Mapping[Key, Mapping[str, Any] | None]
    """(corpid, userid) to the columns, or None when nobody in sight has the customer."""
    relations: Mapping[Key, Mapping[str, Any] | None]
    """(corpid, userid, follow_userid) to the columns, or None when the platform lists the relation no more."""
    endings: Mapping[Key, tuple[int | None, str | None]]
    """(corpid, userid, follow_userid) to (lost_at in Unix seconds, lost_by)."""
    tags: Mapping[Key, Mapping[str, Any]]
    """(corpid, userid, follow_userid, tag_id or "group/name") to the columns, of relations that are listed."""


@dataclass(slots=True)
class Report:
    """How many rows were compared, and the keys of those that are not right."""

    customers: int = 0
    relations: int = 0
    tags: int = 0
    missing: list[Key] = field(default_factory=list)
    spurious: list[Key] = field(default_factory=list)
    differing: list[Key] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not (self.missing or self.spurious or self.differing)

    def __str__(self) -> str:
        return f"missing {len(self.missing)}, spurious {len(self.spurious)}, differing {len(self.differing)}"


async def compare(database: Database, truth: Truth) -> Report:
    """Read the three tables and hold them against the truth."""
    customers = await _rows(database, "customer", ("corpid", "userid"), CUSTOMER_COLUMNS)
    relations = await _rows(
        database,
        "customer_follow",
        ("corpid", "userid", "follow_userid"),
        (*FOLLOW_COLUMNS, "lost_at", "lost_by"),
    )
    tags = {
        (*key[:3], row["tag_id"] or f"{row['group_name']}/{row['tag_name']}"): row
        for key, row in (
            await _rows(database, "customer_follow_tag", ("corpid", "userid", "follow_userid", "tag_key"), TAG_COLUMNS)
        ).items()
        if truth.relations.get(key[:3], {}) is not None
    }
    report = Report(len(customers), len(relations), len(tags))
    expected_relations = {
        key: {**(values if values is not None else {}), "lost_at": ending[0], "lost_by": ending[1]}
        for (key, values), ending in ((item, truth.endings[item[0]]) for item in truth.relations.items())
    }
    _hold(report, customers, {key: values or {} for key, values in truth.customers.items()})
    _hold(report, relations, expected_relations)
    _hold(report, tags, truth.tags)
    return report


def _hold(report: Report, found: Mapping[Key, Mapping[str, Any]], expected: Mapping[Key, Mapping[str, Any]]) -> None:
    report.missing += sorted(expected.keys() - found.keys())
    report.spurious += sorted(found.keys() - expected.keys())
    report.differing += sorted(
        key
        for key in expected.keys() & found.keys()
        if any(found[key][column] != value for column, value in expected[key].items())
    )


async def _rows(database: Database, table: str, key: tuple[str, ...], columns: tuple[str, ...]) -> Rows:
    # The names are this module's own constants.
    statement = text(f"SELECT {', '.join((*key, *columns))} FROM {table}")  # noqa: S608
    async with database.read() as conn:
        found = (await conn.execute(statement)).mappings().all()
    return {
        tuple(row[column] for column in key): {column: _plain(column, row[column]) for column in columns}
        for row in found
    }


def _plain(column: str, value: Any) -> Any:
    if value is None:
        return None
    if column == "remark_mobiles":
        return json.loads(value) if isinstance(value, str) else value
    if column == "lost_at":
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return int((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp())
    return value
