"""A customer as the page gets it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from core.db.looks import Row
from sidebar.customers import Found

ADD_WAYS = {
    0: "unknown",
    1: "qr_code",
    2: "search_mobile",
    3: "card_share",
    4: "group_chat",
    5: "mobile_contacts",
    6: "wechat_contact",
    8: "app_agent",
    9: "search_email",
    10: "channels",
    11: "calendar",
    12: "meeting",
    13: "wechat_friend",
    14: "hardware",
    15: "onsite",
    16: "link",
    17: "custom_dev",
    18: "demand",
    21: "presales",
    22: "partner",
    24: "wechat_account",
    201: "shared_by_colleague",
    202: "assigned",
}
"""Number of add_way to the key of its words (document 92114)."""
TAG_TYPES = {1: "corp", 2: "personal", 3: "rule"}


def view(external_userid: str, found: Found) -> dict[str, Any]:
    """What the employee sees of a customer who was read, and whom they may see."""
    relation = found.relation
    if relation is None or found.fetched_at is None:
        raise ValueError("there is nothing to see yet")
    ended = relation["lost_at"] is not None
    add_way = relation["add_way"]
    return {
        "customer": {
            "external_userid": external_userid,
            "name": found.customer["name"],
            "avatar": _picture(found.customer["avatar"]),
            **{name: found.customer[name] for name in ("type", "gender", "position", "corp_name", "corp_full_name")},
        },
        "relation": {
            "status": "ended_by_customer" if ended else "active",
            "lost_at": _moment(relation["lost_at"]),
            "lost_by": relation["lost_by"] if ended else None,
            "unseen_since": _moment(relation["unseen_since"]),
            **{name: relation[name] for name in ("remark", "description", "remark_corp_name")},
            # In full: the employee wrote them down, and WeCom shows them beside this page.
            "remark_mobiles": relation["remark_mobiles"] or [],
            "added_at": _added(relation["createtime"], relation["last_add_at"]),
            "add_way": add_way,
            "add_way_key": None if add_way is None else ADD_WAYS.get(add_way, "other"),
            "state": relation["state"],
            "added_by": relation["oper_userid"],
        },
        "tags": _groups(found.tags),
        "colleagues": [
            {"userid": row["userid"], "added_at": _added(row["createtime"], row["moment"])}
            for row in sorted(found.colleagues, key=lambda row: str(row["userid"]))
        ],
        "events": [
            {"at": _moment(row["moment"]), "change": row["word"]}
            for row in sorted(found.events, key=lambda row: row["moment"], reverse=True)
        ],
        "synced": {
            "at": _moment(found.fetched_at),
            "age_seconds": max(0, int((found.now - found.fetched_at).total_seconds())),
        },
    }


def _groups(tags: Iterable[Row]) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(tags, key=_tag_order):
        kind = TAG_TYPES.get(row["number"], "other")
        tag = {"name": row["word"], "type": row["number"], "type_key": kind}
        groups.setdefault(row["group_name"] or "", []).append(tag)
    return [{"group": name or None, "tags": members} for name, members in groups.items()]


def _tag_order(row: Row) -> tuple[int, str, str]:
    # What the corp agreed on before what the employee made up.
    return row["number"] or 0, row["group_name"] or "", row["word"] or ""


def _picture(address: str | None) -> str | None:
    """The platform gives some as http, which a page that came by https may not show."""
    return address if address is not None and address.startswith("https://") else None


def _added(createtime: int | None, last_add_at: datetime | None) -> str | None:
    """When the relation began: the platform's word, or the event's before the relation was read."""
    return _moment(datetime.fromtimestamp(createtime, UTC) if createtime else last_add_at)


def _moment(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
