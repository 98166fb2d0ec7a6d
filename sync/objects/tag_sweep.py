"""Relations of customers after a tag or its group was renamed or deleted, for which no customer event comes.

What is left to do is seen from the tables: rows of a deleted tag, and rows with a name that is older than the tag's.
So a sweep can stop after any part and go on later. It waits for no customer: a writer that is at one may itself wait
for a tag, so rows in use are left for the next part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Select, and_, cast, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import as_dicts, put, remove
from core.db.tables import customer, customer_follow, customer_follow_tag, tag, tag_group
from sync.history import Version, record
from sync.objects.base import Cause, Row
from sync.objects.rows import AT_ONCE

_KEY = ("userid", "follow_userid", "tag_key")


async def sweep(
    conn: AsyncConnection,
    dialect: str,
    corpid: str,
    which: ColumnElement[bool],
    causes: Mapping[str, Cause],
    now: datetime,
) -> bool:
    """One part of the work for the tags that ``which``, a condition on ``tag``, selects. Returns whether more is left.

    ``causes`` are by the ids of the tags or of their groups.
    """
    stale = _stale(dialect, corpid, which)
    some = await conn.execute(stale.with_only_columns(customer_follow_tag.c.userid).limit(AT_ONCE))
    found = list(some.scalars())
    if not found:
        return False
    wanted = sorted(set(found))
    free = await _lock(conn, dialect, corpid, wanted)
    mine = stale.where(customer_follow_tag.c.userid.in_(free)).limit(AT_ONCE)
    # Again, now that nobody else writes them.
    rows = as_dicts(await conn.execute(mine)) if free else []
    await _write(conn, corpid, rows, causes, now)
    return len(found) == AT_ONCE or len(rows) == AT_ONCE or len(free) < len(wanted)


def _stale(dialect: str, corpid: str, which: ColumnElement[bool]) -> Select[Any]:
    f, t, g = customer_follow_tag.c, tag.c, tag_group.c
    renamed = and_(_other(dialect, f.tag_name, t.tag_name), _read_before(t.fetched_at))
    regrouped = and_(_other(dialect, f.group_name, g.group_name), _read_before(g.fetched_at))
    columns = (f[name] for name in (*_KEY, "type", "tag_id", "tag_name", "group_name"))
    names = (t.tag_name.label("new_name"), g.group_name.label("new_group"))
    return (
        select(*columns, t.group_id, t.deleted_at, *names, renamed.label("renamed"), regrouped.label("regrouped"))
        .select_from(tag)
        .join(customer_follow_tag, and_(f.corpid == t.corpid, f.tag_id == t.tag_id))
        .outerjoin(tag_group, and_(g.corpid == t.corpid, g.group_id == t.group_id))
        .where(t.corpid == corpid, which, or_(t.deleted_at.is_not(None), renamed, regrouped))
    )


def _read_before(moment: ColumnElement[datetime]) -> ColumnElement[bool]:
    """That the relation was read before: a name that is older than the relation's is not the better one.

    No join, so that it is asked of the few rows only whose names differ.
    """
    f, r = customer_follow_tag.c, customer_follow.c
    mine = and_(r.corpid == f.corpid, r.userid == f.userid, r.follow_userid == f.follow_userid)
    return exists().where(mine, r.fetched_at < moment)


def _other(dialect: str, stands: ColumnElement[Any], known: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether there is another name than the one that stands, letter case included."""
    if dialect == "mysql":
        # Its texts compare without regard to case and trailing blanks.
        return and_(known.is_not(None), cast(stands, LargeBinary).is_distinct_from(cast(known, LargeBinary)))
    return and_(known.is_not(None), stands.is_distinct_from(known))


async def _lock(conn: AsyncConnection, dialect: str, corpid: str, userids: Sequence[str]) -> Sequence[str]:
    """The customers of these that nobody else holds, which are ours now."""
    if dialect == "sqlite":
        return userids
    rows = select(customer.c.userid).where(customer.c.corpid == corpid, customer.c.userid.in_(userids))
    locked = rows.order_by(customer.c.userid).with_for_update(skip_locked=True, key_share=True)
    return list((await conn.execute(locked)).scalars())


async def _write(
    conn: AsyncConnection, corpid: str, rows: Sequence[Row], causes: Mapping[str, Cause], now: datetime
) -> None:
    dead: list[Row] = []
    renamed: list[Row] = []
    versions: list[Version] = []
    for row in sorted(rows, key=itemgetter(*_KEY)):
        key = {name: row[name] for name in _KEY}
        names: Row = {
            "tag_name": row["new_name"] if row["renamed"] else row["tag_name"],
            "group_name": row["new_group"] if row["regrouped"] else row["group_name"],
        }
        gone = row["deleted_at"] is not None
        (dead if gone else renamed).append({"corpid": corpid, **key} | ({} if gone else names))
        cause = causes.get(row["tag_id"]) or causes.get(row["group_id"]) or Cause("event")
        versions.append(Version(key, None if gone else row | names, cause))
    await remove(conn, customer_follow_tag, dead)
    await put(conn, customer_follow_tag, renamed, ["tag_name", "group_name"])
    await record(conn, customer_follow_tag, corpid, versions, now)
