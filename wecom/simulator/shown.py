"""Employees, departments, tags and groups as the API shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wecom.simulator.state import STAFF, Chat, ChatMember, Corp, Department, Employee, MemberTag, TagEntry, TagGroup

Shown = dict[str, Any]


def member_of(employee: Employee) -> Shown:
    """What user/get tells an app that was made after 2022-06-20: no phone, mail, gender or picture (document 90196)."""
    return {
        "userid": employee.userid,
        "name": employee.name,
        "department": [place.department_id for place in employee.places],
        "order": [place.order for place in employee.places],
        "is_leader_in_dept": [int(place.is_leader) for place in employee.places],
        "main_department": employee.places[0].department_id,
        "position": employee.position,
        "direct_leader": list(employee.leaders),
        "telephone": "",
        "alias": employee.alias,
        "status": employee.status,
        "extattr": {"attrs": []},
    }


def department_of(department: Department) -> Shown:
    """Document 95351."""
    return {
        "id": department.department_id,
        "name": department.name,
        "name_en": department.name_en,
        "department_leader": list(department.leaders),
        "parentid": department.parentid,
        "order": department.order,
    }


def member_tag_of(corp: Corp, tag: MemberTag) -> Shown:
    """Document 90213."""
    # Who has just left may be in it for a moment still.
    users = [corp.employees[userid.lower()] for userid in tag.users if userid.lower() in corp.employees]
    return {
        "tagname": tag.name,
        "userlist": [{"userid": employee.userid, "name": employee.name} for employee in users],
        "partylist": list(tag.parties),
    }


def tag_group_of(group: TagGroup, wanted: Callable[[TagEntry], bool] | None = None) -> Shown:
    """One group of a list (documents 92117, 94882): those of its tags that are wanted, or all that are not deleted.

    ``deleted`` is said to those who asked for ids.
    """
    shown: Shown = {"group_id": group.group_id, "group_name": group.name, "create_time": group.create_time}
    shown["order"] = group.order
    if group.strategy_id is not None:
        shown["strategy_id"] = group.strategy_id
    if wanted is not None:
        shown["deleted"] = group.deleted
    entries = group.live if wanted is None else [entry for entry in group.tags if wanted(entry)]
    return shown | {"tag": [_entry(entry, asked=wanted is not None) for entry in entries]}


def _entry(entry: TagEntry, *, asked: bool) -> Shown:
    shown: Shown = {"id": entry.tag_id, "name": entry.name, "create_time": entry.create_time, "order": entry.order}
    return shown | ({"deleted": entry.deleted} if asked else {})


def chat_of(chat: Chat, *, need_name: bool) -> Shown:
    """``group_chat`` of an answer (document 92122)."""
    return {
        "chat_id": chat.chat_id,
        "name": chat.name,
        "owner": chat.owner,
        "create_time": chat.create_time,
        "notice": chat.notice,
        "member_list": [_chat_member(member, need_name=need_name) for member in chat.members],
        "admin_list": [{"userid": userid} for userid in chat.admins],
        "member_version": chat.version,
    }


def _chat_member(member: ChatMember, *, need_name: bool) -> Shown:
    shown: Shown = {"userid": member.userid, "type": member.type, "join_time": member.join_time}
    shown |= {"join_scene": member.join_scene, "group_nickname": member.group_nickname}
    if member.type != STAFF and member.unionid is not None:
        shown["unionid"] = member.unionid
    if member.invitor is not None:
        shown["invitor"] = {"userid": member.invitor}
    if member.state is not None:
        shown["state"] = member.state
    return shown | ({"name": member.name} if need_name else {})
