"""Rows that stand under an id that an employee had before: moved to the new one, a part in each transaction.

The ledger and the closed versions of history keep the id that counted then. Where an id has been given to somebody else
meanwhile, only what was there before is moved, and once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import employee_alias, pending_read
from core.db.wishes import Wish, write_wishes
from sync.effects import ALIAS, DEPARTURE, MEMBER
from sync.objects.base import Answer, Cause, Unasked, Written
from sync.objects.moved_chats import move_chats
from sync.objects.moved_members import end_sessions, move_departments, move_member, move_tags
from sync.objects.moved_relations import move_relations
from sync.objects.moves import Move
from sync.objects.names import read_links, read_renamed_to, valid_link, write_given

ROWS = 500
"""So many are moved in one transaction, about: a relation brings its tags along, and is not torn from them."""

# The order in which every writer locks: customers, groups, employees, departments.
_STEPS = (move_relations, move_chats, move_member, move_departments, move_tags)


class Aliases(Unasked):
    """The kind ``alias``; object ids are old userids in lower case. Nothing is asked of the platform."""

    name = ALIAS

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """Move rows of the first of these ids, and leave the others ``unfinished``.

        One alone, as two after one another would not lock in the order of all writers. What it did is never called a
        change: so the reader comes back five seconds after the event, for rows of a writer who had begun before that
        was applied.
        """
        done = {answer.object_id: Written(fetched_at=answer.fetched_at) for answer in answers}
        busy = False
        for answer in sorted(answers, key=lambda one: one.object_id):
            result = done[answer.object_id]
            if busy:
                result.unfinished = True
            else:
                new, result.unfinished = await _move(conn, dialect, corpid, answer, now)
                if new is not None:
                    busy = True
                    # Who left before the last of it was moved: that ends as well. What is left may be another's.
                    result.wishes.append((DEPARTURE, new))
        return done


async def _move(
    conn: AsyncConnection, dialect: str, corpid: str, answer: Answer, now: datetime
) -> tuple[str | None, bool]:
    """To which id rows were moved, if this is an old one with rows to be moved, and whether more of that is left."""
    told = [row for row in await _locked(conn, dialect, corpid, answer.object_id) if not _is_over(row)]
    if not told:
        return None, False
    this = told[0]
    new, is_free = await _target(conn, corpid, this)
    if not is_free:
        return (await _move(conn, dialect, corpid, replace(answer, object_id=new), now))[0], True
    cause = answer.cause
    if cause.source != "event" or cause.happened_at != this.happened_at:
        cause = Cause("event", None, this.happened_at)
    move = Move(conn, dialect, corpid, this.userid, new, this.happened_at, this.given_at, cause, now)
    left = ROWS
    for step in _STEPS:
        left -= await step(move, left)
        if left <= 0:
            return new, True
    await end_sessions(move)
    if this.given_at is None:
        await _move_wish(move)
    if left < ROWS or this.merged_at is None:
        t = employee_alias.c
        here = and_(t.corpid == corpid, t.userid == this.userid, t.happened_at == this.happened_at)
        await conn.execute(update(employee_alias).where(here).values(merged_at=now))
    return new, len(told) > 1


async def _locked(conn: AsyncConnection, dialect: str, corpid: str, userid: str) -> Sequence[Row[Any]]:
    """The renamings of all who had this id, in order. Locked: that the id is given away is not told meanwhile."""
    named = {userid, *(link.new for link in (await read_links(conn, corpid, [userid])).get(userid, ()))}
    # Once more: two copies of sync that wrote renamings at once did not see one another's.
    await write_given(conn, corpid, await read_renamed_to(conn, corpid, sorted(named)))
    t = employee_alias.c
    rows = select(employee_alias).where(t.corpid == corpid, t.userid == userid).order_by(t.happened_at)
    return (await conn.execute(rows if dialect == "sqlite" else rows.with_for_update())).all()


def _is_over(row: Row[Any]) -> bool:
    """What stood under an id that was given away is moved once: what comes later may be the next owner's."""
    return row.given_at is not None and row.merged_at is not None


async def _target(conn: AsyncConnection, corpid: str, renaming: Row[Any]) -> tuple[str, bool]:
    """Where the rows belong, and whether nothing is left there of somebody who had that id before.

    Who was renamed again is followed as far as rows have been moved; from there they go on with the others.
    """
    here, since, seen = renaming.new_userid, renaming.happened_at, {renaming.userid}
    while True:
        seen.add(here)
        links = (await read_links(conn, corpid, [here])).get(here, [])
        if any(not link.merged and link.until is not None and link.until <= since for link in links):
            return here, False
        link = valid_link(links, since)
        if link is None or not link.merged or link.new in seen:
            return here, True
        here, since = link.new, link.since


async def _move_wish(move: Move) -> None:
    """Let the employee be read under the new id, if it was wished under the old one and is not wished under the new."""
    # In key order among themselves. The reader locks other wishes after these, so this may meet a writer of wishes for
    # the same employee in a deadlock, which one of the two repeats.
    await _lock_wish(move, Aliases.name, move.old)
    if not await _lock_wish(move, MEMBER, move.old):
        return
    t = pending_read.c
    await move.conn.execute(
        delete(pending_read).where(t.corpid == move.corpid, t.kind == MEMBER, t.object_id == move.old)
    )
    same = exists().where(t.corpid == move.corpid, t.kind == MEMBER, t.object_id == move.new)
    if not (await move.conn.execute(select(same))).scalar_one():
        wish = Wish(move.new, event_id=move.cause.event_id, happened_at=move.cause.happened_at)
        await write_wishes(move.conn, move.dialect, move.corpid, [wish], move.now, MEMBER)


async def _lock_wish(move: Move, kind: str, object_id: str) -> bool:
    """Whether there is a wish, which is locked."""
    t = pending_read.c
    row = select(t.object_id).where(t.corpid == move.corpid, t.kind == kind, t.object_id == object_id)
    if move.dialect != "sqlite":
        row = row.with_for_update()
    return (await move.conn.execute(row)).first() is not None
