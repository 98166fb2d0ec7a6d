"""Employees, departments, tags and groups in the shape that tables are compared with: what events named of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wecom.simulator.shown import chat_of, department_of, member_of, tag_group_of
from wecom.simulator.state import CHAT, MEMBER, MEMBER_TAG, PARTY, STAFF, TAG, TAG_GROUP, Corp, Employee, TagGroup

Key = tuple[Any, ...]
Rows = dict[str, dict[Key, Any]]
"""By the names of the fields of ``truth.Truth``."""

EMPLOYEE_COLUMNS = (
    *("userid_shown", "name", "alias", "position", "external_position", "telephone", "status"),
    *("main_department", "direct_leaders", "gender", "mobile", "email", "biz_mail", "avatar"),
)
PLACE_COLUMNS = ("is_leader", "sort_order")
DEPARTMENT_COLUMNS = ("name", "name_en", "parentid", "sort_order", "leaders")
TAG_GROUP_COLUMNS = ("group_name", "sort_order", "create_time", "strategy_id")
TAG_COLUMNS = ("group_id", "tag_name", "type", "sort_order", "create_time")
CHAT_COLUMNS = ("name", "owner", "notice", "create_time", "admins", "member_version")
CHAT_MEMBER_COLUMNS = ("join_time", "join_scene", "invitor", "group_nickname", "name", "unionid", "state")

# What a nickname may hold and no database does: NUL, and half of a surrogate pair.
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


def columns(shown: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """These values of an answer, None where it has none, as tables can hold them."""
    values = {name: shown.get(name) for name in names}
    return {name: _NOT_TEXT.sub("", value) if isinstance(value, str) else value for name, value in values.items()}


def fill_directory(corp: Corp, rows: Rows) -> None:
    """Employees with their departments and former ids, departments, employee tags."""
    corpid = corp.corpid
    for userid in _told(corp, MEMBER):
        employee = corp.employees.get(userid)
        rows["employees"][corpid, userid] = None if employee is None else _employee(employee)
        for place in () if employee is None else employee.places:
            values = {"is_leader": int(place.is_leader), "sort_order": place.order}
            rows["employee_departments"][corpid, userid, place.department_id] = values
    for old, new in corp.renamed.items():
        rows["employee_aliases"][corpid, old] = {"new_userid": new}
    for number in map(int, _told(corp, PARTY)):
        department = corp.departments.get(number)
        row = None
        if department is not None:
            shown = department_of(department)
            leaders = [userid.lower() for userid in department.leaders]
            row = columns(shown | {"sort_order": shown["order"], "leaders": leaders}, DEPARTMENT_COLUMNS)
        rows["departments"][corpid, number] = row
    for number in map(int, _told(corp, MEMBER_TAG)):
        tag = corp.member_tags.get(number)
        rows["employee_tags"][corpid, number] = None if tag is None else {"tagname": tag.name}
        if tag is not None:
            has = [*(("user", userid.lower()) for userid in tag.users), *(("party", str(one)) for one in tag.parties)]
            rows["employee_tag_members"] |= {(corpid, number, *one): {} for one in has}


def fill_tags(corp: Corp, rows: Rows) -> None:
    """Tags of the corp and of rule groups, in their groups."""
    for group in corp.tag_groups.values():
        if (TAG_GROUP, group.group_id) in corp.told:
            rows["tag_groups"][corp.corpid, group.group_id] = None if group.deleted else _group(group)
        for entry in group.tags:
            if (TAG, entry.tag_id) in corp.told:
                values = {
                    "group_id": group.group_id,
                    "tag_name": entry.name,
                    "type": group.type,
                    "sort_order": entry.order,
                    "create_time": entry.create_time,
                }
                rows["corp_tags"][corp.corpid, entry.tag_id] = None if entry.deleted else values


def fill_chats(corp: Corp, rows: Rows) -> None:
    """Customer groups, who is in them, and the versions of those lists that events told."""
    for chat_id in _told(corp, CHAT):
        key, chat = (corp.corpid, chat_id), corp.chats[chat_id]
        rows["group_chat_versions"] |= {(*key, current): {"last_mem_ver": last} for last, current in chat.versions}
        if chat.dismissed:
            rows["group_chats"][key] = None
            continue
        shown = chat_of(chat, need_name=True)
        special = {
            "owner": chat.owner.lower(),
            "admins": sorted({userid.lower() for userid in chat.admins}),
            "member_version": chat.version,
        }
        rows["group_chats"][key] = columns(shown | special, CHAT_COLUMNS)
        for member in shown["member_list"]:
            userid = member["userid"].lower() if member["type"] == STAFF else member["userid"]
            invitor = member["invitor"]["userid"].lower() if "invitor" in member else None
            values = columns(member | {"invitor": invitor}, CHAT_MEMBER_COLUMNS)
            rows["group_chat_members"][*key, member["type"], userid] = values


def _told(corp: Corp, kind: str) -> list[str]:
    return sorted(object_id for of, object_id in corp.told if of == kind)


def _employee(employee: Employee) -> dict[str, Any]:
    shown = member_of(employee)
    leaders = list(dict.fromkeys(userid.lower() for userid in employee.leaders))
    return columns(shown | {"userid_shown": employee.userid, "direct_leaders": leaders}, EMPLOYEE_COLUMNS)


def _group(group: TagGroup) -> dict[str, Any]:
    shown = tag_group_of(group)
    strategy = None if group.strategy_id is None else str(group.strategy_id)
    return columns(shown | {"sort_order": group.order, "strategy_id": strategy}, TAG_GROUP_COLUMNS)
