"""Is the history in itself what it promises? For each row one open version that is equal to it, and before that one
version after the other, without overlaps, and without gaps where a row never went away."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Key = tuple[Any, ...]
Version = Mapping[str, Any]

_KEYS: Mapping[str, tuple[str, ...]] = {
    "customer": ("corpid", "userid"),
    "customer_follow": ("corpid", "userid", "follow_userid"),
    "customer_follow_tag": ("corpid", "userid", "follow_userid", "tag_key"),
    "employee": ("corpid", "userid"),
    "employee_department": ("corpid", "userid", "department_id"),
    "department": ("corpid", "department_id"),
    "tag_group": ("corpid", "group_id"),
    "tag": ("corpid", "tag_id"),
    "group_chat": ("corpid", "chat_id"),
    "group_chat_member": ("corpid", "chat_id", "type", "userid"),
}
_COME_AND_GO = frozenset({"customer_follow_tag", "employee_department", "group_chat_member"})
"""Rows that may be away for a while."""
_EMPLOYEE = {"employee": "userid", "customer_follow": "follow_userid"}
"""Rows that are away once the employee has another id, and the column that has it."""
_ABOUT_VERSIONS = frozenset({"valid_from", "valid_to", "happened_at", "source", "event_id"})
_SOURCES = frozenset({"event", "view", "reconcile", "upgrade"})


@dataclass(slots=True)
class History:
    """How many versions there are, and tables and keys of rows whose versions are not right."""

    counts: dict[str, int] = field(default_factory=dict)
    missing: list[Key] = field(default_factory=list)
    spurious: list[Key] = field(default_factory=list)
    differing: list[Key] = field(default_factory=list)


async def read_history(conn: AsyncConnection, former: Set[Key]) -> History:
    """Hold every history against its table. ``former`` are (corpid, userid) of ids that employees had before."""
    result = History()
    for table, key in _KEYS.items():
        rows = {_named(row, key): row for row in await _all(conn, table)}
        versions: dict[Key, list[Version]] = {}
        found = await _all(conn, f"{table}_history")
        for version in sorted(found, key=lambda version: version["valid_from"]):
            versions.setdefault(_named(version, key), []).append(version)
        name = f"{table}_history"
        result.counts[name] = len(found)
        opened = {one for one, line in versions.items() if line[-1]["valid_to"] is None}
        result.missing += [(name, *one) for one in sorted(rows.keys() - opened)]
        result.spurious += [(name, *one) for one in sorted(opened - rows.keys())]
        for one, line in sorted(versions.items()):
            last = rows.get(one) if one in opened else None
            away = table in _COME_AND_GO
            if table in _EMPLOYEE:
                away = (line[0]["corpid"], line[0][_EMPLOYEE[table]]) in former
            if not _follows(line, may_be_away=away) or (last is not None and not _same(line[-1], last)):
                result.differing.append((name, *one))
    return result


def _follows(line: Sequence[Version], *, may_be_away: bool) -> bool:
    """Whether each version begins when the one before it ended, or if the row was away, later."""
    for version, after in zip(line, [*line[1:], None], strict=True):
        begin, end = version["valid_from"], version["valid_to"]
        if version["source"] not in _SOURCES or (end is not None and end <= begin):
            return False
        if after is None:
            continue
        if end is None or after["valid_from"] < end or (after["valid_from"] > end and not may_be_away):
            return False
        if after["valid_from"] == end and _same(after, version):
            # A version that says nothing new.
            return False
    return True


def _same(version: Version, row: Version) -> bool:
    return all(_plain(value) == _plain(row[name]) for name, value in version.items() if name not in _ABOUT_VERSIONS)


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            # One database gives JSON as it was written.
            return json.loads(value)
        except ValueError:
            return value
    return value


def _named(row: Version, key: tuple[str, ...]) -> Key:
    return tuple(row[column] for column in key)


async def _all(conn: AsyncConnection, table: str) -> list[Version]:
    # The names are this module's own constants.
    found = await conn.execute(text(f"SELECT * FROM {table}"))  # noqa: S608
    return [dict(row) for row in found.mappings()]
