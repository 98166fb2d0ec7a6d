"""What an employee who left had: those relations have ended, and nothing may ever say so of each (document 90970).

An event about a relation itself, such as the transfer's before or after, says more: its loss is the one that counts.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import customer_follow
from sync.facts import LEFT, Facts
from sync.objects.base import Cause
from sync.objects.customers import write_facts
from sync.objects.rows import AT_ONCE


async def end_relations(
    conn: AsyncConnection, dialect: str, corpid: str, userid: str, left_at: datetime, cause: Cause, now: datetime
) -> tuple[bool, bool]:
    """End relations of this employee that stood when the employee left.

    Returns whether more of them are left, and whether there were any.
    """
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
    return len(customers) == AT_ONCE, bool(customers)
