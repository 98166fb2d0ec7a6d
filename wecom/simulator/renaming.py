"""Another id for an employee, wherever the corp names the employee from then on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from wecom.simulator.state import STAFF, Corp, Employee

Value = TypeVar("Value")


def rename(corp: Corp, employee: Employee, new_userid: str) -> None:
    """Change it in the address book, relations, groups, and the ranges of apps. Places in lists stay the same."""
    old, new = employee.userid, new_userid
    corp.employees = _with_key(corp.employees, old, new)
    for external_userid, followers in corp.relations.items():
        if old.lower() in followers:
            corp.relations[external_userid] = _with_key(followers, old, new)
            corp.relations[external_userid][new.lower()].employee = new
    for one in corp.employees.values():
        one.leaders = _replaced(one.leaders, old, new)
    for department in corp.departments.values():
        department.leaders = _replaced(department.leaders, old, new)
    for tag in corp.member_tags.values():
        tag.users = list(_replaced(tag.users, old, new))
    for chat in corp.chats.values():
        chat.owner = _renamed(chat.owner, old, new)
        chat.admins = _replaced(chat.admins, old, new)
        for member in chat.members:
            if member.type == STAFF:
                member.userid = _renamed(member.userid, old, new)
            if member.invitor is not None:
                member.invitor = _renamed(member.invitor, old, new)
    for agent in corp.agents:
        if agent.visible is not None and old.lower() in agent.visible:
            agent.visible = (agent.visible - {old.lower()}) | {new.lower()}
    employee.userid = new


def _with_key(rows: dict[str, Value], old: str, new: str) -> dict[str, Value]:
    return {new.lower() if key == old.lower() else key: row for key, row in rows.items()}


def _replaced(ids: Iterable[str], old: str, new: str) -> tuple[str, ...]:
    return tuple(_renamed(one, old, new) for one in ids)


def _renamed(userid: str, old: str, new: str) -> str:
    """In whatever spelling the id stands, as one that was given to somebody again has two."""
    return new if userid.lower() == old.lower() else userid
