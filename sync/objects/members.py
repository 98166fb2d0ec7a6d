"""Employees, with the departments they are in: what user/get says of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import employee, employee_department
from sync.effects import MEMBER
from sync.objects.base import Answer, Cause, Row, Written, newer
from sync.objects.children import ChildChanges
from sync.objects.names import resolve
from sync.objects.places import place_rows, read_places
from sync.objects.rows import is_unknown, lock_rows, missed, save_rows, shown_or_not
from wecom.client import WeComClient
from wecom.directory import Member, read_member

_ENDING = "left_at"
_REPLACED = ("name", "alias", "position", "external_position", "status", "main_department")
# Not told to every app: the key's absence says nothing, an empty text that there is none.
_KEPT = ("gender", "mobile", "telephone", "email", "biz_mail", "avatar")


class Members:
    """The kind ``member``; object ids are userids in lower case, what is found is a ``Member``."""

    name = MEMBER

    async def read(self, client: WeComClient, corpid: str, secret_name: str, object_id: str) -> Member:
        """See ``Kind``."""
        return await read_member(client, corpid, secret_name, object_id)

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """See ``Kind``.

        An answer about an id that the employee had before counts for the new one, if it shows somebody; that the old
        one shows nobody is as it should be.
        """
        leaders = {leader for answer in answers if answer.found for leader in answer.found.direct_leaders}
        newest = await resolve(conn, corpid, leaders | {answer.object_id for answer in answers})
        done = {answer.object_id: Written(fetched_at=answer.fetched_at) for answer in answers}
        told = [answer for answer in answers if answer.found is not None or answer.object_id not in newest]
        told.sort(key=lambda answer: answer.fetched_at)
        userids = sorted({newest.get(answer.object_id, answer.object_id) for answer in told})
        old, made = await lock_rows(conn, dialect, employee, corpid, userids, now)
        places = await read_places(conn, corpid, userids)

        new = dict(old)
        new_places: dict[str, list[Row]] = {}
        causes: dict[str, Cause] = {}
        news: dict[str, Answer] = {}
        for answer in told:
            userid = newest.get(answer.object_id, answer.object_id)
            row = new[userid]
            done[answer.object_id].previous_fetch = old[userid]["fetched_at"]
            if userid in made:
                causes.setdefault(userid, answer.cause)
            if not newer(answer.fetched_at, row["fetched_at"]):
                continue
            new[userid] = _after(row, answer, newest, renamed=answer.object_id != userid)
            if answer.found is not None and answer.found.places is not None:
                new_places[userid] = place_rows(userid, answer.found.places)
            causes[userid], news[userid] = answer.cause, answer
        changed = await save_rows(conn, employee, corpid, old, new, made, causes, now)
        work = ChildChanges(employee_department)
        for userid, wanted in new_places.items():
            if work.add(places[userid], wanted, causes[userid]):
                changed.add(userid)
        await work.write(conn, corpid, now)
        for userid, answer in news.items():
            result = done[answer.object_id]
            result.changed, result.unproven = userid in changed, is_unknown(old[userid])
            since = missed(new[userid], _ENDING, shown=answer.found is not None)
            if since is not None:
                result.unseen[""] = since
        return done


def _after(old: Row, answer: Answer, newest: Mapping[str, str], *, renamed: bool) -> Row:
    """The row after this answer, which is news."""
    state = shown_or_not(old, _ENDING, answer.fetched_at, shown=answer.found is not None)
    if answer.found is None:
        return old | state
    member: Member = answer.found
    values: Row = {name: getattr(member, name) for name in _REPLACED}
    values |= {name: value for name in _KEPT if (value := getattr(member, name)) is not None}
    values["direct_leaders"] = list(dict.fromkeys(newest.get(leader, leader) for leader in member.direct_leaders))
    if not renamed:
        values["userid_shown"] = member.userid
    return old | values | state | {"fetched_at": answer.fetched_at}
