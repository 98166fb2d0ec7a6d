"""The address book changes: employees, departments, employee tags (documents 90970, 90971, 90972).

Pushed is what a callback that was set up after 2022-08-15 gets: ids, and the departments when they changed. Everything
else about an employee or a department pushes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from wecom.simulator.events import CONTACT, Change, EventSource, Leaves, TooSoon
from wecom.simulator.renaming import rename
from wecom.simulator.state import (
    MEMBER,
    MEMBER_TAG,
    PARTY,
    ROOT,
    ChangeRefused,
    Corp,
    Department,
    Employee,
    MemberTag,
    Place,
)

CREATE_USER, UPDATE_USER, DELETE_USER = "create_user", "update_user", "delete_user"
CREATE_PARTY, UPDATE_PARTY, DELETE_PARTY = "create_party", "update_party", "delete_party"
UPDATE_TAG = "update_tag"
_STATUSES = (1, 2, 4)

Id = TypeVar("Id", int, str)


class People(EventSource):
    """What administrators do in the address book."""

    def create_employee(
        self,
        corpid: str,
        userid: str,
        name: str,
        *,
        departments: Iterable[int | Place] = (ROOT,),
        alias: str = "",
        position: str = "",
        leaders: Iterable[str] = (),
    ) -> Change:
        """Somebody joins the corp. An id may be given again a second after it became free."""
        corp, key, moment = self.corp(corpid), userid.lower(), self._now()
        if not userid or key in corp.employees:
            raise ChangeRefused(f"corp {corpid} has an employee {userid!r} already" if userid else "userid is missing")
        if moment <= corp.freed.get(key, 0):
            raise TooSoon(f"the id {userid} became free in this second; wait one")
        places = _places(corp, departments)
        superiors = tuple(corp.employee(leader).userid for leader in leaders)
        self._tell_of(corp, MEMBER, key)
        corp.renamed.pop(key, None)
        corp.employees[key] = Employee(userid, name, alias, position, places=places, leaders=superiors, began=moment)
        return self._contact(corp, CREATE_USER, moment, (("UserID", userid), ("Department", _listed(places))))

    def update_employee(
        self,
        corpid: str,
        userid: str,
        *,
        name: str | None = None,
        alias: str | None = None,
        position: str | None = None,
        status: int | None = None,
        departments: Iterable[int | Place] | None = None,
        leaders: Iterable[str] | None = None,
    ) -> Change | None:
        """None leaves a field as it is. Returns None, as nothing is pushed, unless the set of departments changed."""
        corp = self.corp(corpid)
        employee = corp.employee(userid)
        if status not in (None, *_STATUSES):
            raise ChangeRefused(f"an employee's status is {', '.join(map(str, _STATUSES))}, not {status}")
        wanted = {
            "name": name,
            "alias": alias,
            "position": position,
            "status": status,
            "places": None if departments is None else _places(corp, departments),
            "leaders": None if leaders is None else tuple(corp.employee(leader).userid for leader in leaders),
        }
        news = {name: value for name, value in wanted.items() if value is not None and value != getattr(employee, name)}
        if not news:
            raise ChangeRefused(f"nothing about {employee.userid} is changed by that")
        before = {place.department_id for place in employee.places}
        self._tell_of(corp, MEMBER, employee.userid.lower())
        for field, value in news.items():
            setattr(employee, field, value)
        if before == {place.department_id for place in employee.places}:
            return None
        leaves = (("UserID", employee.userid), ("Department", _listed(employee.places)))
        return self._contact(corp, UPDATE_USER, self._now(), leaves)

    def rename_employee(self, corpid: str, userid: str, new_userid: str) -> Change:
        """The employee's id changes, and everything in the corp that names the employee from then on.

        What keeps the old one is who once started a relation (``oper_userid``). An id that anybody had is refused.
        """
        corp = self.corp(corpid)
        employee = corp.employee(userid)
        old, new, moment = employee.userid.lower(), new_userid.lower(), self._now()
        if not new or new == old:
            raise ChangeRefused(f"{new_userid!r} is no other id than {employee.userid}")
        if new in corp.employees or new in corp.freed:
            raise ChangeRefused(f"{new_userid} is somebody's id in corp {corpid}, or was")
        shown = employee.userid
        self._tell_of(corp, MEMBER, old)
        self._tell_of(corp, MEMBER, new)
        rename(corp, employee, new_userid)
        corp.renamed[old] = new
        corp.freed[old] = moment
        corp.told.discard((MEMBER, old))
        change = self._contact(corp, UPDATE_USER, moment, (("UserID", shown), ("NewUserID", new_userid)))
        corp.told.add((MEMBER, new))
        corp.told.discard((MEMBER, old))
        return change

    def delete_employee(self, corpid: str, userid: str) -> tuple[Change, ...]:
        """The employee leaves the corp and loses the tags, which is pushed as well.

        The API no longer lists the employee's relations. That they have ended is told by no event of their own, nor
        documented otherwise. Groups and whoever named the employee as superior go on doing so.
        """
        corp = self.corp(corpid)
        employee = corp.employee(userid)
        key, moment = employee.userid.lower(), self._now()
        had = [followers[key] for followers in corp.relations.values() if key in followers]
        if moment <= max([employee.began, *(max(one.began, one.ended) for one in had)]):
            raise TooSoon(f"{employee.userid} or a relation of theirs began or ended in this second; wait one")
        self._tell_of(corp, MEMBER, key)
        tags = [tag for tag in corp.member_tags.values() if employee.userid in tag.users]
        del corp.employees[key]
        corp.freed[key] = moment
        for relation in had:
            if relation.stands:
                relation.lost_at, relation.lost_by, relation.ended = moment, "left", moment
            relation.listed = False
        left = self._contact(corp, DELETE_USER, moment, (("UserID", employee.userid),))
        return left, *(self._tagged(corp, tag, moment, del_users=[employee.userid]) for tag in tags)

    def create_department(
        self,
        corpid: str,
        name: str,
        *,
        parentid: int = ROOT,
        department_id: int | None = None,
        name_en: str = "",
        order: int = 0,
        leaders: Iterable[str] = (),
    ) -> Change:
        """``department_id`` defaults to the next free number."""
        corp, moment = self.corp(corpid), self._now()
        number = department_id or max((*corp.departments, *corp.closed), default=0) + 1
        if number in corp.departments:
            raise ChangeRefused(f"corp {corpid} has a department {number} already")
        if moment <= corp.closed.get(number, 0):
            raise TooSoon(f"department {number} was deleted in this second; wait one")
        corp.department(parentid)
        leading = tuple(corp.employee(leader).userid for leader in leaders)
        self._tell_of(corp, PARTY, number)
        corp.departments[number] = Department(number, name, parentid, name_en, order, leading, moment)
        return self._contact(corp, CREATE_PARTY, moment, (("Id", str(number)), ("ParentId", str(parentid))))

    def update_department(
        self,
        corpid: str,
        department_id: int,
        *,
        name: str | None = None,
        name_en: str | None = None,
        parentid: int | None = None,
        order: int | None = None,
        leaders: Iterable[str] | None = None,
    ) -> Change | None:
        """None leaves a field as it is. Returns None, as nothing is pushed, unless it has another parent now."""
        corp = self.corp(corpid)
        department = corp.department(department_id)
        if parentid is not None and department_id in _above(corp, parentid):
            raise ChangeRefused(f"department {department_id} can't be below itself")
        leading = None if leaders is None else tuple(corp.employee(leader).userid for leader in leaders)
        wanted = {"name": name, "name_en": name_en, "parentid": parentid, "order": order, "leaders": leading}
        news = {
            name: value for name, value in wanted.items() if value is not None and value != getattr(department, name)
        }
        if not news:
            raise ChangeRefused(f"nothing about department {department_id} is changed by that")
        self._tell_of(corp, PARTY, department_id)
        for field, value in news.items():
            setattr(department, field, value)
        if "parentid" not in news:
            return None
        leaves = (("Id", str(department_id)), ("ParentId", str(department.parentid)))
        return self._contact(corp, UPDATE_PARTY, self._now(), leaves)

    def delete_department(self, corpid: str, department_id: int) -> tuple[Change, ...]:
        """An empty department is deleted; tags that it had are pushed too."""
        corp, moment = self.corp(corpid), self._now()
        department = corp.department(department_id)
        inside = any(place.department_id == department_id for one in corp.employees.values() for place in one.places)
        if department_id == ROOT or inside or any(one.parentid == department_id for one in corp.departments.values()):
            raise ChangeRefused(f"department {department_id} is not empty, or it is the root")
        if moment <= department.began:
            raise TooSoon(f"department {department_id} was made in this second; wait one")
        self._tell_of(corp, PARTY, department_id)
        tags = [tag for tag in corp.member_tags.values() if department_id in tag.parties]
        del corp.departments[department_id]
        corp.closed[department_id] = moment
        gone = self._contact(corp, DELETE_PARTY, moment, (("Id", str(department_id)),))
        return gone, *(self._tagged(corp, tag, moment, del_parties=[department_id]) for tag in tags)

    def create_member_tag(self, corpid: str, name: str, *, tagid: int | None = None) -> MemberTag:
        """An employee tag that nobody has yet. Nothing is pushed."""
        corp = self.corp(corpid)
        number = tagid or max((*corp.member_tags, *corp.dead_member_tags), default=0) + 1
        if number in corp.member_tags or number in corp.dead_member_tags:
            raise ChangeRefused(f"corp {corpid} has an employee tag {number} already, or had")
        corp.member_tags[number] = MemberTag(number, name)
        return corp.member_tags[number]

    def update_member_tag(
        self,
        corpid: str,
        tagid: int,
        *,
        add_users: Iterable[str] = (),
        del_users: Iterable[str] = (),
        add_parties: Iterable[int] = (),
        del_parties: Iterable[int] = (),
        name: str | None = None,
    ) -> Change | None:
        """Employees and departments get and lose the tag. Another name alone pushes nothing."""
        corp = self.corp(corpid)
        tag = corp.member_tag(tagid)
        come = _once(one for userid in add_users if (one := corp.employee(userid).userid) not in tag.users)
        gone = _once(one for userid in del_users if (one := corp.employee(userid).userid) in tag.users)
        come_too = _once(corp.department(number).department_id for number in add_parties if number not in tag.parties)
        gone_too = _once(number for number in del_parties if number in tag.parties)
        renamed = name is not None and name != tag.name
        if not (come or gone or come_too or gone_too or renamed):
            raise ChangeRefused(f"nothing about employee tag {tagid} is changed by that")
        if renamed:
            self._tell_of(corp, MEMBER_TAG, tagid)
            tag.name = name or tag.name
        if not (come or gone or come_too or gone_too):
            return None
        return self._tagged(
            corp, tag, self._now(), add_users=come, del_users=gone, add_parties=come_too, del_parties=gone_too
        )

    def delete_member_tag(self, corpid: str, tagid: int) -> Change | None:
        """Pushed as far as somebody had the tag."""
        corp = self.corp(corpid)
        tag = corp.member_tag(tagid)
        self._tell_of(corp, MEMBER_TAG, tagid)
        del corp.member_tags[tagid]
        corp.dead_member_tags.add(tagid)
        if not (tag.users or tag.parties):
            return None
        return self._tagged(corp, tag, self._now(), del_users=list(tag.users), del_parties=list(tag.parties))

    def _tagged(
        self,
        corp: Corp,
        tag: MemberTag,
        moment: int,
        *,
        add_users: Sequence[str] = (),
        del_users: Sequence[str] = (),
        add_parties: Sequence[int] = (),
        del_parties: Sequence[int] = (),
    ) -> Change:
        if tag.tagid in corp.member_tags:
            self._tell_of(corp, MEMBER_TAG, tag.tagid)
        tag.users = [userid for userid in (*tag.users, *add_users) if userid not in del_users]
        tag.parties = [number for number in (*tag.parties, *add_parties) if number not in del_parties]
        lists = (
            ("AddUserItems", add_users),
            ("DelUserItems", del_users),
            ("AddPartyItems", add_parties),
            ("DelPartyItems", del_parties),
        )
        changed = [(name, ",".join(str(one) for one in ids)) for name, ids in lists if ids]
        return self._contact(corp, UPDATE_TAG, moment, (("TagId", str(tag.tagid)), *changed))

    def _contact(self, corp: Corp, change: str, moment: int, leaves: Leaves) -> Change:
        name, object_id = leaves[0]
        kind = {"UserID": MEMBER, "Id": PARTY, "TagId": MEMBER_TAG}[name]
        corp.told.add((kind, object_id.lower()))
        return self._event(
            *(corp, CONTACT, change, (("ChangeType", change), *leaves), moment),
            object_id=object_id,
            employee=object_id if kind == MEMBER else "",
        )


def _once(ids: Iterable[Id]) -> list[Id]:
    return list(dict.fromkeys(ids))


def _places(corp: Corp, departments: Iterable[int | Place]) -> tuple[Place, ...]:
    places = tuple(one if isinstance(one, Place) else Place(one) for one in departments)
    for place in places:
        corp.department(place.department_id)
    if not places or len({place.department_id for place in places}) < len(places):
        raise ChangeRefused("an employee is in one department at least, and in each once")
    return places


def _listed(places: Iterable[Place]) -> str:
    return ",".join(str(place.department_id) for place in places)


def _above(corp: Corp, department_id: int) -> set[int]:
    """This department and all above it."""
    found: set[int] = set()
    number = department_id
    while number:
        found.add(number)
        number = corp.department(number).parentid
    return found
