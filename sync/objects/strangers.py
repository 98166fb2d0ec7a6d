"""Employees whom relations name: who has to be read, and whose departure is still to be carried out.

Whoever learns of a relation, from an event or an answer, asks here, as nothing else may ever name the employee.
The departure of who left is carried out again each time: facts that come late depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import for_each, lists
from core.db.tables import employee, pending_read
from sync.effects import DEPARTURE, MEMBER, Object
from sync.facts import is_later_word


async def looks_at(conn: AsyncConnection, corpid: str, named: Mapping[str, datetime]) -> dict[str, list[Object]]:
    """Objects to look at because of these employees, by employee; none for most.

    ``named`` has the ids of today, and when the event happened or the call began that named them. Who is unknown is
    read; what somebody has who left ends, and who is named a day after leaving may have come back.
    """
    if not named:
        return {}
    values = lists(conn.dialect.name, userid=sorted(named)) | {"corpid": corpid}
    known = {row.userid: row.left_at for row in await conn.execute(_known(conn.dialect.name), values)}
    left = {userid: moment for userid, moment in known.items() if moment is not None}
    strangers = {userid for userid in named if userid not in known}
    strangers |= {userid for userid, moment in left.items() if is_later_word(named[userid], moment)}
    if strangers:
        # Who is waited for is not asked for more urgently: an app that may not read employees would ask each time.
        p = pending_read.c
        waits = select(p.object_id).where(p.corpid == corpid, p.kind == MEMBER, p.object_id.in_(sorted(strangers)))
        strangers -= set((await conn.execute(waits)).scalars())
    found: dict[str, list[Object]] = {userid: [(DEPARTURE, userid)] for userid in left}
    for userid in sorted(strangers):
        found.setdefault(userid, []).append((MEMBER, userid))
    return found


@cache
def _known(dialect: str) -> Select[Any]:
    t = employee.c
    return for_each(dialect, select(t.userid, t.left_at).where(t.corpid == bindparam("corpid")), [t.userid])
