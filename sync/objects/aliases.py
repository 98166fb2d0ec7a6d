"""Ids that an employee had before, and the one that the same person has now.

Events and answers that still name an old id are counted for the new one at once (``resolve``). The rows that stand
under the old id are moved behind that, a part in each transaction. The ledger and the closed versions of history keep
the id that counted then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import and_, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import employee_alias, pending_read
from core.db.wishes import Wish, write_wishes
from sync.effects import ALIAS, MEMBER
from sync.objects.base import Answer, Cause, Written
from sync.objects.moved_chats import move_chats
from sync.objects.moved_members import end_sessions, move_departments, move_member, move_tags
from sync.objects.moved_relations import move_relations
from sync.objects.moves import Move
from wecom.client import WeComClient

# Ids per statement: every database has a limit of parameters.
_AT_ONCE = 500

ROWS = 500
"""So many are moved in one transaction, about: a relation brings its tags along, and is not torn from them."""

# The order in which every writer locks: customers, groups, employees, departments.
_STEPS = (move_relations, move_chats, move_member, move_departments, move_tags)

_Links = Mapping[str, tuple[str, datetime]]


class Aliases:
    """The kind ``alias``; object ids are old userids in lower case. Nothing is asked of the platform."""

    name = ALIAS

    async def read(self, client: WeComClient, corpid: str, secret_name: str, object_id: str) -> str:
        """See ``Kind``. The event has told everything."""
        return object_id

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
                busy, result.unfinished = await _move(conn, dialect, corpid, answer, now)
        return done


async def _move(conn: AsyncConnection, dialect: str, corpid: str, answer: Answer, now: datetime) -> tuple[bool, bool]:
    """Whether the id is an old one, and whether more of its rows are left."""
    t = employee_alias.c
    this = select(t.happened_at, t.merged_at).where(t.corpid == corpid, t.userid == answer.object_id)
    # Locked: that the id is given to somebody else is not told meanwhile.
    told = (await conn.execute(this if dialect == "sqlite" else this.with_for_update())).one_or_none()
    new = (await resolve(conn, corpid, [answer.object_id])).get(answer.object_id)
    if told is None or new is None:
        return False, False
    cause = answer.cause
    if cause.source != "event" or cause.happened_at is None:
        cause = Cause("event", None, told.happened_at)
    move = Move(conn, dialect, corpid, answer.object_id, new, told.happened_at, cause, now)
    left = ROWS
    for step in _STEPS:
        left -= await step(move, left)
        if left <= 0:
            return True, True
    await end_sessions(move)
    await _move_wish(move)
    if left < ROWS or told.merged_at is None:
        here = and_(t.corpid == corpid, t.userid == answer.object_id)
        await conn.execute(update(employee_alias).where(here).values(merged_at=now))
    return True, False


async def _move_wish(move: Move) -> None:
    """Let the employee be read under the new id, if it was wished under the old one and is not wished under the new."""
    # In key order, as every writer of wishes takes them.
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


async def resolve(conn: AsyncConnection, corpid: str, userids: Iterable[str]) -> dict[str, str]:
    """Of these ids (in lower case) those that are old ones, to the id that the person has now.

    Who was renamed several times is followed to the end, one query per level. A later renaming *to* an id ends what
    an earlier one said of it: the id belongs to somebody again, so circles end where the latest event left the person.
    """
    asked = set(userids)
    links: dict[str, tuple[str, datetime]] = {}
    level = asked
    while level:
        found = await _links(conn, corpid, sorted(level))
        links |= found
        level = {new for new, _ in found.values()} - links.keys()
    if not links:
        return {}
    given = await _given(conn, corpid, sorted(links))
    valid = {old: link for old, link in links.items() if old not in given or given[old] <= link[1]}
    return {userid: newest for userid in sorted(asked) if (newest := _newest(userid, valid)) != userid}


def _newest(userid: str, links: _Links) -> str:
    here, seen = userid, {userid}
    while here in links and links[here][0] not in seen:
        here = links[here][0]
        seen.add(here)
    return here


async def _links(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> dict[str, tuple[str, datetime]]:
    t = employee_alias.c
    found: dict[str, tuple[str, datetime]] = {}
    for begin in range(0, len(userids), _AT_ONCE):
        rows = select(t.userid, t.new_userid, t.happened_at).where(
            t.corpid == corpid, t.userid.in_(userids[begin : begin + _AT_ONCE])
        )
        found |= {row.userid: (row.new_userid, row.happened_at) for row in await conn.execute(rows)}
    return found


async def _given(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> dict[str, datetime]:
    """When somebody was last renamed to each of these ids."""
    t = employee_alias.c
    found: dict[str, datetime] = {}
    for begin in range(0, len(userids), _AT_ONCE):
        rows = (
            select(t.new_userid, func.max(t.happened_at).label("happened_at"))
            .where(t.corpid == corpid, t.new_userid.in_(userids[begin : begin + _AT_ONCE]))
            .group_by(t.new_userid)
        )
        found |= {row.new_userid: row.happened_at for row in await conn.execute(rows)}
    return found
