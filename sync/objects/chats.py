"""Customer groups and who is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import as_dicts
from core.db.tables import group_chat, group_chat_member
from core.db.wishes import CHAT
from sync.objects.base import Answer, Row, Written, newer
from sync.objects.children import ChildChanges
from sync.objects.names import resolve
from sync.objects.rows import AT_ONCE, is_unknown, lock_rows, missed, save_rows, shown_or_not
from wecom.client import WeComClient
from wecom.group_chats import EMPLOYEE, GroupChat, read_group_chat

_ENDING = "dismissed_at"
_KEY = ("chat_id", "type", "userid")
_MEMBER_COLUMNS = ("join_time", "join_scene", "invitor", "group_nickname", "name", "unionid", "state")

_Key = tuple[str, int, str]
_Members = dict[_Key, Row]


class Chats:
    """The kind ``chat``."""

    name = CHAT

    async def read(self, client: WeComClient, corpid: str, secret_name: str, object_id: str) -> GroupChat:
        """The group with its members. Raises an ``ApiError``; ``NotVisible`` for one that is dissolved or not shown."""
        return await read_group_chat(client, corpid, secret_name, object_id)

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """See ``Kind``. A group is written whole; when many members changed, the groups after it wait."""
        old, made = await lock_rows(conn, dialect, group_chat, corpid, [one.object_id for one in answers], now)
        news = [one for one in answers if newer(one.fetched_at, old[one.object_id]["fetched_at"])]
        stand = await _members(conn, corpid, [one.object_id for one in news if one.found is not None])
        # Once the groups are locked, as somebody who merges an old id into a new one locks them too.
        newest = await resolve(conn, corpid, _employees(one.found for one in news if one.found is not None))
        done = {
            one.object_id: Written(fetched_at=one.fetched_at, previous_fetch=old[one.object_id]["fetched_at"])
            for one in answers
        }
        new = dict(old)
        changes = ChildChanges(group_chat_member)
        moved: set[str] = set()
        for answer in sorted(news, key=lambda one: one.object_id):
            result, chat = done[answer.object_id], answer.found
            if len(changes.versions) >= AT_ONCE:
                result.unfinished = True
                continue
            row = old[answer.object_id]
            row = row | shown_or_not(row, _ENDING, answer.fetched_at, shown=chat is not None)
            if chat is not None:
                row |= _columns(chat, newest) | {"fetched_at": answer.fetched_at}
                listed = _listed(chat, newest)
                before = stand.get(answer.object_id, {})
                if listed is not None and changes.add(before.values(), listed.values(), answer.cause):
                    moved.add(answer.object_id)
            new[answer.object_id] = row
            if (since := missed(row, _ENDING, shown=chat is not None)) is not None:
                result.unseen[""] = since
        causes = {one.object_id: one.cause for one in answers}
        for chat_id in await save_rows(conn, group_chat, corpid, old, new, made, causes, now) | moved:
            done[chat_id].changed, done[chat_id].unproven = True, is_unknown(old[chat_id])
        await changes.write(conn, corpid, now)
        return done


def _columns(chat: GroupChat, newest: Mapping[str, str]) -> Row:
    return {
        "name": chat.name,
        "owner": newest.get(chat.owner or "", chat.owner),
        "notice": chat.notice,
        "create_time": chat.create_time,
        "admins": sorted({newest.get(userid, userid) for userid in chat.admins}),
        "member_version": chat.member_version,
    }


def _listed(chat: GroupChat, newest: Mapping[str, str]) -> _Members | None:
    """The rows of the group's members; None if the answer does not say who they are."""
    if chat.members is None:
        return None
    rows: _Members = {}
    # Old ids first: where the new one is listed too, that is the person's entry.
    for member in sorted(chat.members, key=lambda one: one.userid not in newest):
        userid = newest.get(member.userid, member.userid) if member.type == EMPLOYEE else member.userid
        key = (chat.chat_id, member.type, userid)
        values = {column: getattr(member, column) for column in _MEMBER_COLUMNS}
        rows[key] = _named(key) | values | {"invitor": newest.get(member.invitor or "", member.invitor)}
    return dict(sorted(rows.items()))


def _employees(chats: Iterable[GroupChat]) -> set[str]:
    named: set[str] = set()
    for chat in chats:
        named.update(chat.admins)
        named.update(member.userid for member in chat.members or () if member.type == EMPLOYEE)
        named.update(userid for userid in (chat.owner, *(member.invitor for member in chat.members or ())) if userid)
    return named


def _named(key: _Key) -> Row:
    return dict(zip(_KEY, key, strict=True))


async def _members(conn: AsyncConnection, corpid: str, chat_ids: Sequence[str]) -> dict[str, _Members]:
    t = group_chat_member.c
    columns = [t[name] for name in (*_KEY, *_MEMBER_COLUMNS)]
    found: dict[str, _Members] = {}
    for row in as_dicts(await conn.execute(select(*columns).where(t.corpid == corpid, t.chat_id.in_(chat_ids)))):
        found.setdefault(row["chat_id"], {})[row["chat_id"], row["type"], row["userid"]] = row
    return found
