"""What a batch of events told, written into the tables of one corp: aliases, facts, and what to look at.

Ids that an employee had before count for the one that the employee has now, wherever an event names them; the ledger
keeps what the event said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import fold, put
from core.db.tables import employee, employee_alias, group_chat_version, pending_read
from core.db.upsert import Columns
from sync.effects import MEMBER, Alias, Effect, Object, fold_existence, fold_facts
from sync.facts import Existence
from sync.objects.aliases import resolve
from sync.objects.customers import write_facts
from sync.objects.existence import write_existence
from sync.pending import want


async def write_effects(
    conn: AsyncConnection,
    dialect: str,
    corpid: str,
    effects: Sequence[Effect],
    now: datetime,
    *,
    more_to_come: bool = False,
) -> None:
    """Everything that these events do, in the caller's transaction. ``more_to_come``: others wait behind them."""
    await _write_aliases(conn, corpid, effects)
    newest = await resolve(conn, corpid, sorted(_members(effects)))
    if newest:
        effects = [_of_today(effect, newest) for effect in effects]
    await write_facts(conn, dialect, corpid, fold_facts(effects), now)
    await write_existence(conn, dialect, corpid, fold_existence(effects), now)
    await _write_versions(conn, corpid, effects)
    strangers = await _strangers(conn, corpid, effects)
    await want(conn, dialect, corpid, [*effects, *strangers], now, more_to_come=more_to_come)


def _members(effects: Sequence[Effect]) -> set[str]:
    named = {effect.employee for effect in effects if effect.employee is not None}
    return named | {object_id for effect in effects for kind, object_id in effect.wishes if kind == MEMBER}


def _of_today(effect: Effect, newest: Mapping[str, str]) -> Effect:
    def today(this: Object) -> Object:
        return (MEMBER, newest.get(this[1], this[1])) if this[0] == MEMBER else this

    exists: tuple[Object, Existence] | None = None
    if effect.exists is not None:
        exists = (today(effect.exists[0]), effect.exists[1])
    member = None if effect.employee is None else newest.get(effect.employee, effect.employee)
    wishes = tuple(today(this) for this in effect.wishes)
    return replace(effect, employee=member, exists=exists, wishes=wishes)


async def _strangers(conn: AsyncConnection, corpid: str, effects: Sequence[Effect]) -> list[Effect]:
    """Looks at employees of relations of whom nothing is known yet, as no event may ever name them, or who have left:
    what they had ends with the look."""
    named = {effect.employee: effect.cause for effect in effects if effect.employee is not None}
    if not named:
        return []
    t, p = employee.c, pending_read.c
    here = select(t.userid, t.left_at).where(t.corpid == corpid, t.userid.in_(sorted(named)))
    known = {row.userid: row.left_at for row in await conn.execute(here)}
    wanted = {userid for userid in named if userid not in known or known[userid] is not None}
    if unknown := sorted(wanted - known.keys()):
        # Who is waited for is not asked for more urgently: an app that may not read employees would ask at every event.
        waits = select(p.object_id).where(p.corpid == corpid, p.kind == MEMBER, p.object_id.in_(unknown))
        wanted -= set((await conn.execute(waits)).scalars())
    return [Effect(True, wishes=((MEMBER, userid),), cause=named[userid]) for userid in named if userid in wanted]


async def _write_aliases(conn: AsyncConnection, corpid: str, effects: Sequence[Effect]) -> None:
    """Keep who is called otherwise now, and forget it for ids that were given to somebody else later."""
    aliases: dict[str, Alias] = {}
    for effect in effects:
        told = effect.alias
        if told is not None and (told.userid not in aliases or told.happened_at >= aliases[told.userid].happened_at):
            aliases[told.userid] = told
    made = {
        key[1]: told.created_at
        for key, told in fold_existence(effects).items()
        if key[0] == MEMBER and told.created_at is not None
    }
    t = employee.c
    if aliases:
        here = and_(t.corpid == corpid, t.userid.in_(sorted(aliases)), t.last_create_at.is_not(None))
        for row in await conn.execute(select(t.userid, t.last_create_at).where(here)):
            made[row.userid] = max(row.last_create_at, made.get(row.userid, row.last_create_at))
    rows = [
        {"corpid": corpid, "userid": told.userid, "new_userid": told.new_userid, "happened_at": told.happened_at}
        for _, told in sorted(aliases.items())
        if told.userid not in made or made[told.userid] <= told.happened_at
    ]
    await fold(conn, employee_alias, rows, _newer_alias)
    for userid, moment in sorted(made.items()):
        a = employee_alias.c
        here = and_(a.corpid == corpid, a.userid == userid, a.happened_at < moment)
        await conn.execute(delete(employee_alias).where(here))


async def _write_versions(conn: AsyncConnection, corpid: str, effects: Sequence[Effect]) -> None:
    links = {
        (effect.versions.chat_id, effect.versions.current): effect.versions
        for effect in effects
        if effect.versions is not None
    }
    rows = [
        {"corpid": corpid, "chat_id": chat_id, "cur_mem_ver": current, "last_mem_ver": link.last}
        | {"happened_at": link.happened_at}
        for (chat_id, current), link in sorted(links.items())
    ]
    await put(conn, group_chat_version, rows)


def _newer_alias(old: Columns, new: Columns) -> Sequence[tuple[str, Any]]:
    return [
        ("new_userid", case((new.happened_at >= old.happened_at, new.new_userid), else_=old.new_userid)),
        ("happened_at", case((new.happened_at > old.happened_at, new.happened_at), else_=old.happened_at)),
    ]
