"""What an employee who left had: those relations have ended, and nothing may ever say so of each (document 90970).

An event about a relation itself, such as the transfer's before or after, says more: its loss is the one that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import customer_follow, employee
from sync.effects import DEPARTURE
from sync.facts import LEFT, Facts
from sync.objects.base import Answer, Cause, Unasked, Written
from sync.objects.customers import write_facts
from sync.objects.names import resolve
from sync.objects.rows import AT_ONCE


class Departures(Unasked):
    """The kind ``departure``; object ids are userids in lower case. Nothing is asked of the platform."""

    name = DEPARTURE

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """End relations of the first of these who has any, and leave the others ``unfinished``; see ``Aliases.write``.

        Who is there, because they came back before this was done, loses nothing.
        """
        done = {answer.object_id: Written(fetched_at=answer.fetched_at) for answer in answers}
        newest = await resolve(conn, corpid, sorted(done))
        t = employee.c
        left = select(t.userid, t.left_at).where(
            *(t.corpid == corpid, t.userid.in_(sorted({newest.get(userid, userid) for userid in done}))),
            t.left_at.is_not(None),
        )
        departed = {row.userid: row.left_at for row in await conn.execute(left)}
        busy = False
        for answer in sorted(answers, key=lambda one: one.object_id):
            userid, result = newest.get(answer.object_id, answer.object_id), done[answer.object_id]
            if userid not in departed:
                continue
            if busy:
                result.unfinished = True
                continue
            cause = answer.cause
            if cause.happened_at != departed[userid]:
                # Wished for because of something else than the departure.
                cause = Cause("event", None, departed[userid])
            count = await _end_relations(conn, dialect, corpid, userid, departed[userid], cause, now)
            busy, result.unfinished = count > 0, count == AT_ONCE
        return done


async def _end_relations(
    conn: AsyncConnection, dialect: str, corpid: str, userid: str, left_at: datetime, cause: Cause, now: datetime
) -> int:
    """End relations of this employee that stood at ``left_at``, ``AT_ONCE`` at most. Returns how many."""
    t = customer_follow.c
    standing = (
        select(t.userid)
        .where(
            *(t.corpid == corpid, t.follow_userid == userid, t.lost_at.is_(None)),
            or_(t.last_loss_at.is_(None), t.last_loss_at < left_at),
        )
        .order_by(t.userid)
        .limit(AT_ONCE)
    )
    customers = list((await conn.execute(standing)).scalars())
    facts = {(customer, userid): Facts(loss_at=left_at, loss_by=LEFT, cause=cause) for customer in customers}
    await write_facts(conn, dialect, corpid, facts, now)
    return len(customers)
