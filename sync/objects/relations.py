"""Relations of customers and their tags: what facts and answers make of a row, and reading and writing them.

Whoever writes a relation or its tags has locked the customer (``customers.hold``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import as_dicts, for_each, lists, put, remove
from core.db.tables import customer_follow, customer_follow_tag, tag, tag_group
from sync.facts import Facts, latest, lost, refuted
from sync.history import Version, record
from sync.objects.base import Answer, Row
from wecom.customers import Customer, Follow, FollowTag

_READ_COLUMNS = (
    *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way"),
    *("state", "oper_userid", "wechat_channels", "createtime"),
)
_TAG_COLUMNS = ("type", "tag_id", "group_name", "tag_name")
_MOMENT = timedelta(microseconds=1)
_DERIVED = ("last_add_at", "last_loss_at", "last_loss_by", "lost_at", "lost_by", "unseen_since", "fetched_at")

Relation = tuple[str, str]
"""The customer's external_userid and the employee's userid."""
Tags = dict[str, Row]
"""Of one relation, by ``tag_key``."""


def new_follow(relation: Relation) -> Row:
    """The row of a relation of which nothing is known yet."""
    return {"userid": relation[0], "follow_userid": relation[1], **dict.fromkeys((*_READ_COLUMNS, *_DERIVED))}


def with_facts(old: Row, facts: Facts) -> Row:
    """The row after events told these facts; an equal one if they are no news."""
    merged = facts_of(old) | facts
    if merged == facts_of(old):
        return old
    row = {**old, "last_add_at": merged.add_at, "last_loss_at": merged.loss_at, "last_loss_by": merged.loss_by}
    if merged.add_at != old["last_add_at"]:
        # A relation that begins anew is looked for anew, however long the one before was out of sight.
        row["unseen_since"] = None
    return derive(row)


def with_answer(old: Row, follow: Follow | None, fetched_at: datetime, last_word: datetime | None) -> Row:
    """The row after an answer that is newer than what stands; ``follow`` is None if it did not list the relation.

    ``last_word`` is when the call for the newest answer about the customer began, before this one.
    """
    if follow is None:
        # Absence in one answer proves nothing: it is noted on a relation that should be listed, and ends none.
        return derive({**old, "unseen_since": (old["unseen_since"] or fetched_at) if is_listed(old) else None})
    values = {name: getattr(follow, name) for name in _READ_COLUMNS}
    values["remark_mobiles"] = list(follow.remark_mobiles)
    # A call that began later and did not list it is the newer word on that, whether the row was there then or not.
    later = [moment for moment in (old["unseen_since"], last_word) if moment is not None and moment > fetched_at]
    return derive({**old, **values, "unseen_since": min(later, default=None), "fetched_at": fetched_at})


def derive(row: Row) -> Row:
    """Set what follows from facts and snapshot together."""
    row["lost_at"], row["lost_by"] = lost(facts_of(row), row["createtime"], row["fetched_at"])
    if not is_listed(row):
        row["unseen_since"] = None
    return row


def facts_of(row: Row) -> Facts:
    """What the events of the relation told so far."""
    createtime, loss_at = row["createtime"], row["last_loss_at"]
    began = None if createtime is None else datetime.fromtimestamp(createtime, UTC)
    if loss_at is not None and refuted(loss_at, row["last_loss_by"], row["fetched_at"]):
        # It has begun again since, whenever that was.
        began = latest(began, loss_at + _MOMENT)
    return Facts(row["last_add_at"], loss_at, row["last_loss_by"], began=began)


def is_listed(row: Row) -> bool:
    """Whether the platform should list the relation, as far as that matters here.

    One that the customer ended it goes on listing (document 92130): if its details were never read, they can be still.
    """
    return row["lost_at"] is None or (row["lost_by"] == "customer" and row["fetched_at"] is None)


def tag_key(told: FollowTag) -> str:
    """The tag's id, or for a personal tag, which has none, a digest of its group and name (document 92114)."""
    if told.tag_id:
        return told.tag_id
    return "personal:" + hashlib.sha256(f"{told.group_name or ''}\0{told.tag_name or ''}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KnownTag:
    """What is known of a tag by itself: its name and its group's, as of when each was read; whether it was deleted."""

    tag_name: str | None
    named_at: datetime | None
    group_name: str | None
    grouped_at: datetime | None
    deleted: bool


class TagChanges:
    """What answers change of the tags of relations."""

    def __init__(self, stand: Mapping[Relation, Tags], known: Mapping[str, KnownTag]) -> None:
        self._stand = stand
        self._known = known
        self._put: list[Row] = []
        self._gone: list[Row] = []
        self._versions: list[Version] = []

    def take(self, relation: Relation, follow: Follow, answer: Answer) -> bool:
        """Make the relation's tags those that this answer lists; returns whether that changes any."""
        stand, wanted = self._stand.get(relation, {}), self._wanted(relation, follow, answer.fetched_at)
        if wanted == stand:
            return False
        for key in sorted(stand.keys() | wanted.keys()):
            row, old = wanted.get(key), stand.get(key)
            if row == old:
                continue
            if row is not None:
                self._put.append(row)
            elif old is not None:
                self._gone.append(old)
            self._versions.append(Version(row or old or {}, row, answer.cause))
        return True

    def _wanted(self, relation: Relation, follow: Follow, fetched_at: datetime) -> Tags:
        """As the answer lists them, but for what was learned of the tags themselves since."""
        rows: Tags = {}
        for told in follow.tags:
            row: Row = {"userid": relation[0], "follow_userid": relation[1], "tag_key": tag_key(told)}
            row |= {name: getattr(told, name) for name in _TAG_COLUMNS}
            known = self._known.get(told.tag_id or "")
            if known is not None:
                if known.deleted:
                    # Deleted since the answer: the platform gives no other tag the same id.
                    continue
                if known.named_at is not None and known.named_at > fetched_at:
                    row["tag_name"] = known.tag_name or row["tag_name"]
                if known.grouped_at is not None and known.grouped_at > fetched_at:
                    row["group_name"] = known.group_name or row["group_name"]
            rows[row["tag_key"]] = row
        return rows

    async def write(self, conn: AsyncConnection, corpid: str, now: datetime) -> None:
        """Write them with their history, after the relations."""
        await remove_tags(conn, corpid, self._gone)
        await write_tags(conn, corpid, self._put)
        await record(conn, customer_follow_tag, corpid, self._versions, now)


async def read_follows(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> dict[Relation, Row]:
    """All relations of these customers, in key order, with every column but corpid."""
    dialect = conn.dialect.name
    found = await conn.execute(_follows_of(dialect), lists(dialect, userid=userids) | {"corpid": corpid})
    rows = {(row["userid"], row["follow_userid"]): row for row in as_dicts(found)}
    return dict(sorted(rows.items()))


async def read_tags(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> dict[Relation, Tags]:
    """The tags of all relations of these customers."""
    found: dict[Relation, Tags] = {}
    dialect = conn.dialect.name
    values = lists(dialect, userid=userids) | {"corpid": corpid}
    for row in as_dicts(await conn.execute(_tags_of(dialect), values)):
        found.setdefault((row["userid"], row["follow_userid"]), {})[row["tag_key"]] = row
    return found


async def read_known_tags(conn: AsyncConnection, corpid: str, told: Iterable[Customer]) -> dict[str, KnownTag]:
    """What is known by itself of the tags that these answers name, by tag id."""
    ids = {each.tag_id for one in told for follow in one.follows for each in follow.tags if each.tag_id}
    if not ids:
        return {}
    dialect = conn.dialect.name
    found = await conn.execute(_known_tags_of(dialect), lists(dialect, tag_id=sorted(ids)) | {"corpid": corpid})
    return {
        row.tag_id: KnownTag(row.tag_name, row.named_at, row.group_name, row.grouped_at, row.deleted_at is not None)
        for row in found
    }


async def write_follows(conn: AsyncConnection, corpid: str, rows: Sequence[tuple[Row, Row]]) -> None:
    """Write each first row, which stands as the second one so far or is new; in key order."""
    change = changed_columns(rows, ("fetched_at",), _DERIVED, (*_READ_COLUMNS, *_DERIVED))
    names = ("userid", "follow_userid", *change)
    written = [{"corpid": corpid, **{name: new[name] for name in names}} for new, _ in rows]
    await put(conn, customer_follow, written, change)


async def write_tags(conn: AsyncConnection, corpid: str, rows: Sequence[Row]) -> None:
    """Insert these tags of relations, or change what they are called; in key order."""
    await put(conn, customer_follow_tag, [{"corpid": corpid, **row} for row in rows], _TAG_COLUMNS)


async def remove_tags(conn: AsyncConnection, corpid: str, rows: Sequence[Row]) -> None:
    """Delete these tags of relations, in key order."""
    names = ("userid", "follow_userid", "tag_key")
    await remove(conn, customer_follow_tag, [{"corpid": corpid, **{name: row[name] for name in names}} for row in rows])


def changed_columns(rows: Sequence[tuple[Row, Row]], *sets: Sequence[str]) -> Sequence[str]:
    """The first of these sets of columns that has all in which two rows differ, or else the last.

    Nearly everything that is read again differs in its moment only, and most of what is left out need not be sent.
    """
    for names in sets:
        others = [name for name in sets[-1] if name not in names]
        if not any(new[name] != old[name] for new, old in rows for name in others):
            return names
    return sets[-1]


@cache
def _follows_of(dialect: str) -> Select[Any]:
    t = customer_follow.c
    columns = [t[name] for name in ("userid", "follow_userid", *_READ_COLUMNS, *_DERIVED)]
    return for_each(dialect, select(*columns).where(t.corpid == bindparam("corpid")), [t.userid])


@cache
def _tags_of(dialect: str) -> Select[Any]:
    t = customer_follow_tag.c
    columns = [t[name] for name in ("userid", "follow_userid", "tag_key", *_TAG_COLUMNS)]
    return for_each(dialect, select(*columns).where(t.corpid == bindparam("corpid")), [t.userid])


@cache
def _known_tags_of(dialect: str) -> Select[Any]:
    t, g = tag.c, tag_group.c
    columns = (t.tag_id, t.tag_name, t.deleted_at, t.fetched_at.label("named_at"))
    columns_of_group = (g.group_name, g.fetched_at.label("grouped_at"))
    query = select(*columns, *columns_of_group).outerjoin_from(
        tag, tag_group, and_(g.corpid == t.corpid, g.group_id == t.group_id)
    )
    return for_each(dialect, query.where(t.corpid == bindparam("corpid")), [t.tag_id])
