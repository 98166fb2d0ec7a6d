"""Changes by hand of employees, departments, tags and groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from wecom.simulator.chats import INVITED
from wecom.simulator.fields import Fields, number, numbers, required, required_number, text, texts
from wecom.simulator.state import ROOT, ChangeRefused, Corp
from wecom.simulator.world import Change, World

Perform = Callable[[World, Corp, Fields], Sequence[Change | None]]


def _employee_create(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    userid = required(fields, "employee")
    change = world.create_employee(
        *(corp.corpid, userid, text(fields, "name") or userid),
        departments=numbers(fields, "departments") or [ROOT],
        alias=text(fields, "alias") or "",
        position=text(fields, "position") or "",
        leaders=texts(fields, "leaders") or (),
    )
    return (change,)


def _employee_edit(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    change = world.update_employee(
        *(corp.corpid, required(fields, "employee")),
        name=text(fields, "name"),
        alias=text(fields, "alias"),
        position=text(fields, "position"),
        status=number(fields, "status"),
        departments=numbers(fields, "departments"),
        leaders=texts(fields, "leaders"),
    )
    return (change,)


def _employee_rename(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    return (world.rename_employee(corp.corpid, required(fields, "employee"), required(fields, "to")),)


def _employee_delete(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    return world.delete_employee(corp.corpid, required(fields, "employee"))


def _department_create(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    parentid = number(fields, "parentid")
    change = world.create_department(
        *(corp.corpid, required(fields, "name")),
        parentid=ROOT if parentid is None else parentid,
        department_id=number(fields, "department"),
        name_en=text(fields, "name_en") or "",
        order=number(fields, "order") or 0,
        leaders=texts(fields, "leaders") or (),
    )
    return (change,)


def _department_edit(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    change = world.update_department(
        *(corp.corpid, required_number(fields, "department")),
        name=text(fields, "name"),
        name_en=text(fields, "name_en"),
        parentid=number(fields, "parentid"),
        order=number(fields, "order"),
        leaders=texts(fields, "leaders"),
    )
    return (change,)


def _department_delete(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    return world.delete_department(corp.corpid, required_number(fields, "department"))


def _employee_tag_create(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    world.create_member_tag(corp.corpid, required(fields, "name"), tagid=number(fields, "tagid"))
    return ()


def _employee_tag_edit(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    change = world.update_member_tag(
        *(corp.corpid, required_number(fields, "tagid")),
        add_users=texts(fields, "add_users") or (),
        del_users=texts(fields, "del_users") or (),
        add_parties=numbers(fields, "add_parties") or (),
        del_parties=numbers(fields, "del_parties") or (),
        name=text(fields, "name"),
    )
    return (change,)


def _employee_tag_delete(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    return (world.delete_member_tag(corp.corpid, required_number(fields, "tagid")),)


def _tag_group_create(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    order = number(fields, "order") or 0
    return world.create_tag_group(corp.corpid, required(fields, "name"), texts(fields, "tags") or [], order=order)


def _tag_group_edit(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    name, order = text(fields, "name") or None, number(fields, "order")
    return (world.update_tag_group(corp.corpid, required(fields, "group"), name=name, order=order),)


def _tag_group_delete(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    return (world.delete_tag_group(corp.corpid, required(fields, "group")),)


def _tag_create(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    order = number(fields, "order") or 0
    return (world.create_tag(corp.corpid, required(fields, "group"), required(fields, "name"), order=order),)


def _tag_edit(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    name, order = text(fields, "name") or None, number(fields, "order")
    return (world.update_tag(corp.corpid, required(fields, "tag"), name=name, order=order),)


def _tag_delete(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    return (world.delete_tag(corp.corpid, required(fields, "tag")),)


def _tag_shuffle(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    return (world.shuffle_tags(corp.corpid, text(fields, "group") or None),)


def _chat_create(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    change = world.create_chat(
        *(corp.corpid, required(fields, "owner")),
        members=texts(fields, "members") or (),
        name=text(fields, "name") or "",
        notice=text(fields, "notice") or "",
        admins=texts(fields, "admins") or (),
    )
    return (change,)


def _chat_join(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    scene = number(fields, "scene")
    change = world.join_chat(
        *(corp.corpid, required(fields, "chat"), texts(fields, "members") or []),
        scene=INVITED if scene is None else scene,
        invitor=text(fields, "invitor") or None,
        state=text(fields, "state") or None,
    )
    return (change,)


def _chat_leave(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    members, removed = texts(fields, "members") or [], bool(number(fields, "removed"))
    return (world.leave_chat(corp.corpid, required(fields, "chat"), members, removed=removed),)


def _chat_edit(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    """One thing at a time, as one that is refused must leave nothing done."""
    chat_id = required(fields, "chat")
    setters = {"owner": world.set_chat_owner, "name": world.set_chat_name, "notice": world.set_chat_notice}
    wanted = [(name, value) for name in setters if (value := text(fields, name)) is not None]
    if len(wanted) != 1:
        raise ChangeRefused("group-edit changes one of owner, name and notice")
    name, value = wanted[0]
    return (setters[name](corp.corpid, chat_id, value),)


def _chat_dismiss(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    return (world.dismiss_chat(corp.corpid, required(fields, "chat")),)


_OF_A_DEPARTMENT = ("name", "name_en", "parentid", "order", "leaders")

ACTIONS: Mapping[str, tuple[Sequence[str], Perform]] = {
    "employee-create": (("employee", "name", "alias", "position", "departments", "leaders"), _employee_create),
    "employee-edit": (("employee", "name", "alias", "position", "status", "departments", "leaders"), _employee_edit),
    "employee-rename": (("employee", "to"), _employee_rename),
    "employee-delete": (("employee",), _employee_delete),
    "department-create": (("department", *_OF_A_DEPARTMENT), _department_create),
    "department-edit": (("department", *_OF_A_DEPARTMENT), _department_edit),
    "department-delete": (("department",), _department_delete),
    "employee-tag-create": (("tagid", "name"), _employee_tag_create),
    "employee-tag-edit": (
        ("tagid", "name", "add_users", "del_users", "add_parties", "del_parties"),
        _employee_tag_edit,
    ),
    "employee-tag-delete": (("tagid",), _employee_tag_delete),
    "tag-group-create": (("name", "tags", "order"), _tag_group_create),
    "tag-group-edit": (("group", "name", "order"), _tag_group_edit),
    "tag-group-delete": (("group",), _tag_group_delete),
    "tag-create": (("group", "name", "order"), _tag_create),
    "tag-edit": (("tag", "name", "order"), _tag_edit),
    "tag-delete": (("tag",), _tag_delete),
    "tag-shuffle": (("group",), _tag_shuffle),
    "group-create": (("owner", "members", "name", "notice", "admins"), _chat_create),
    "group-join": (("chat", "members", "scene", "invitor", "state"), _chat_join),
    "group-leave": (("chat", "members", "removed"), _chat_leave),
    "group-edit": (("chat", "owner", "name", "notice"), _chat_edit),
    "group-dismiss": (("chat",), _chat_dismiss),
}
"""Action to its fields and what it does."""
