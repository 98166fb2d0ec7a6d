"""Are the CRM tables equal to what WeCom says, and is their history in itself? Row by row, with SQL of its own.

It shares no code with what wrote the tables: plain SELECTs on the one side, the simulator's own state on the other.
What the platform can no longer show (a customer without a relation in sight, a relation that the employee ended) is
compared as far as it can be known: that the row is there, and since when and by whom the relation has ended. What it
does show must be complete and beyond doubt: no ``gone_at`` on such a customer, no ``unseen_since`` on such a relation.
Of other objects that are no more, it is compared that the row is there and says so.
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
from wecom.simulator.truth_objects import (
    CHAT_COLUMNS,
    CHAT_MEMBER_COLUMNS,
    DEPARTMENT_COLUMNS,
    EMPLOYEE_COLUMNS,
    PLACE_COLUMNS,
    TAG_COLUMNS,
    TAG_GROUP_COLUMNS,
)
from wecom_crm.comparison_history import read_history

Key = tuple[Any, ...]
Rows = dict[Key, dict[str, Any]]

CUSTOMER_COLUMNS = (
    *("name", "type", "gender", "avatar", "position", "corp_name", "corp_full_name", "unionid"),
    "external_profile",
)
FOLLOW_COLUMNS = (
    *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way"),
    *("state", "oper_userid", "createtime", "wechat_channels"),
)
FOLLOW_TAG_COLUMNS = ("type", "tag_id", "group_name", "tag_name")

_JSON = frozenset({"external_profile", "remark_mobiles", "wechat_channels", "direct_leaders", "leaders", "admins"})


@dataclass(frozen=True, slots=True)
class Compared:
    """One table and where the truth has it. ``absent`` columns are empty in a row of what is there.

    Of what is no more at least one of them has a moment. ``present`` columns are never empty. ``parent`` is the table
    that the rows hang on: those of what is no more stay as they were read last, whenever that was. ``only`` is a
    condition in SQL on the rows that count.
    """

    table: str
    field: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    absent: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    parent: Compared | None = None
    only: str = "1 = 1"


_CUSTOMER = Compared("customer", "customers", ("corpid", "userid"), CUSTOMER_COLUMNS, ("gone_at",))
_FOLLOW = Compared(
    *("customer_follow", "relations", ("corpid", "userid", "follow_userid"), FOLLOW_COLUMNS, ("unseen_since",))
)
_FOLLOW_TAG = Compared(
    *("customer_follow_tag", "tags", ("corpid", "userid", "follow_userid", "tag_key"), FOLLOW_TAG_COLUMNS),
    parent=_FOLLOW,
)
_EMPLOYEE = Compared("employee", "employees", ("corpid", "userid"), EMPLOYEE_COLUMNS, ("left_at", "gone_at"))
_EMPLOYEE_TAG = Compared("employee_tag", "employee_tags", ("corpid", "tagid"), ("tagname",), ("gone_at",))
_CHAT = Compared("group_chat", "group_chats", ("corpid", "chat_id"), CHAT_COLUMNS, ("dismissed_at", "gone_at"))
_CHAT_MEMBER = Compared(
    *("group_chat_member", "group_chat_members", ("corpid", "chat_id", "type", "userid"), CHAT_MEMBER_COLUMNS),
    parent=_CHAT,
)
_OBJECTS = (
    _EMPLOYEE,
    Compared(
        *("employee_department", "employee_departments", ("corpid", "userid", "department_id"), PLACE_COLUMNS),
        parent=_EMPLOYEE,
    ),
    Compared(
        *("employee_alias", "employee_aliases", ("corpid", "userid"), ("new_userid",)),
        present=("merged_at",),
        only="given_at IS NULL",
    ),
    Compared("department", "departments", ("corpid", "department_id"), DEPARTMENT_COLUMNS, ("deleted_at", "gone_at")),
    _EMPLOYEE_TAG,
    Compared(
        *("employee_tag_member", "employee_tag_members", ("corpid", "tagid", "member_type", "member_id"), ()),
        parent=_EMPLOYEE_TAG,
    ),
    Compared("tag_group", "tag_groups", ("corpid", "group_id"), TAG_GROUP_COLUMNS, ("deleted_at", "gone_at")),
    Compared("tag", "corp_tags", ("corpid", "tag_id"), TAG_COLUMNS, ("deleted_at", "gone_at")),
    _CHAT,
    _CHAT_MEMBER,
    Compared("group_chat_version", "group_chat_versions", ("corpid", "chat_id", "cur_mem_ver"), ("last_mem_ver",)),
)
_ALL = (_CUSTOMER, _FOLLOW, _FOLLOW_TAG, *_OBJECTS)


@dataclass(slots=True)
class Report:
    """How many rows of each table were compared, and the tables and keys of those that are not right.

    Of the history, a row without an open version is missing, an open version without a row is spurious, and one that
    is not equal to the row, or does not follow on the one before it, differs.
    """

    counts: dict[str, int] = field(default_factory=dict)
    missing: list[Key] = field(default_factory=list)
    spurious: list[Key] = field(default_factory=list)
    differing: list[Key] = field(default_factory=list)

    @property
    def customers(self) -> int:
        return self.counts.get("customer", 0)

    @property
    def relations(self) -> int:
        return self.counts.get("customer_follow", 0)

    @property
    def tags(self) -> int:
        """Those of relations."""
        return self.counts.get("customer_follow_tag", 0)

    @property
    def equal(self) -> bool:
        return not (self.missing or self.spurious or self.differing)

    def __str__(self) -> str:
        return f"missing {len(self.missing)}, spurious {len(self.spurious)}, differing {len(self.differing)}"


async def compare(database: Database, truth: Truth) -> Report:
    """Read all tables and hold them against the truth, and each history against its table.

    Raises ``ValueError`` for a truth that can't be one.
    """
    _check(truth)
    report = Report()
    relations = _expected(_FOLLOW, truth)
    for key, (lost_at, lost_by) in truth.endings.items():
        relations[key] |= {"lost_at": lost_at, "lost_by": lost_by}
    async with database.read() as conn:
        _hold(report, _CUSTOMER, await _rows(conn, _CUSTOMER), _expected(_CUSTOMER, truth))
        _hold(report, _FOLLOW, await _rows(conn, _FOLLOW, "lost_at", "lost_by"), relations)
        tags = _of_living(_FOLLOW_TAG, await _rows(conn, _FOLLOW_TAG), truth)
        _hold(report, _FOLLOW_TAG, _named(report, tags), _expected(_FOLLOW_TAG, truth))
        for one in _OBJECTS:
            found = _of_living(one, await _rows(conn, one), truth)
            if one is _CHAT_MEMBER:
                _call_as_today(found, truth)
            _hold(report, one, found, _expected(one, truth))
            _hold_endings(report, one, found, truth)
        history = await read_history(conn, frozenset(truth.employee_aliases))
    report.counts |= history.counts
    report.missing += history.missing
    report.spurious += history.spurious
    report.differing += history.differing
    return report


def _check(truth: Truth) -> None:
    """A truth that contradicts itself or lacks a column would pass tables that are wrong."""
    for one in _ALL:
        for key, row in _told(one, truth).items():
            if row is not None and row.keys() != set(one.columns):
                wrong = sorted(row.keys() ^ set(one.columns))
                raise ValueError(f"the truth about {one.table} {key} lacks or adds columns: {wrong}")
            if one.parent is not None and _told(one.parent, truth).get(key[: len(one.parent.key)]) is None:
                raise ValueError(f"the truth has {one.table} {key} of something that it does not list")
    if truth.endings.keys() != truth.relations.keys():
        raise ValueError("the truth has endings of other relations than it has relations")
    for key, row in truth.relations.items():
        if key[:2] not in truth.customers or (row is not None and truth.customers[key[:2]] is None):
            raise ValueError(f"the truth lists the relation {key} of a customer that it does not show")


def _told(one: Compared, truth: Truth) -> Mapping[Key, Mapping[str, Any] | None]:
    rows: Mapping[Key, Mapping[str, Any] | None] = getattr(truth, one.field)
    return rows


def _expected(one: Compared, truth: Truth) -> Rows:
    empty = dict.fromkeys(one.absent)
    return {key: {} if values is None else {**values, **empty} for key, values in _told(one, truth).items()}


def _of_living(one: Compared, found: Rows, truth: Truth) -> Rows:
    """Without what hangs on something that is no more. What hangs on something unknown stays in, and is spurious."""
    if one.parent is None:
        return found
    parents, length = _told(one.parent, truth), len(one.parent.key)
    return {key: row for key, row in found.items() if parents.get(key[:length], {}) is not None}


def _named(report: Report, tags: Rows) -> Rows:
    """By tag_id, which has to be the key of a tag that has one, and personal tags by group and name."""
    named: Rows = {}
    for key, row in tags.items():
        name = (*key[:3], key[3] if row["tag_id"] is not None else f"{row['group_name']}/{row['tag_name']}")
        if name in named:
            # Two rows for what the platform shows once.
            report.spurious.append((_FOLLOW_TAG.table, *key))
        named[name] = row
    return named


def _call_as_today(members: Rows, truth: Truth) -> None:
    """Who invited is kept under the id of then until the group is read again."""
    for key, row in members.items():
        if row["invitor"] is not None:
            row["invitor"] = truth.today(key[0], row["invitor"])


def _hold(report: Report, one: Compared, found: Rows, expected: Rows) -> None:
    report.counts[one.table] = len(found)
    report.missing += [(one.table, *key) for key in sorted(expected.keys() - found.keys())]
    report.spurious += [(one.table, *key) for key in sorted(found.keys() - expected.keys())]
    report.differing += [
        (one.table, *key)
        for key in sorted(expected.keys() & found.keys())
        if any(found[key][column] != value for column, value in expected[key].items())
        or any(found[key][column] is None for column in one.present)
    ]


def _hold_endings(report: Report, one: Compared, found: Rows, truth: Truth) -> None:
    """What is no more has to say so."""
    ended = [key for key, row in _told(one, truth).items() if row is None and key in found]
    report.differing += [
        (one.table, *key) for key in sorted(ended) if all(found[key][column] is None for column in one.absent)
    ]


async def _rows(conn: AsyncConnection, one: Compared, *more: str) -> Rows:
    columns = (*one.columns, *one.absent, *one.present, *more)
    # The names are this module's own constants.
    statement = text(f"SELECT {', '.join((*one.key, *columns))} FROM {one.table} WHERE {one.only}")  # noqa: S608
    found = (await conn.execute(statement)).mappings().all()
    return {
        tuple(row[column] for column in one.key): {column: _plain(column, row[column]) for column in columns}
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
