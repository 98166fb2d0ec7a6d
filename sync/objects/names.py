"""Ids that an employee had before, and the one that the same person has now.

What still names an old id counts for the new one at once. An id that was given to somebody else later means that
person from then on, and who had it before in everything that was said until then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import for_each, lists, put
from core.db.tables import employee, employee_alias
from sync.effects import Alias

TODAY = datetime.max.replace(tzinfo=UTC)
"""In place of a moment: what an id means now."""

Said = tuple[str, datetime]
"""An id (in lower case), and when it was said or given."""


@dataclass(frozen=True, slots=True)
class Link:
    """That who had an id has been called ``new`` since then. What named the old id before ``until`` is meant.

    ``merged``: the rows have been moved.
    """

    new: str
    since: datetime
    until: datetime | None
    merged: bool


_Links = Mapping[str, Sequence[Link]]


async def resolve(conn: AsyncConnection, corpid: str, userids: Iterable[str]) -> dict[str, str]:
    """Of these ids (in lower case), said now, those that are old ones, to the id that the person has now."""
    found = await resolve_said(conn, corpid, [(userid, TODAY) for userid in userids])
    return {userid: newest for (userid, _), newest in found.items()}


async def resolve_said(conn: AsyncConnection, corpid: str, said: Iterable[Said]) -> dict[Said, str]:
    """The same for ids that were said at some time, perhaps of who had them before the one that has them now.

    Who was renamed several times is followed to the end, one query per level.
    """
    asked = sorted(set(said))
    links: dict[str, Sequence[Link]] = {}
    level = {userid for userid, _ in asked}
    while level:
        found = await read_links(conn, corpid, sorted(level))
        links |= found
        level = {link.new for each in found.values() for link in each} - links.keys()
    return {one: newest for one in asked if (newest := _newest(*one, links)) != one[0]}


def _newest(userid: str, moment: datetime, links: _Links) -> str:
    here, seen = userid, {userid}
    while (link := valid_link(links.get(here, ()), moment)) is not None and link.new not in seen:
        here, moment = link.new, link.since
        seen.add(here)
    return here


def valid_link(links: Iterable[Link], moment: datetime) -> Link | None:
    """What became of the one whom an id meant at this moment; the links are in the order of time."""
    return next((link for link in links if link.until is None or link.until > moment), None)


async def read_links(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> dict[str, list[Link]]:
    """Who of those that had these ids was renamed, in the order of time."""
    dialect = conn.dialect.name
    found: dict[str, list[Link]] = {}
    rows = await conn.execute(_links_of(dialect), lists(dialect, userid=userids) | {"corpid": corpid})
    for row in sorted(rows, key=lambda row: row.happened_at):
        link = Link(row.new_userid, row.happened_at, row.given_at, row.merged_at is not None)
        found.setdefault(row.userid, []).append(link)
    return found


@cache
def _links_of(dialect: str) -> Select[Any]:
    t = employee_alias.c
    links = select(t.userid, t.new_userid, t.happened_at, t.given_at, t.merged_at)
    return for_each(dialect, links.where(t.corpid == bindparam("corpid")), [t.userid])


async def write_aliases(
    conn: AsyncConnection, corpid: str, told: Collection[Alias], made: Iterable[Said], now: datetime
) -> None:
    """Keep who is called otherwise now, and since when ids are others': those of employees ``made``, or renamed to."""
    given = set(made)
    if told:
        ids = sorted({alias.userid for alias in told})
        renamed = await read_renamed_to(conn, corpid, ids)
        rows = {
            (alias.userid, alias.happened_at): {"corpid": corpid, "userid": alias.userid}
            | {"new_userid": alias.new_userid, "happened_at": alias.happened_at}
            # What a later owner, whose renaming came earlier, brought along can't be told from what is to be moved.
            | {"merged_at": now if any(to == alias.userid and at > alias.happened_at for to, at in renamed) else None}
            for alias in told
        }
        await put(conn, employee_alias, [row for _, row in sorted(rows.items())])
        t = employee.c
        known = select(t.userid, t.last_create_at).where(t.corpid == corpid, t.userid.in_(ids))
        found = await conn.execute(known.where(t.last_create_at.is_not(None)))
        given |= renamed | {(alias.new_userid, alias.happened_at) for alias in told}
        given |= {(row.userid, row.last_create_at) for row in found}
        # Who is renamed had been given the id before.
        links = await read_links(conn, corpid, ids)
        given |= {(userid, link.since) for userid, each in links.items() for link in each}
    await write_given(conn, corpid, given)


async def read_renamed_to(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> set[Said]:
    """When somebody was renamed to one of these ids."""
    dialect = conn.dialect.name
    rows = await conn.execute(_renamed_to(dialect), lists(dialect, new_userid=userids) | {"corpid": corpid})
    return {(row.new_userid, row.happened_at) for row in rows}


@cache
def _renamed_to(dialect: str) -> Select[Any]:
    t = employee_alias.c
    renamings = select(t.new_userid, t.happened_at).where(t.corpid == bindparam("corpid"))
    return for_each(dialect, renamings, [t.new_userid])


async def write_given(conn: AsyncConnection, corpid: str, given: Iterable[Said]) -> None:
    """Keep since when these ids are somebody else's than those who had them before; the earliest moment counts."""
    t = employee_alias.c
    moments = [{"its_id": userid, "moment": moment} for userid, moment in sorted(given)]
    if moments:
        moment = bindparam("moment", type_=t.given_at.type)
        here = and_(t.corpid == corpid, t.userid == bindparam("its_id"), t.happened_at < moment)
        later = update(employee_alias).where(here, or_(t.given_at.is_(None), t.given_at > moment))
        await conn.execute(later.values(given_at=moment), moments)
