"""What the API shows of customers, and the true state in the shape that tables are compared with.

An object counts from the first event on that names it: nobody tells of what was there before, and a reader who follows
the events does not come to know it. An employee is named by events about customers as well, a group of tags by those
about its tags, and a tag by those about its group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from wecom.simulator.state import WECOM, Corp, Customer, Relation, Tag
from wecom.simulator.truth_objects import Key, Rows, columns, fill_chats, fill_directory, fill_tags
from wecom.simulator.world import World

Row = Mapping[str, Any]

CUSTOMER_COLUMNS = (
    *("name", "type", "gender", "avatar", "position", "corp_name", "corp_full_name", "unionid"),
    "external_profile",
)
RELATION_COLUMNS = (
    *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way"),
    *("state", "oper_userid", "createtime", "wechat_channels"),
)
_OF_WECOM = ("position", "corp_name", "corp_full_name", "external_profile")


@dataclass(frozen=True, slots=True)
class Truth:
    """What tables that know everything hold. Customers and relations count from their first event on, and so does
    everything else.

    None for a row's columns means: not to be known, not compared; of other objects than customers and relations, that
    it is no more. Employees are in lower case. Texts are without NUL and lone surrogates, which tables can't hold.
    """

    customers: Mapping[Key, Row | None]
    """(corpid, external_userid) to ``CUSTOMER_COLUMNS``, or None when the API shows nobody who has the customer."""
    relations: Mapping[Key, Row | None]
    """(corpid, external_userid, employee) to ``RELATION_COLUMNS``, or None when the API lists the relation no more."""
    endings: Mapping[Key, tuple[int | None, str | None]]
    """The same keys to (lost_at in Unix seconds, lost_by), or (None, None) while the relation stands."""
    tags: Mapping[Key, Row]
    """(corpid, external_userid, employee, tag_id or "group/name") to the tag, of relations that are listed."""
    employees: Mapping[Key, Row | None] = field(default_factory=dict)
    """(corpid, userid); None for one who left."""
    employee_departments: Mapping[Key, Row] = field(default_factory=dict)
    """(corpid, userid, department), of employees who are there."""
    employee_aliases: Mapping[Key, Row] = field(default_factory=dict)
    """(corpid, old userid) to the id that came next."""
    departments: Mapping[Key, Row | None] = field(default_factory=dict)
    """(corpid, department); None for one that was deleted."""
    employee_tags: Mapping[Key, Row | None] = field(default_factory=dict)
    """(corpid, tagid); None for one that was deleted."""
    employee_tag_members: Mapping[Key, Row] = field(default_factory=dict)
    """(corpid, tagid, "user" or "party", userid or department as text), of tags that are there; it has no columns."""
    tag_groups: Mapping[Key, Row | None] = field(default_factory=dict)
    """(corpid, group id); None for one that was deleted."""
    corp_tags: Mapping[Key, Row | None] = field(default_factory=dict)
    """(corpid, tag id) of tags of the corp and of rule groups; None for one that was deleted."""
    group_chats: Mapping[Key, Row | None] = field(default_factory=dict)
    """(corpid, chat id); None for a group that was dismissed."""
    group_chat_members: Mapping[Key, Row] = field(default_factory=dict)
    """(corpid, chat id, type, id), of groups that are there."""
    group_chat_versions: Mapping[Key, Row] = field(default_factory=dict)
    """(corpid, chat id, version of the list of members) to the one before it, as events told."""

    def today(self, corpid: str, userid: str) -> str:
        """The id that the employee has now who had this one."""
        seen = {userid}
        while (row := self.employee_aliases.get((corpid, userid))) is not None and row["new_userid"] not in seen:
            userid = row["new_userid"]
            seen.add(userid)
        return userid


def truth_of(world: World) -> Truth:
    """The state as it is now, whatever the API shows at the moment."""
    rows: Rows = {each.name: {} for each in fields(Truth)}
    for corp in world.corps.values():
        _fill_customers(corp, rows)
        fill_directory(corp, rows)
        fill_tags(corp, rows)
        fill_chats(corp, rows)
    return Truth(**rows)


def _fill_customers(corp: Corp, rows: Rows) -> None:
    for external_userid, followers in corp.relations.items():
        key = (corp.corpid, external_userid)
        shown = any(relation.listed for relation in followers.values())
        customer = contact_of(corp.customers[external_userid])
        rows["customers"][key] = columns(customer, CUSTOMER_COLUMNS) if shown else None
        for userid, relation in followers.items():
            pair = (*key, userid)
            rows["endings"][pair] = (relation.lost_at, relation.lost_by)
            rows["relations"][pair] = columns(follow_of(relation), RELATION_COLUMNS) if relation.listed else None
            for tag in relation.tags if relation.listed else ():
                rows["tags"][*pair, tag.tag_id or f"{tag.group_name}/{tag.tag_name}"] = _tag(tag)


def contact_of(customer: Customer) -> dict[str, Any]:
    """``external_contact`` of an answer (document 92114): fields of the other type are missing, not empty."""
    shown: dict[str, Any] = {
        "external_userid": customer.external_userid,
        "name": customer.name,
        "type": customer.type,
        "gender": customer.gender,
        "avatar": customer.avatar,
    }
    names = _OF_WECOM if customer.type == WECOM else ("unionid",)
    shown |= {name: value for name in names if (value := getattr(customer, name)) is not None}
    return shown


def followers_of(corp: Corp, external_userid: str) -> list[dict[str, Any]]:
    """``follow_user`` of an answer: who has the customer, also if the customer has deleted them."""
    return [follow_of(relation) for relation in corp.listed(external_userid)]


def follow_of(relation: Relation) -> dict[str, Any]:
    """One element of ``follow_user``."""
    shown: dict[str, Any] = {
        "userid": relation.employee,
        "remark": relation.remark,
        "description": relation.description,
        "createtime": relation.createtime,
        "tags": [{name: value for name, value in _tag(tag).items() if value is not None} for tag in relation.tags],
        "remark_mobiles": list(relation.remark_mobiles),
        "add_way": relation.add_way,
        "oper_userid": relation.oper_userid,
    }
    for name in ("remark_corp_name", "state", "wechat_channels"):
        if (value := getattr(relation, name)) is not None:
            shown[name] = value
    return shown


def _tag(tag: Tag) -> dict[str, Any]:
    return {"type": tag.type, "tag_id": tag.tag_id, "group_name": tag.group_name, "tag_name": tag.tag_name}
