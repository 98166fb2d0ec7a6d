"""Are the CRM tables equal to what WeCom says? Row by row, with SQL of its own.

It shares no code with what wrote the tables: plain SELECTs on the one side, the simulator's own state on the other.
What the platform can no longer show (a customer without a relation in sight, a relation that the employee ended) is
compared as far as it can be known: that the row is there, and since when and by whom the relation has ended. What it
does show must be complete and beyond doubt: no ``gone_at`` on such a customer, no ``unseen_since`` on such a relation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.engine import Database
from wecom.simulator.truth import Truth

Key = tuple[str, ...]
Rows = dict[Key, dict[str, Any]]

CUSTOMER_COLUMNS = (
    *("name", "type", "gender", "avatar", "position", "corp_name", "corp_full_name", "unionid"),
    "external_profile",
)
FOLLOW_COLUMNS = (
    *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way"),
    *("state", "oper_userid", "createtime", "wechat_channels"),
)
TAG_COLUMNS = ("type", "tag_id", "group_name", "tag_name")

_JSON = frozenset({"external_profile", "remark_mobiles", "wechat_channels"})
_ABSENT_IF_SHOWN = {"customer": "gone_at", "customer_follow": "unseen_since"}


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
    """Read the three tables and hold them against the truth. Raises ``ValueError`` for a truth that can't be one."""
    _check(truth)
    async with database.read() as conn:
        customers = await _rows(conn, "customer", ("corpid", "userid"), CUSTOMER_COLUMNS)
        relations = await _rows(
            conn, "customer_follow", ("corpid", "userid", "follow_userid"), (*FOLLOW_COLUMNS, "lost_at", "lost_by")
        )
        all_tags = await _rows(
            conn, "customer_follow_tag", ("corpid", "userid", "follow_userid", "tag_key"), TAG_COLUMNS
        )
    # Those of a relation that is listed no more stay as they were read last, whenever that was.
    tags = {key: row for key, row in all_tags.items() if truth.relations.get(key[:3], {}) is not None}
    report = Report(len(customers), len(relations), len(tags))
    _hold(report, customers, {key: _shown("customer", values) for key, values in truth.customers.items()})
    expected_relations = {key: _shown("customer_follow", values) for key, values in truth.relations.items()}
    for key, (lost_at, lost_by) in truth.endings.items():
        expected_relations[key] |= {"lost_at": lost_at, "lost_by": lost_by}
    _hold(report, relations, expected_relations)
    _hold(report, _named(report, tags), truth.tags)
    return report


def _check(truth: Truth) -> None:
    """A truth that contradicts itself or lacks a column would pass tables that are wrong."""
    parts = ((truth.customers, CUSTOMER_COLUMNS), (truth.relations, FOLLOW_COLUMNS), (truth.tags, TAG_COLUMNS))
    for rows, columns in parts:
        for key, row in rows.items():
            if row is not None and row.keys() != set(columns):
                raise ValueError(f"the truth about {key} lacks or adds columns: {sorted(row.keys() ^ set(columns))}")
    if truth.endings.keys() != truth.relations.keys():
        raise ValueError("the truth has endings of other relations than it has relations")
    for key, row in truth.relations.items():
        if key[:2] not in truth.customers or (row is not None and truth.customers[key[:2]] is None):
            raise ValueError(f"the truth lists the relation {key} of a customer that it does not show")
    for key in truth.tags:
        if truth.relations.get(key[:3]) is None:
            raise ValueError(f"the truth has the tag {key} of a relation that it does not list")


def _shown(table: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if values is None else {**values, _ABSENT_IF_SHOWN[table]: None}


def _named(report: Report, tags: Rows) -> Rows:
    """By tag_id, which has to be the key of a tag that has one, and personal tags by group and name."""
    named: Rows = {}
    for key, row in tags.items():
        name = (*key[:3], key[3] if row["tag_id"] is not None else f"{row['group_name']}/{row['tag_name']}")
        if name in named:
            # Two rows for what the platform shows once.
            report.spurious.append(key)
        named[name] = row
    return named


def _hold(report: Report, found: Mapping[Key, Mapping[str, Any]], expected: Mapping[Key, Mapping[str, Any]]) -> None:
    report.missing += sorted(expected.keys() - found.keys())
    report.spurious += sorted(found.keys() - expected.keys())
    report.differing += sorted(
        key
        for key in expected.keys() & found.keys()
        if any(found[key][column] != value for column, value in expected[key].items())
    )


async def _rows(conn: AsyncConnection, table: str, key: tuple[str, ...], columns: tuple[str, ...]) -> Rows:
    if table in _ABSENT_IF_SHOWN:
        columns = (*columns, _ABSENT_IF_SHOWN[table])
    # The names are this module's own constants.
    statement = text(f"SELECT {', '.join((*key, *columns))} FROM {table}")  # noqa: S608
    found = (await conn.execute(statement)).mappings().all()
    return {
        tuple(row[column] for column in key): {column: _plain(column, row[column]) for column in columns}
        for row in found
    }


def _plain(column: str, value: Any) -> Any:
    if value is None:
        return None
    if column in _JSON:
        return json.loads(value) if isinstance(value, str) else value
    if column == "lost_at":
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
    return value
