"""Customers as the API tells them (document 92114)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wecom.client import WeComClient
from wecom.errors import Retry

GET = "externalcontact/get"
_LONGEST_ID = 128
_LONGEST_TEXT = 10_000
_MOST_PAGES = 200
_LAST_SECOND = 253_402_300_799  # of the year 9999, the last that a date can have


@dataclass(frozen=True, slots=True)
class FollowTag:
    """A tag that an employee gave: type 1 corp tag, 2 personal tag (without ``tag_id``), 3 rule-group tag."""

    group_name: str | None
    tag_name: str | None
    type: int | None
    tag_id: str | None


@dataclass(frozen=True, slots=True)
class Follow:
    """One employee's relation to the customer. ``userid`` in lower case, ``createtime`` in Unix seconds."""

    userid: str
    remark: str | None
    description: str | None
    createtime: int | None
    tags: tuple[FollowTag, ...]
    remark_corp_name: str | None
    remark_mobiles: tuple[str, ...]
    oper_userid: str | None
    add_way: int | None
    state: str | None
    wechat_channels: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer with everybody in the app's range who has them. An absent field is None, an empty one empty."""

    external_userid: str
    name: str | None
    type: int | None
    gender: int | None
    avatar: str | None
    unionid: str | None
    position: str | None
    corp_name: str | None
    corp_full_name: str | None
    external_profile: dict[str, Any] | None
    follows: tuple[Follow, ...]


async def read_customer(
    client: WeComClient, corpid: str, secret_name: str, external_userid: str, *, share: str = "events"
) -> Customer:
    """Read one customer, all pages of its followers (there is more than one above 500).

    Raises an ``ApiError``; ``NotVisible`` when the platform shows nobody in range who has this customer.
    """
    follows: dict[str, Follow] = {}
    contact: Mapping[str, Any] | None = None
    cursors: set[str] = set()
    params = {"external_userid": external_userid}
    for _ in range(_MOST_PAGES):
        answer = await client.call(corpid, secret_name, GET, params=params, share=share)
        contact = contact or _table(answer.get("external_contact"))
        followers = answer.get("follow_user")
        if not isinstance(followers, list | None):
            raise Retry(GET, None, "followers that are no list")
        for entry in followers or ():
            follow = _follow(entry)
            if follow is not None:
                follows[follow.userid] = follow
        cursor = answer.get("next_cursor")
        if not cursor:
            break
        if not isinstance(cursor, str):
            # Not the end: followers of the next page would be taken for gone.
            raise Retry(GET, None, "a cursor that is no text")
        if cursor in cursors:
            raise Retry(GET, None, "the same cursor twice")
        cursors.add(cursor)
        params["cursor"] = cursor
    else:
        raise Retry(GET, None, "more pages than there can be")
    if contact is None or contact.get("external_userid") != external_userid:
        # An empty answer is no answer: taking it for the truth would clear the customer.
        raise Retry(GET, None, "an answer without the customer")
    return Customer(
        external_userid=external_userid,
        name=_text(contact, "name"),
        type=_number(contact, "type"),
        gender=_number(contact, "gender"),
        avatar=_text(contact, "avatar"),
        unionid=_id(contact, "unionid"),
        position=_text(contact, "position"),
        corp_name=_text(contact, "corp_name"),
        corp_full_name=_text(contact, "corp_full_name"),
        external_profile=_table(contact.get("external_profile")),
        follows=tuple(follows[userid] for userid in sorted(follows)),
    )


def _follow(entry: Any) -> Follow | None:
    table = _table(entry)
    userid = _id(table, "userid") if table else None
    if table is None or not userid:
        return None
    tags = [_table(tag) for tag in _list(table.get("tags"))]
    return Follow(
        userid=userid.lower(),
        remark=_text(table, "remark"),
        description=_text(table, "description"),
        createtime=_moment(table, "createtime"),
        tags=tuple(
            FollowTag(
                _text(tag, "group_name"), _text(tag, "tag_name"), _number(tag, "type"), _id(tag, "tag_id") or None
            )
            for tag in tags
            if tag is not None
        ),
        remark_corp_name=_text(table, "remark_corp_name"),
        remark_mobiles=tuple(mobile for mobile in _list(table.get("remark_mobiles")) if isinstance(mobile, str)),
        oper_userid=_id(table, "oper_userid"),
        add_way=_number(table, "add_way"),
        state=_text(table, "state"),
        wechat_channels=_table(table.get("wechat_channels")),
    )


# Every field but the ids is optional, and few types are documented: what does not fit is left out, not believed.


def _table(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    return value[:_LONGEST_TEXT] if isinstance(value, str) else None


def _id(table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    return value if isinstance(value, str) and len(value) <= _LONGEST_ID else None


def _number(table: Mapping[str, Any], name: str, largest: int = 2**31 - 1) -> int | None:
    value = table.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= largest else None


def _moment(table: Mapping[str, Any], name: str) -> int | None:
    value = _number(table, name, _LAST_SECOND)
    return value if value is not None and value >= 0 else None
