"""Customer groups that an employee owns, administers or is in, told by the employee's new id."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, or_, select

from core.db.bulk import as_dicts
from core.db.tables import group_chat, group_chat_member
from sync.objects.children import ChildChanges
from sync.objects.moves import Move
from sync.objects.rows import lock_rows, save_rows
from wecom.group_chats import EMPLOYEE


async def move_chats(move: Move, most: int) -> int:
    """Change so many groups at most. Returns how many; ``most`` if more may be left."""
    t = group_chat.c
    led = select(t.chat_id, t.owner, t.admins).where(
        t.corpid == move.corpid, or_(t.owner == move.old, move.named(t.admins)), move.before(t.fetched_at)
    )
    ids, more = await move.keys(led.order_by(t.chat_id), most)
    m = group_chat_member.c
    both = group_chat_member.join(group_chat, and_(t.corpid == m.corpid, t.chat_id == m.chat_id))
    joined = select(m.chat_id, m.userid).select_from(both)
    joined = joined.where(m.corpid == move.corpid, m.userid == move.old, m.type == EMPLOYEE, move.before(t.fetched_at))
    joined_ids, more_joined = await move.keys(joined.order_by(m.chat_id), most)
    ids = sorted({*ids, *joined_ids})[:most]
    if not ids:
        return 0
    found, _ = await lock_rows(move.conn, move.dialect, group_chat, move.corpid, ids, move.now)
    old = move.still(found, "fetched_at")
    new = {
        chat_id: row
        | {"owner": move.new if row["owner"] == move.old else row["owner"], "admins": move.renamed(row["admins"])}
        for chat_id, row in old.items()
    }
    causes = dict.fromkeys(old, move.cause)
    await save_rows(move.conn, group_chat, move.corpid, old, new, (), causes, move.now)
    await _move_members(move, sorted(old))
    return most if more or more_joined else len(ids)


async def _move_members(move: Move, ids: Sequence[str]) -> None:
    """Of these groups, which are locked. Who is in a group by both ids is in it by the new one."""
    t = group_chat_member.c
    both = select(group_chat_member).where(
        *(t.corpid == move.corpid, t.chat_id.in_(ids), t.type == EMPLOYEE, t.userid.in_([move.old, move.new])),
    )
    rows = as_dicts(await move.conn.execute(both.order_by(t.chat_id)))
    there = [row for row in rows if row["userid"] == move.new]
    known = {row["chat_id"] for row in there}
    come = [row | {"userid": move.new} for row in rows if row["chat_id"] not in known]
    changes = ChildChanges(group_chat_member)
    changes.add(rows, [*there, *come], move.cause)
    await changes.write(move.conn, move.corpid, move.now)
