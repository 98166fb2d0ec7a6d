"""The address book as the API tells it: employees, departments, employee tags (documents 90196, 95351, 90213)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wecom.client import WeComClient
from wecom.errors import Retry
from wecom.fields import id_of, list_of, number_of, table_of, text_of

GET_USER = "user/get"
GET_DEPARTMENT = "department/get"
GET_TAG = "tag/get"

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Place:
    """A department that an employee belongs to. ``sort_order``: larger first; ``is_leader`` 1 or 0."""

    department_id: int
    is_leader: int | None
    sort_order: int | None


@dataclass(frozen=True, slots=True)
class Member:
    """An employee. An absent field is None, an empty one empty.

    ``userid`` is spelled as the platform does, superiors are in lower case. ``gender`` 0 unknown, 1 male, 2 female;
    ``status`` 1 active, 2 disabled, 4 not activated, 5 left. Apps made after 2022-06-20 are not told gender, mobile,
    email, biz_mail and avatar. ``places`` is None if the answer does not say in which departments.
    """

    userid: str
    name: str | None
    alias: str | None
    gender: int | None
    position: str | None
    external_position: str | None
    mobile: str | None
    telephone: str | None
    email: str | None
    biz_mail: str | None
    avatar: str | None
    status: int | None
    main_department: int | None
    direct_leaders: tuple[str, ...]
    places: tuple[Place, ...] | None


@dataclass(frozen=True, slots=True)
class Department:
    """A department. ``leaders`` in lower case, in the platform's order."""

    department_id: int
    name: str | None
    name_en: str | None
    parentid: int | None
    sort_order: int | None
    leaders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberTag:
    """A tag of employees, with who has it as far as the app may see: userids in lower case, departments' numbers."""

    tagid: int
    tagname: str | None
    users: tuple[str, ...]
    parties: tuple[int, ...]


async def read_member(client: WeComClient, corpid: str, secret_name: str, userid: str) -> Member:
    """Read one employee.

    Raises an ``ApiError``; ``NotVisible`` when there is no such employee, or out of the app's range.
    """
    answer = await client.call(corpid, secret_name, GET_USER, params={"userid": userid})
    shown = id_of(answer, "userid")
    if shown is None or shown.lower() != userid.lower():
        # An empty answer is no answer: taking it for the truth would clear the employee.
        raise Retry(GET_USER, None, "an answer without the employee")
    return Member(
        userid=shown,
        name=text_of(answer, "name"),
        alias=text_of(answer, "alias"),
        gender=_gender(answer),
        position=text_of(answer, "position"),
        external_position=text_of(answer, "external_position"),
        mobile=text_of(answer, "mobile"),
        telephone=text_of(answer, "telephone"),
        email=text_of(answer, "email"),
        biz_mail=text_of(answer, "biz_mail"),
        avatar=text_of(answer, "avatar"),
        status=number_of(answer, "status"),
        main_department=number_of(answer, "main_department", _LARGEST),
        direct_leaders=_member_ids(answer.get("direct_leader")),
        places=_places(answer),
    )


async def read_department(client: WeComClient, corpid: str, secret_name: str, department_id: int) -> Department:
    """Read one department.

    Raises an ``ApiError``; ``NotVisible`` when there is no such department, or out of the app's range.
    """
    answer = await client.call(corpid, secret_name, GET_DEPARTMENT, params={"id": str(department_id)})
    table = table_of(answer.get("department"))
    if table is None or number_of(table, "id", _LARGEST) != department_id:
        raise Retry(GET_DEPARTMENT, None, "an answer without the department")
    return Department(
        department_id=department_id,
        name=text_of(table, "name"),
        name_en=text_of(table, "name_en"),
        parentid=number_of(table, "parentid", _LARGEST),
        sort_order=number_of(table, "order", _LARGEST),
        leaders=_member_ids(table.get("department_leader")),
    )


async def read_member_tag(client: WeComClient, corpid: str, secret_name: str, tagid: int) -> MemberTag:
    """Read one tag of employees.

    Raises an ``ApiError``; ``NotVisible`` when there is no such tag, or the app may not see it.
    """
    answer = await client.call(corpid, secret_name, GET_TAG, params={"tagid": str(tagid)})
    users, parties = answer.get("userlist"), answer.get("partylist")
    if not (isinstance(users, list | None) and isinstance(parties, list | None)):
        raise Retry(GET_TAG, None, "members that are no list")
    tagname = text_of(answer, "tagname")
    if tagname is None and users is None and parties is None:
        # The answer does not repeat the number, so this is all that tells an empty answer from an empty tag.
        raise Retry(GET_TAG, None, "an answer without the tag")
    numbers = {number for entry in parties or () if (number := _number(entry)) is not None}
    return MemberTag(
        tagid=tagid,
        tagname=tagname,
        users=tuple(sorted({*_member_ids([(table_of(entry) or {}).get("userid") for entry in users or ()])})),
        parties=tuple(sorted(numbers)),
    )


def _gender(answer: Mapping[str, Any]) -> int | None:
    value = answer.get("gender")
    # A text here, a number for customers.
    return int(value) if value in ("0", "1", "2") else number_of(answer, "gender")


def _member_ids(value: Any) -> tuple[str, ...]:
    ids = (id_of({"userid": entry}, "userid") for entry in list_of(value))
    return tuple(dict.fromkeys(userid.lower() for userid in ids if userid))


def _number(value: Any) -> int | None:
    return number_of({"number": value}, "number", _LARGEST)


def _places(answer: Mapping[str, Any]) -> tuple[Place, ...] | None:
    departments = answer.get("department")
    if not isinstance(departments, list):
        return None
    # Both run parallel to it; what is shorter says nothing of the rest.
    leads, orders = list_of(answer.get("is_leader_in_dept")), list_of(answer.get("order"))
    found: dict[int, Place] = {}
    for index, entry in enumerate(departments):
        number = _number(entry)
        if number is not None:
            is_leader = number_of({"is_leader": leads[index] if index < len(leads) else None}, "is_leader")
            order = _number(orders[index]) if index < len(orders) else None
            found[number] = Place(number, is_leader, order)
    return tuple(found[number] for number in sorted(found))
