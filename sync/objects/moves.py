"""Moving what stands under an id that an employee had before to the new one: what every step of it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, Text, and_, cast, or_, true
from sqlalchemy.ext.asyncio import AsyncConnection

from sync.objects.base import Cause, Row


@dataclass(frozen=True, slots=True)
class Move:
    """From the ``old`` id to the ``new`` one, as an event of ``told_at`` said; both in lower case.

    ``given_at`` is since when the old id has been somebody else's.
    """

    conn: AsyncConnection
    dialect: str
    corpid: str
    old: str
    new: str
    told_at: datetime
    given_at: datetime | None
    cause: Cause
    now: datetime

    def named(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        """That a column of JSON lists seems to have the old id in it; collations may see more than there is."""
        return cast(column, Text).contains(msgspec.json.encode(self.old).decode(), autoescape=True)

    def before(self, *moments: ColumnElement[Any]) -> ColumnElement[bool]:
        """That all these moments of a row, if it has them, are those of who had the old id before it was given away."""
        if self.given_at is None:
            return true()
        return and_(*(or_(moment.is_(None), moment < self.given_at) for moment in moments))

    def is_before(self, row: Row, *names: str) -> bool:
        """The same of a row that is locked by now."""
        return self.given_at is None or all(row[name] is None or row[name] < self.given_at for name in names)

    def still(self, rows: Mapping[str, Row], *names: str) -> dict[str, Row]:
        """Those of the rows, which are locked by now, of which it holds: others may have been written until then."""
        return {key: row for key, row in rows.items() if self.is_before(row, *names)}

    def renamed(self, ids: Iterable[str] | None) -> list[str] | None:
        """Such a list with the new id in place of the old one, each id once."""
        if ids is None:
            return None
        return list(dict.fromkeys(self.new if one == self.old else one for one in ids))

    async def keys(self, rows: Select[Any], most: int) -> tuple[list[Any], bool]:
        """Keys of so many rows at most that name the old id, and whether there may be more.

        ``rows`` selects the key, and then ids and lists of ids.
        """
        found = (await self.conn.execute(rows.limit(most))).all()
        keys = [row[0] for row in found if any(self._is_in(value) for value in row[1:])]
        return keys, len(found) == most and bool(keys)

    def _is_in(self, value: str | list[str] | None) -> bool:
        return self.old in value if isinstance(value, list) else self.old == value
