"""Which departments employees are in. Whoever changes that has locked the employee."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import put, remove
from core.db.tables import employee_department
from sync.history import Version, differs, record
from sync.objects.base import Cause, Row
from wecom.directory import Place

_COLUMNS = ("is_leader", "sort_order")


def place_rows(userid: str, places: Iterable[Place]) -> list[Row]:
    """The rows of an employee who is in these departments."""
    return [
        {"userid": userid, "department_id": place.department_id, **{name: getattr(place, name) for name in _COLUMNS}}
        for place in places
    ]


async def read_places(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> dict[str, list[Row]]:
    """The rows of each of these employees; of one who is nowhere an empty list."""
    t = employee_department.c
    columns = [t[name] for name in ("userid", "department_id", *_COLUMNS)]
    found: dict[str, list[Row]] = {userid: [] for userid in userids}
    for row in (await conn.execute(select(*columns).where(t.corpid == corpid, t.userid.in_(userids)))).mappings():
        found[row["userid"]].append(dict(row))
    return found


@dataclass(slots=True)
class PlaceChanges:
    """What is to be written and what removed, with its history."""

    _put: dict[tuple[str, int], Row] = field(default_factory=dict)
    _gone: dict[tuple[str, int], Row] = field(default_factory=dict)
    _versions: list[Version] = field(default_factory=list)

    def add(self, old: Iterable[Row], wanted: Iterable[Row], cause: Cause) -> bool:
        """Take up in what these rows differ from those wanted instead. Returns whether they do."""
        before = {(row["userid"], row["department_id"]): row for row in old}
        after = {(row["userid"], row["department_id"]): row for row in wanted}
        gone = {key: _key(row) for key, row in before.items() if key not in after}
        new = {
            key: row
            for key, row in after.items()
            if key not in before or differs(employee_department, row, before[key])
        }
        self._gone |= gone
        self._put |= new
        self._versions += [Version(key, None, cause) for key in gone.values()]
        self._versions += [Version(_key(row), row, cause) for row in new.values()]
        return bool(gone or new)

    async def write(self, conn: AsyncConnection, corpid: str, now: datetime) -> None:
        """Write all of it, in key order."""
        await remove(conn, employee_department, [{"corpid": corpid, **row} for _, row in sorted(self._gone.items())])
        rows = [{"corpid": corpid, **row} for _, row in sorted(self._put.items())]
        await put(conn, employee_department, rows, _COLUMNS)
        await record(conn, employee_department, corpid, self._versions, now)


def _key(row: Row) -> Row:
    return {"userid": row["userid"], "department_id": row["department_id"]}
