"""An employee's relations and their tags, moved to the employee's new id."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from core.db.bulk import put, remove
from core.db.tables import customer, customer_follow, customer_follow_tag
from sync.history import Version, differs, record
from sync.objects.base import Row
from sync.objects.moves import Move
from sync.objects.relations import (
    Relation,
    Tags,
    derive,
    facts_of,
    new_follow,
    read_follows,
    read_tags,
    write_follows,
)

_KEY = ("userid", "follow_userid")
_TAG_KEY = (*_KEY, "tag_key")
_TAG_COLUMNS = tuple(column.name for column in customer_follow_tag.columns if not column.primary_key)


async def move_relations(move: Move, most: int) -> int:
    """Move relations with so many rows at most, but at least one. Returns how many; ``most`` if more are left."""
    userids = await _customers(move, most)
    if not userids:
        return 0
    follows = await read_follows(move.conn, move.corpid, userids)
    tags = await read_tags(move.conn, move.corpid, userids)
    work = _Work(move)
    for userid in userids:
        old = (userid, move.old)
        if old not in follows:
            # Moved by somebody else before the customer was locked.
            continue
        if work.count and work.count + 1 + len(tags.get(old, {})) > most:
            work.count = most
            break
        new = (userid, move.new)
        work.add(follows[old], follows.get(new), tags.get(old, {}), tags.get(new, {}))
    await work.write()
    return most if len(userids) == most else work.count


async def _customers(move: Move, most: int) -> list[str]:
    """Customers whose relations are to be moved, locked."""
    f, c = customer_follow.c, customer.c
    mine = select(f.userid).where(f.corpid == move.corpid, f.follow_userid == move.old).order_by(f.userid).limit(most)
    userids = list((await move.conn.execute(mine)).scalars())
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


class _Work:
    """What is to be written, in key order."""

    def __init__(self, move: Move) -> None:
        self._move = move
        self.count = 0
        self._follows: list[tuple[Row, Row]] = []
        self._gone: list[Row] = []
        self._tags: list[Row] = []
        self._gone_tags: list[Row] = []
        self._versions: list[Version] = []
        self._tag_versions: list[Version] = []

    def add(self, old: Row, stands: Row | None, old_tags: Tags, tags: Tags) -> None:
        """Move one relation with its tags; ``stands`` is the row of the new id."""
        cause = self._move.cause
        relation: Relation = (old["userid"], self._move.new)
        before = stands or new_follow(relation)
        row = merged(old, before)
        self.count += 1 + len(old_tags)
        self._gone.append(old)
        self._versions.append(Version(_only(_KEY, old), None, cause))
        if row != before or stands is None:
            self._follows.append((row, before))
        if stands is None or differs(customer_follow, row, stands):
            self._versions.append(Version(_only(_KEY, row), row, cause))
        for each in old_tags.values():
            self._remove(each)
        if not _later(old, before):
            return
        wanted = {key: each | {"follow_userid": self._move.new} for key, each in old_tags.items()}
        for key in tags.keys() - wanted.keys():
            self._remove(tags[key])
        for key, each in wanted.items():
            if each != tags.get(key):
                self._tags.append(each)
                self._tag_versions.append(Version(_only(_TAG_KEY, each), each, cause))

    def _remove(self, row: Row) -> None:
        self._gone_tags.append(row)
        self._tag_versions.append(Version(_only(_TAG_KEY, row), None, self._move.cause))

    async def write(self) -> None:
        """Write all of it, with its history."""
        conn, corpid, now = self._move.conn, self._move.corpid, self._move.now
        gone_tags = sorted(self._gone_tags, key=_place)
        await remove(conn, customer_follow_tag, [{"corpid": corpid, **_only(_TAG_KEY, row)} for row in gone_tags])
        await remove(conn, customer_follow, [{"corpid": corpid, **_only(_KEY, row)} for row in self._gone])
        if self._follows:
            await write_follows(conn, corpid, self._follows)
        tags = [{"corpid": corpid, **row} for row in sorted(self._tags, key=_place)]
        await put(conn, customer_follow_tag, tags, _TAG_COLUMNS)
        await record(conn, customer_follow, corpid, self._versions, now)
        await record(conn, customer_follow_tag, corpid, self._tag_versions, now)


def _only(names: Iterable[str], row: Row) -> Row:
    return {name: row[name] for name in names}


def _place(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in _TAG_KEY)
