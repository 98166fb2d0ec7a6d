"""What the API shows of the true state, and the true state in the shape that tables are compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wecom.simulator.state import WECOM, Corp, Customer, Relation, Tag
from wecom.simulator.world import World

Key = tuple[str, ...]

CUSTOMER_COLUMNS = (
    *("name", "type", "gender", "avatar", "position", "corp_name", "corp_full_name", "unionid"),
    "external_profile",
)
RELATION_COLUMNS = (
    *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way"),
    *("state", "oper_userid", "createtime", "wechat_channels"),
)
_OF_WECOM = ("position", "corp_name", "corp_full_name", "external_profile")

# What a nickname may hold and no database does: NUL, and half of a surrogate pair.
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Truth:
    """What tables that know everything hold. Customers and relations count from their first event on.

    None for a row's columns means: not to be known, not compared. Employees are in lower case. Texts are without NUL
    and lone surrogates, which tables can't hold.
    """

    customers: Mapping[Key, Mapping[str, Any] | None]
    """(corpid, external_userid) to ``CUSTOMER_COLUMNS``, or None when the API shows nobody who has the customer."""
    relations: Mapping[Key, Mapping[str, Any] | None]
    """(corpid, external_userid, employee) to ``RELATION_COLUMNS``, or None when the API lists the relation no more."""
    endings: Mapping[Key, tuple[int | None, str | None]]
    """The same keys to (lost_at in Unix seconds, lost_by), or (None, None) while the relation stands."""
    tags: Mapping[Key, Mapping[str, Any]]
    """(corpid, external_userid, employee, tag_id or "group/name") to the tag, of relations that are listed."""


def truth_of(world: World) -> Truth:
    """The state as it is now, whatever the API shows at the moment."""
    customers: dict[Key, Mapping[str, Any] | None] = {}
    relations: dict[Key, Mapping[str, Any] | None] = {}
    endings: dict[Key, tuple[int | None, str | None]] = {}
    tags: dict[Key, Mapping[str, Any]] = {}
    for corp in world.corps.values():
        for external_userid, followers in corp.relations.items():
            key = (corp.corpid, external_userid)
            shown = any(relation.listed for relation in followers.values())
            customers[key] = _columns(contact_of(corp.customers[external_userid]), CUSTOMER_COLUMNS) if shown else None
            for userid, relation in followers.items():
                pair = (*key, userid)
                endings[pair] = (relation.lost_at, relation.lost_by)
                relations[pair] = _columns(follow_of(relation), RELATION_COLUMNS) if relation.listed else None
                for tag in relation.tags if relation.listed else ():
                    tags[*pair, tag.tag_id or f"{tag.group_name}/{tag.tag_name}"] = _tag(tag)
    return Truth(customers, relations, endings, tags)


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


def _columns(shown: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: shown.get(name) for name in names}
    return {name: _NOT_TEXT.sub("", value) if isinstance(value, str) else value for name, value in values.items()}
