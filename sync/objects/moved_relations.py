"""An employee's relations and their tags, moved to the employee's new id."""

from __future__ import annotations

from sqlalchemy import select

from core.db.bulk import remove
from core.db.tables import customer, customer_follow, customer_follow_tag
from sync.history import Version, differs, record
from sync.objects.base import Row
from sync.objects.children import ChildChanges
from sync.objects.moves import Move
from sync.objects.relations import derive, facts_of, new_follow, read_follows, read_tags, write_follows

_MOMENTS = ("fetched_at", "last_add_at", "last_loss_at")


async def move_relations(move: Move, most: int) -> int:
    """Move relations with so many rows at most, but at least one. Returns how many; ``most`` if more are left."""
    userids = await _customers(move, most)
    if not userids:
        return 0
    follows = await read_follows(move.conn, move.corpid, userids)
    tags = await read_tags(move.conn, move.corpid, userids)
    count = 0
    rows: list[tuple[Row, Row]] = []
    gone: list[Row] = []
    versions: list[Version] = []
    tag_changes = ChildChanges(customer_follow_tag)
    for userid in userids:
        old, old_tags = follows.get((userid, move.old)), tags.get((userid, move.old), {}).values()
        if old is None or not move.is_before(old, *_MOMENTS):
            # Moved, or become the next owner's, before the customer was locked.
            continue
        if count and count + 1 + len(old_tags) > most:
            count = most
            break
        count += 1 + len(old_tags)
        relation = (userid, move.new)
        stands, new_tags = follows.get(relation), tags.get(relation, {}).values()
        before = stands or new_follow(relation)
        row = merged(old, before)
        gone.append({"corpid": move.corpid, "userid": userid, "follow_userid": move.old})
        versions.append(Version(old, None, move.cause))
        if row != before or stands is None:
            rows.append((row, before))
        if stands is None or differs(customer_follow, row, stands):
            versions.append(Version(row, row, move.cause))
        told = [each | {"follow_userid": move.new} for each in old_tags] if _later(old, before) else new_tags
        tag_changes.add([*old_tags, *new_tags], told, move.cause)
    # Tags refer to the relation: the new one is there before they come, the old one until they are gone.
    await write_follows(move.conn, move.corpid, rows)
    await tag_changes.write(move.conn, move.corpid, move.now)
    await remove(move.conn, customer_follow, gone)
    await record(move.conn, customer_follow, move.corpid, versions, move.now)
    return most if len(userids) == most else count


async def _customers(move: Move, most: int) -> list[str]:
    """Customers whose relations are to be moved, locked."""
    f, c = customer_follow.c, customer.c
    mine = select(f.userid).where(
        *(f.corpid == move.corpid, f.follow_userid == move.old),
        move.before(*(f[name] for name in _MOMENTS)),
    )
    userids = list((await move.conn.execute(mine.order_by(f.userid).limit(most))).scalars())
    if userids and move.dialect != "sqlite":
        rows = select(c.userid).where(c.corpid == move.corpid, c.userid.in_(userids))
        await move.conn.execute(rows.order_by(c.userid).with_for_update(key_share=True))
    return userids


def merged(old: Row, new: Row) -> Row:
    """One relation of the two rows of one person: the newer answer, and the largest moment of each fact.

    ``new`` is as nothing known (``new_follow``) if there was no row of the new id.
    """
    facts = facts_of(old) | facts_of(new)
    row = dict(old if _later(old, new) else new)
    row |= {"userid": new["userid"], "follow_userid": new["follow_userid"]}
    row |= {"last_add_at": facts.add_at, "last_loss_at": facts.loss_at, "last_loss_by": facts.loss_by}
    # That answers no longer listed the old id is what the renaming did.
    row["unseen_since"] = new["unseen_since"]
    return derive(row)


def _later(old: Row, new: Row) -> bool:
    """Whether the old id was read last."""
    if old["fetched_at"] is None:
        return False
    return new["fetched_at"] is None or old["fetched_at"] > new["fetched_at"]
