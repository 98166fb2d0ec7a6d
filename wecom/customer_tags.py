"""Tags of customers as the API tells them: the corporation's (document 92117) and those of rule groups (94882).

A rule group's tags stand in another list, of which an app sees the tags that it made itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wecom.client import WeComClient
from wecom.errors import CorpPaused, NotVisible, RequestRefused, Retry
from wecom.fields import id_of, list_of, moment_of, number_of, table_of, text_of

CORP_TAGS = "externalcontact/get_corp_tag_list"
STRATEGY_TAGS = "externalcontact/get_strategy_tag_list"
OF_THE_CORP, OF_A_STRATEGY = 1, 3
"""Types of tags, numbered as in a customer's tags (document 92114)."""

_LARGEST_ORDER = 2**32
# No permission for this one list, which says nothing about the other (document 90313).
_NOT_ALLOWED = 48002


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag. ``deleted`` is final, as ids are never used again; ``sort_order`` is larger for what stands first."""

    tag_id: str
    group_id: str
    tag_name: str | None
    type: int
    sort_order: int | None
    create_time: int | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class TagGroup:
    """A group of tags with those of its tags that the answer has. ``strategy_id`` is None for the corporation's own."""

    group_id: str
    group_name: str | None
    sort_order: int | None
    create_time: int | None
    strategy_id: str | None
    deleted: bool
    tags: tuple[Tag, ...]


async def read_tag(client: WeComClient, corpid: str, secret_name: str, tag_id: str) -> TagGroup:
    """The group of this tag with this tag only.

    Raises an ``ApiError``; ``NotVisible`` when neither list has it. One that was deleted is said to be so for a while.
    """
    for group in await _groups(client, corpid, secret_name, {"tag_id": [tag_id]}):
        mine = tuple(tag for tag in group.tags if tag.tag_id == tag_id)
        if mine:
            return TagGroup(
                *(group.group_id, group.group_name, group.sort_order, group.create_time, group.strategy_id),
                *(group.deleted, mine),
            )
    raise NotVisible(CORP_TAGS, None, "the tag is not listed")


async def read_tag_group(client: WeComClient, corpid: str, secret_name: str, group_id: str) -> TagGroup:
    """This group with all its tags.

    Raises an ``ApiError``; ``NotVisible`` when neither list has it. One that was deleted is said to be so for a while.
    """
    for group in await _groups(client, corpid, secret_name, {"group_id": [group_id]}):
        if group.group_id == group_id:
            return group
    raise NotVisible(CORP_TAGS, None, "the group is not listed")


async def read_all_tags(client: WeComClient, corpid: str, secret_name: str) -> tuple[TagGroup, ...]:
    """Every group of both lists with all its tags; neither list has pages. Raises an ``ApiError``."""
    groups = await _corp_groups(client, corpid, secret_name, {})
    known = {group.group_id for group in groups}
    rules = await _strategy_groups(client, corpid, secret_name, {})
    return (*groups, *(group for group in rules if group.group_id not in known))


async def _groups(
    client: WeComClient, corpid: str, secret_name: str, wanted: Mapping[str, list[str]]
) -> tuple[TagGroup, ...]:
    """From the list that has them: most tags are the corporation's, and the other list takes a call more."""
    try:
        groups = await _corp_groups(client, corpid, secret_name, wanted)
    except NotVisible:
        groups = ()
    return groups or await _strategy_groups(client, corpid, secret_name, wanted)


async def _corp_groups(
    client: WeComClient, corpid: str, secret_name: str, wanted: Mapping[str, list[str]]
) -> tuple[TagGroup, ...]:
    answer = await client.call(corpid, secret_name, CORP_TAGS, json=dict(wanted))
    return _listed(CORP_TAGS, answer, OF_THE_CORP)


async def _strategy_groups(
    client: WeComClient, corpid: str, secret_name: str, wanted: Mapping[str, list[str]]
) -> tuple[TagGroup, ...]:
    try:
        answer = await client.call(corpid, secret_name, STRATEGY_TAGS, json=dict(wanted))
    except CorpPaused as error:
        if error.errcode != _NOT_ALLOWED:
            raise
        return ()
    except (NotVisible, RequestRefused):
        # Most corporations have no rule groups, and what is refused to them then is not documented.
        return ()
    return _listed(STRATEGY_TAGS, answer, OF_A_STRATEGY)


def _listed(api: str, answer: Mapping[str, Any], kind: int) -> tuple[TagGroup, ...]:
    groups = answer.get("tag_group")
    if not isinstance(groups, list | None):
        # Not an empty list: every tag would be taken for gone.
        raise Retry(api, None, "groups that are no list")
    found = (_group(entry, kind) for entry in groups or ())
    return tuple({group.group_id: group for group in found if group is not None}.values())


def _group(entry: Any, kind: int) -> TagGroup | None:
    table = table_of(entry)
    group_id = id_of(table, "group_id") if table else None
    if table is None or not group_id:
        return None
    deleted = table.get("deleted") is True
    tags = {
        tag.tag_id: tag
        for tag in (_tag(one, group_id, kind, deleted) for one in list_of(table.get("tag")))
        if tag is not None
    }
    return TagGroup(
        group_id=group_id,
        group_name=text_of(table, "group_name"),
        sort_order=number_of(table, "order", _LARGEST_ORDER),
        create_time=moment_of(table, "create_time"),
        strategy_id=_strategy(table.get("strategy_id")),
        deleted=deleted,
        tags=tuple(tags.values()),
    )


def _tag(entry: Any, group_id: str, kind: int, group_deleted: bool) -> Tag | None:
    table = table_of(entry)
    tag_id = id_of(table, "id") if table else None
    if table is None or not tag_id:
        return None
    return Tag(
        tag_id=tag_id,
        group_id=group_id,
        tag_name=text_of(table, "name"),
        type=kind,
        sort_order=number_of(table, "order", _LARGEST_ORDER),
        create_time=moment_of(table, "create_time"),
        # Nothing outlives its group.
        deleted=group_deleted or table.get("deleted") is True,
    )


def _strategy(value: Any) -> str | None:
    """An integer in some samples and a text in others."""
    number = number_of({"id": value}, "id", 2**63 - 1)
    return str(number) if number is not None else id_of({"id": value}, "id") or None
