"""Customer groups as the API tells them (document 92122)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wecom.client import WeComClient
from wecom.errors import Retry
from wecom.fields import id_of, list_of, moment_of, number_of, table_of, text_of

GET = "externalcontact/groupchat/get"
EMPLOYEE = 1
"""Type of a member who belongs to the corporation; 2 is an external contact."""

_LONGEST_VERSION = 64


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a group. ``userid`` of an employee in lower case; ``join_time`` in Unix seconds."""

    type: int
    userid: str
    join_time: int | None
    join_scene: int | None
    invitor: str | None
    group_nickname: str | None
    name: str | None
    unionid: str | None
    state: str | None


@dataclass(frozen=True, slots=True)
class GroupChat:
    """A group with everybody in it; ``members`` is None if the answer does not say who that is.

    Ids of employees are in lower case. ``member_version`` changes whenever somebody joins or leaves.
    """

    chat_id: str
    name: str | None
    owner: str | None
    notice: str | None
    create_time: int | None
    admins: tuple[str, ...]
    member_version: str | None
    members: tuple[Member, ...] | None


async def read_group_chat(client: WeComClient, corpid: str, secret_name: str, chat_id: str) -> GroupChat:
    """Read one group with the names of its members.

    Raises an ``ApiError``; ``NotVisible`` when it was dissolved or its owner is out of range.
    """
    answer = await client.call(corpid, secret_name, GET, json={"chat_id": chat_id, "need_name": 1})
    chat = table_of(answer.get("group_chat"))
    if chat is None or chat.get("chat_id") != chat_id:
        # An empty answer is no answer: taking it for the truth would clear the group.
        raise Retry(GET, None, "an answer without the group")
    listed = chat.get("member_list")
    if not isinstance(listed, list | None):
        raise Retry(GET, None, "members that are no list")
    version = id_of(chat, "member_version")
    return GroupChat(
        chat_id=chat_id,
        name=text_of(chat, "name"),
        owner=_member_id(chat, "owner"),
        notice=text_of(chat, "notice"),
        create_time=moment_of(chat, "create_time"),
        admins=_admins(chat.get("admin_list")),
        member_version=version if version and len(version) <= _LONGEST_VERSION else None,
        members=None if listed is None else _members(listed),
    )


def _admins(listed: Any) -> tuple[str, ...]:
    tables = (table_of(entry) for entry in list_of(listed))
    return tuple(sorted({userid for table in tables if table and (userid := _member_id(table, "userid"))}))


def _members(listed: list[Any]) -> tuple[Member, ...]:
    found = {(member.type, member.userid): member for entry in listed if (member := _member(entry)) is not None}
    return tuple(found[key] for key in sorted(found))


def _member(entry: Any) -> Member | None:
    table = table_of(entry)
    if table is None:
        return None
    kind, userid = number_of(table, "type"), id_of(table, "userid")
    if kind is None or not userid:
        # Of whom nothing can be kept. A type that nobody knows yet is kept as it is.
        return None
    return Member(
        type=kind,
        userid=userid.lower() if kind == EMPLOYEE else userid,
        join_time=moment_of(table, "join_time"),
        join_scene=number_of(table, "join_scene"),
        invitor=_member_id(table_of(table.get("invitor")) or {}, "userid"),
        group_nickname=text_of(table, "group_nickname"),
        name=text_of(table, "name"),
        unionid=id_of(table, "unionid"),
        state=text_of(table, "state"),
    )


def _member_id(table: Mapping[str, Any], name: str) -> str | None:
    userid = id_of(table, name)
    return userid.lower() if userid else None
