"""History: for each table in ``HISTORY`` another one with every version that this system knew of its rows.

System time, not the platform's: a version counts from ``valid_from``, the moment at which this system changed the row,
until ``valid_to``. So "as of then" means what was known then; when something happened is in ``happened_at``, and when a
relation was lost is in its ``lost_at``.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, Index, String, Table

from core.db.tables.base import metadata
from core.db.tables.customers import customer, customer_follow, customer_follow_tag
from core.db.tables.directory import department, employee, employee_department
from core.db.tables.groups import group_chat, group_chat_member
from core.db.tables.tags import tag, tag_group
from core.db.types import Instant

# What operations need and no analyst: when it was read, what events told, how doubtful it is.
_NOT_KEPT = frozenset(
    {"last_add_at", "last_loss_at", "last_loss_by", "unseen_since", "fetched_at", "first_seen_at"}
    | {"last_create_at", "last_delete_at", "member_version"}
)


def business_columns(table: Table) -> Sequence[str]:
    """Names of the columns whose change makes a new version."""
    return [column.name for column in table.columns if not column.primary_key and column.name not in _NOT_KEPT]


def _history_of(table: Table) -> Table:
    def copies(names: Sequence[str], *, key: bool) -> list[Column[object]]:
        return [
            Column(name, table.c[name].type, primary_key=key, autoincrement=False, comment=table.c[name].comment)
            for name in names
        ]

    return Table(
        f"{table.name}_history",
        metadata,
        *copies([column.name for column in table.primary_key], key=True),
        Column("valid_from", Instant(), primary_key=True, comment="Since when this system held this version"),
        Column("valid_to", Instant(), comment="Until when; NULL: it still does"),
        Column("happened_at", Instant(), comment="CreateTime of the event that led to it; NULL: no event did"),
        Column(
            "source",
            String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        Column("event_id", String(64), comment="The event that led to it, if one did"),
        *copies(business_columns(table), key=False),
        # Without corpid, so that nobody who looks for one row by its key is led here.
        Index(None, "valid_from"),
        comment=f"Every version that this system held of the rows of {table.name}",
    )


HISTORY: dict[str, Table] = {
    table.name: _history_of(table)
    for table in (
        *(customer, customer_follow, customer_follow_tag, employee, employee_department, department),
        *(tag_group, tag, group_chat, group_chat_member),
    )
}
"""Name of a table to the table of its versions."""
