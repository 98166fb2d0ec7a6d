"""What a batch of events told, written into the tables of one corp: aliases, facts, and what to look at.

Ids that an employee had before count for the one that the employee has now, wherever an event names them; the ledger
keeps what the event said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import put
from core.db.tables import group_chat_version
from sync.effects import DEPARTURE, MEMBER, Effect, Object, fold_existence, fold_facts
from sync.facts import Existence, newest_cause
from sync.objects.base import Cause
from sync.objects.customers import write_facts
from sync.objects.existence import write_existence
from sync.objects.names import TODAY, Said, resolve_said, write_aliases
from sync.objects.strangers import looks_at
from sync.pending import want

# Kinds whose ids are employees'.
_NAMED = frozenset({MEMBER, DEPARTURE})


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
    await _write_aliases(conn, corpid, effects, now)
    newest = await resolve_said(conn, corpid, _members(effects))
    if newest:
        effects = [_of_today(effect, newest) for effect in effects]
    await write_facts(conn, dialect, corpid, fold_facts(effects), now)
    await write_existence(conn, dialect, corpid, fold_existence(effects), now)
    await _write_versions(conn, corpid, effects)
    looks = await _looks_at(conn, corpid, effects, now)
    await want(conn, dialect, corpid, [*effects, *looks], now, more_to_come=more_to_come)


def _members(effects: Sequence[Effect]) -> set[Said]:
    named = {_said(effect, effect.employee) for effect in effects if effect.employee is not None}
    return named | {
        _said(effect, object_id) for effect in effects for kind, object_id in effect.wishes if kind in _NAMED
    }


def _said(effect: Effect, userid: str) -> Said:
    return userid, effect.cause.happened_at or TODAY


def _of_today(effect: Effect, newest: Mapping[Said, str]) -> Effect:
    def called(userid: str) -> str:
        return newest.get(_said(effect, userid), userid)

    def today(this: Object) -> Object:
        return (this[0], called(this[1])) if this[0] in _NAMED else this

    exists: tuple[Object, Existence] | None = None
    if effect.exists is not None:
        exists = (today(effect.exists[0]), effect.exists[1])
    member = None if effect.employee is None else called(effect.employee)
    wishes = tuple(today(this) for this in effect.wishes)
    return replace(effect, employee=member, exists=exists, wishes=wishes)


async def _looks_at(conn: AsyncConnection, corpid: str, effects: Sequence[Effect], now: datetime) -> list[Effect]:
    """Looks at employees whom these events name together with a customer."""
    named: dict[str, Cause] = {}
    for effect in effects:
        if effect.employee is not None:
            named[effect.employee] = newest_cause(named.get(effect.employee), effect.cause) or effect.cause
    moments = {userid: cause.happened_at or now for userid, cause in named.items()}
    looks = await looks_at(conn, corpid, moments)
    return [Effect(True, wishes=tuple(looks[userid]), cause=named[userid]) for userid in named if userid in looks]


async def _write_aliases(conn: AsyncConnection, corpid: str, effects: Sequence[Effect], now: datetime) -> None:
    told = {effect.alias for effect in effects if effect.alias is not None}
    made: set[Said] = set()
    for effect in effects:
        if effect.exists is not None:
            (kind, object_id), existence = effect.exists
            if kind == MEMBER and existence.created_at is not None:
                made.add((object_id, existence.created_at))
    await write_aliases(conn, corpid, told, made, now)


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
