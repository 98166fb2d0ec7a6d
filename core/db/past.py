"""The tables as this system knew them at a moment, from the versions that it keeps of their rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, or_, select

from core.db.tables import HISTORY, business_columns


def as_of(table: Table, moment: datetime) -> Select[Any]:
    """The rows that the table had at this moment, with its key and those of its columns that history keeps.

    What was *known* then: of a loss that was heard of later there is nothing in it, though its ``lost_at`` may be
    earlier. Narrow it by columns of ``HISTORY[table.name]``, or use it as a subquery. Transactions that were open at
    that moment count by when they began, so the last seconds may still change. Raises ``ValueError`` for a table
    without history.
    """
    kept = HISTORY.get(table.name)
    if kept is None:
        raise ValueError(f"no history is kept of {table.name}; it is of {', '.join(sorted(HISTORY))}")
    names = [*(column.name for column in table.primary_key), *business_columns(table)]
    return select(*[kept.c[name] for name in names]).where(
        # From the moment of the change on, until the next one begins.
        kept.c.valid_from <= moment,
        or_(kept.c.valid_to.is_(None), kept.c.valid_to > moment),
    )
