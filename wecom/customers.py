"""Customers as the API tells them (document 92114)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wecom.client import WeComClient
from wecom.errors import Retry
from wecom.fields import id_of, list_of, moment_of, number_of, table_of, text_of

GET = "externalcontact/get"
_MOST_PAGES = 200


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
        contact = contact or table_of(answer.get("external_contact"))
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
        name=text_of(contact, "name"),
        type=number_of(contact, "type"),
        gender=number_of(contact, "gender"),
        avatar=text_of(contact, "avatar"),
        unionid=id_of(contact, "unionid"),
        position=text_of(contact, "position"),
        corp_name=text_of(contact, "corp_name"),
        corp_full_name=text_of(contact, "corp_full_name"),
        external_profile=table_of(contact.get("external_profile")),
        follows=tuple(follows[userid] for userid in sorted(follows)),
    )


def _follow(entry: Any) -> Follow | None:
    table = table_of(entry)
    userid = id_of(table, "userid") if table else None
    if table is None or not userid:
        return None
    tags = [table_of(tag) for tag in list_of(table.get("tags"))]
    return Follow(
        userid=userid.lower(),
        remark=text_of(table, "remark"),
        description=text_of(table, "description"),
        createtime=moment_of(table, "createtime"),
        tags=tuple(
            FollowTag(
                text_of(tag, "group_name"),
                text_of(tag, "tag_name"),
                number_of(tag, "type"),
                id_of(tag, "tag_id") or None,
            )
            for tag in tags
            if tag is not None
        ),
        remark_corp_name=text_of(table, "remark_corp_name"),
        remark_mobiles=tuple(mobile for mobile in list_of(table.get("remark_mobiles")) if isinstance(mobile, str)),
        oper_userid=id_of(table, "oper_userid"),
        add_way=number_of(table, "add_way"),
        state=text_of(table, "state"),
        wechat_channels=table_of(table.get("wechat_channels")),
    )
