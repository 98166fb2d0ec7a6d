"""The API's part about tags of customers and about customer groups; all of it is asked by POST."""

from __future__ import annotations

from collections.abc import Mapping

from wecom.simulator.answers import Answer, Cursors, Handler, Params, Refusal, number_of, texts_of
from wecom.simulator.shown import Shown, tag_group_of
from wecom.simulator.state import CHAT, CORP_TAG, RULE_TAG, Agent, Chat, Corp
from wecom.simulator.visibility import Visibility

CORP_TAGS, STRATEGY_TAGS = "externalcontact/get_corp_tag_list", "externalcontact/get_strategy_tag_list"
CHATS, CHAT_GET = "externalcontact/groupchat/list", "externalcontact/groupchat/get"

_MOST_OWNERS, _MOST_CHATS, _MOST_IN_RANGE = 100, 1000, 1000
_OWNER_LEFT = 1
"""Status of a group that waits for another owner (document 92120)."""


class GroupsApi:
    """Handlers by path."""

    def __init__(self, visibility: Visibility, cursors: Cursors) -> None:
        self._visibility = visibility
        self._cursors = cursors
        self.handlers: Mapping[str, Handler] = {
            CORP_TAGS: self._corp_tags,
            STRATEGY_TAGS: self._strategy_tags,
            CHATS: self._chats,
            CHAT_GET: self._chat,
        }

    def _corp_tags(self, corp: Corp, _agent: Agent, params: Params) -> Answer:
        return {"tag_group": _groups(corp, CORP_TAG, params)}

    def _strategy_tags(self, corp: Corp, _agent: Agent, params: Params) -> Answer:
        groups = _groups(corp, RULE_TAG, params)
        if params.get("strategy_id"):
            wanted = number_of(params, "strategy_id")
            groups = [group for group in groups if group["strategy_id"] == wanted]
        return {"tag_group": groups}

    def _chats(self, corp: Corp, agent: Agent, params: Params) -> Answer:
        limit, status = number_of(params, "limit"), params.get("status_filter", 0)
        owners = params.get("owner_filter") or {}
        if not isinstance(owners, dict) or not 1 <= limit <= _MOST_CHATS or status not in (0, 1, 2, 3):
            raise Refusal(40058)
        named = [userid.lower() for userid in texts_of(owners, "userid_list")]
        if len(named) > _MOST_OWNERS:
            raise Refusal(40058)
        if not named and len(corp.employees) > _MOST_IN_RANGE:
            raise Refusal(81017)
        found = [
            {"chat_id": chat.chat_id, "status": _status(corp, chat)}
            for chat in corp.chats.values()
            if not chat.dismissed and _is_asked_for(corp, agent, chat, named) and status in (0, _status(corp, chat))
        ]
        listing = f"chats {status} {sorted(named)}"
        begin = self._cursors.take(corp, listing, params.get("cursor"))
        more = begin + limit < len(found)
        cursor = self._cursors.give(corp, listing, begin + limit) if more else ""
        return {"group_chat_list": found[begin : begin + limit], "next_cursor": cursor}

    def _chat(self, corp: Corp, agent: Agent, params: Params) -> Answer:
        chat_id = params.get("chat_id")
        if not isinstance(chat_id, str) or not chat_id:
            raise Refusal(40058)
        shown = self._visibility.shown(corp, CHAT, chat_id)
        if shown is None:
            raise Refusal(40050)
        if not shown:
            raise Refusal(49008)
        if agent.visible is not None and shown["owner"].lower() not in agent.visible:
            raise Refusal(60011)
        members = shown["member_list"]
        if params.get("need_name") != 1:
            members = [{key: value for key, value in one.items() if key != "name"} for one in members]
        return {"group_chat": shown | {"member_list": members}}


def _groups(corp: Corp, kind: int, params: Params) -> list[Shown]:
    """All groups, or those with the ids that are asked for; of both kinds of ids only the groups' count."""
    groups = [group for group in corp.tag_groups.values() if group.type == kind]
    group_ids, tag_ids = set(texts_of(params, "group_id")), set(texts_of(params, "tag_id"))
    if group_ids:
        return [tag_group_of(group, lambda _: True) for group in groups if group.group_id in group_ids]
    if tag_ids:
        shown = [tag_group_of(group, lambda entry: entry.tag_id in tag_ids) for group in groups]
        return [group for group in shown if group["tag"]]
    return [tag_group_of(group) for group in groups if not group.deleted]


def _status(corp: Corp, chat: Chat) -> int:
    return 0 if chat.owner.lower() in corp.employees else _OWNER_LEFT


def _is_asked_for(corp: Corp, agent: Agent, chat: Chat, named: list[str]) -> bool:
    owner = chat.owner.lower()
    if agent.visible is not None and owner not in agent.visible:
        return False
    # An owner who left has to be named.
    return owner in named if named else owner in corp.employees
