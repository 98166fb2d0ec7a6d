"""Departments: what department/get says of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import department
from sync.effects import PARTY
from sync.objects.base import Answer, Row, Written, newer
from sync.objects.names import resolve
from sync.objects.rows import is_unknown, lock_rows, missed, save_rows, shown_or_not
from wecom.client import WeComClient
from wecom.directory import Department, read_department

_ENDING = "deleted_at"
_REPLACED = ("name", "name_en", "parentid", "sort_order")


class Departments:
    """The kind ``party``; object ids are the departments' numbers as text, what is found is a ``Department``."""

    name = PARTY

    async def read(self, client: WeComClient, corpid: str, secret_name: str, object_id: str) -> Department:
        """See ``Kind``."""
        return await read_department(client, corpid, secret_name, int(object_id))

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """See ``Kind``."""
        newest = await resolve(conn, corpid, {userid for one in answers if one.found for userid in one.found.leaders})
        # Numbers here, texts in the queue.
        numbers: dict[str, Any] = {answer.object_id: int(answer.object_id) for answer in answers}
        old, made = await lock_rows(conn, dialect, department, corpid, numbers.values(), now)
        new = dict(old)
        done: dict[str, Written] = {}
        for answer in answers:
            number = numbers[answer.object_id]
            row = old[number]
            result = done[answer.object_id] = Written(fetched_at=answer.fetched_at, previous_fetch=row["fetched_at"])
            result.unproven = is_unknown(row)
            if newer(answer.fetched_at, row["fetched_at"]):
                new[number] = _after(row, answer, newest)
                since = missed(new[number], _ENDING, shown=answer.found is not None)
                if since is not None:
                    result.unseen[""] = since
        causes = {numbers[answer.object_id]: answer.cause for answer in answers}
        changed = await save_rows(conn, department, corpid, old, new, made, causes, now)
        for answer in answers:
            done[answer.object_id].changed = numbers[answer.object_id] in changed
        return done


def _after(old: Row, answer: Answer, newest: Mapping[str, str]) -> Row:
    """The row after this answer, which is news."""
    state = shown_or_not(old, _ENDING, answer.fetched_at, shown=answer.found is not None)
    if answer.found is None:
        return old | state
    found: Department = answer.found
    values: Row = {name: getattr(found, name) for name in _REPLACED}
    values["leaders"] = list(dict.fromkeys(newest.get(userid, userid) for userid in found.leaders))
    return old | values | state | {"fetched_at": answer.fetched_at}
