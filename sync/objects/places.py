"""Which departments employees are in. Whoever changes that has locked the employee."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import as_dicts
from core.db.tables import employee_department
from sync.objects.base import Row
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
    for row in as_dicts(await conn.execute(select(*columns).where(t.corpid == corpid, t.userid.in_(userids)))):
        found[row["userid"]].append(row)
    return found
