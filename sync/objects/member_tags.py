"""Tags of employees, with who has them: what tag/get says of one. No history is kept of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import put, remove
from core.db.tables import employee_tag, employee_tag_member
from sync.effects import MEMBER_TAG
from sync.objects.base import Answer, Row, Written, gone_since, newer
from sync.objects.names import resolve
from sync.objects.rows import lock_rows
from wecom.client import WeComClient
from wecom.directory import MemberTag, read_member_tag

USER, PARTY = "user", "party"

Has = tuple[int, str, str]
"""Tag, type and id of a member."""


class MemberTags:
    """The kind ``member_tag``; object ids are the tags' numbers as text, what is found is a ``MemberTag``."""

    name = MEMBER_TAG

    async def read(self, client: WeComClient, corpid: str, secret_name: str, object_id: str) -> MemberTag:
        """See ``Kind``."""
        return await read_member_tag(client, corpid, secret_name, int(object_id))

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """See ``Kind``. What the platform does not show keeps who had it last."""
        newest = await resolve(conn, corpid, {userid for one in answers if one.found for userid in one.found.users})
        by_number = {int(answer.object_id): answer for answer in answers}
        numbers: list[Any] = sorted(by_number)
        old, _ = await lock_rows(conn, dialect, employee_tag, corpid, numbers, now)
        stands = await _members(conn, corpid, numbers)
        done: dict[str, Written] = {}
        rows: list[Row] = []
        gone: set[Has] = set()
        come: set[Has] = set()
        for number in numbers:
            answer, row = by_number[number], old[number]
            result = done[answer.object_id] = Written(fetched_at=answer.fetched_at, previous_fetch=row["fetched_at"])
            # No event tells that one is made.
            result.unproven = row["fetched_at"] is None
            if not newer(answer.fetched_at, row["fetched_at"]):
                continue
            new = _after(row, answer)
            if new != row:
                rows.append(new)
            result.changed = any(new[name] != row[name] for name in ("tagname", "gone_at"))
            if answer.found is not None:
                had = {has for has in stands if has[0] == number}
                has = _listed(answer.found, newest)
                result.changed |= had != has
                gone |= had - has
                come |= has - had
        await put(conn, employee_tag, rows, ("tagname", "gone_at", "fetched_at"))
        await remove(conn, employee_tag_member, _rows(corpid, gone))
        await put(conn, employee_tag_member, _rows(corpid, come))
        return done


def _after(old: Row, answer: Answer) -> Row:
    """The row after this answer, which is news."""
    state = {"gone_at": gone_since(old["gone_at"], answer.fetched_at, shown=answer.found is not None)}
    if answer.found is None:
        return old | state
    return old | state | {"tagname": answer.found.tagname, "fetched_at": answer.fetched_at}


def _listed(found: MemberTag, newest: Mapping[str, str]) -> set[Has]:
    users = {(found.tagid, USER, newest.get(userid, userid)) for userid in found.users}
    return users | {(found.tagid, PARTY, str(number)) for number in found.parties}


async def _members(conn: AsyncConnection, corpid: str, numbers: Sequence[int]) -> set[Has]:
    t = employee_tag_member.c
    rows = select(t.tagid, t.member_type, t.member_id).where(t.corpid == corpid, t.tagid.in_(numbers))
    return {(row.tagid, row.member_type, row.member_id) for row in await conn.execute(rows)}


def _rows(corpid: str, members: set[Has]) -> list[Row]:
    return [
        {"corpid": corpid, "tagid": number, "member_type": kind, "member_id": member_id}
        for number, kind, member_id in sorted(members)
    ]
