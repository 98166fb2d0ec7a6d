"""The address book's part of the API: employees, departments, employee tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wecom.simulator.answers import Answer, Handler, Params, Refusal, number_of
from wecom.simulator.shown import department_of
from wecom.simulator.state import MEMBER, MEMBER_TAG, PARTY, ROOT, Agent, Corp, Department, Employee
from wecom.simulator.visibility import Visibility

USER, USERS = "user/get", "user/simplelist"
DEPARTMENT, DEPARTMENTS, DEPARTMENT_LIST = "department/get", "department/simplelist", "department/list"
MEMBER_TAG_GET, MEMBER_TAGS = "tag/get", "tag/list"


class DirectoryApi:
    """Handlers by path; all are asked by GET."""

    def __init__(self, visibility: Visibility) -> None:
        self._visibility = visibility
        self.handlers: Mapping[str, Handler] = {
            USER: self._employee,
            USERS: self._employees_of,
            DEPARTMENT: self._department,
            DEPARTMENTS: self._departments,
            DEPARTMENT_LIST: self._department_list,
            MEMBER_TAG_GET: self._member_tag,
            MEMBER_TAGS: self._member_tags,
        }

    def _employee(self, corp: Corp, agent: Agent, params: Params) -> Answer:
        userid = str(params.get("userid", "")).lower()
        if not userid:
            raise Refusal(41009)
        shown = self._visibility.shown(corp, MEMBER, userid)
        if shown is None:
            raise Refusal(60111)
        if not _sees(agent, userid):
            raise Refusal(60011)
        return shown

    def _employees_of(self, corp: Corp, agent: Agent, params: Params) -> Answer:
        number = number_of(params, "department_id")
        if number not in corp.departments:
            raise Refusal(60123)
        return {
            "userlist": [
                {
                    "userid": employee.userid,
                    "name": employee.name,
                    "department": [place.department_id for place in employee.places],
                }
                for key, employee in corp.employees.items()
                if _is_in(employee, number) and _sees(agent, key)
            ]
        }

    def _department(self, corp: Corp, _agent: Agent, params: Params) -> Answer:
        shown = self._visibility.shown(corp, PARTY, str(number_of(params, "id")))
        if shown is None:
            raise Refusal(60123)
        return {"department": shown}

    def _departments(self, corp: Corp, _agent: Agent, params: Params) -> Answer:
        return {
            "department_id": [
                {"id": one.department_id, "parentid": one.parentid, "order": one.order}
                for one in _below(corp, _asked_for(corp, params))
            ]
        }

    def _department_list(self, corp: Corp, _agent: Agent, params: Params) -> Answer:
        return {"department": [department_of(one) for one in _below(corp, _asked_for(corp, params))]}

    def _member_tag(self, corp: Corp, agent: Agent, params: Params) -> Answer:
        shown = self._visibility.shown(corp, MEMBER_TAG, str(number_of(params, "tagid")))
        if shown is None:
            raise Refusal(40068)
        return shown | {"userlist": [one for one in shown["userlist"] if _sees(agent, one["userid"].lower())]}

    def _member_tags(self, corp: Corp, _agent: Agent, _params: Params) -> Answer:
        return {"taglist": [{"tagid": tag.tagid, "tagname": tag.name} for tag in corp.member_tags.values()]}


def _sees(agent: Agent, userid: str) -> bool:
    return agent.visible is None or userid in agent.visible


def _is_in(employee: Employee, number: int) -> bool:
    return any(place.department_id == number for place in employee.places)


def _asked_for(corp: Corp, params: Params) -> int:
    """The department that the list begins with."""
    number = number_of(params, "id") if params.get("id") else ROOT
    if number not in corp.departments:
        raise Refusal(60123)
    return number


def _below(corp: Corp, number: int) -> Iterable[Department]:
    """The department and all below it."""
    yield corp.departments[number]
    for one in list(corp.departments.values()):
        if one.parentid == number:
            yield from _below(corp, one.department_id)
