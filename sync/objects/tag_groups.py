"""Groups of customers' tags with all their tags, read when an event names one, or all of them when their order changed.

An answer about a group is complete: its tags that are not in it are gone. One about all groups is not taken to say
that the others are, as an app may see fewer of them than there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Table, exists, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import as_dicts
from core.db.tables import customer_follow_tag, tag, tag_group
from sync.effects import EVERYTHING, TAG, TAG_GROUP
from sync.history import differs
from sync.objects.base import Answer, Cause, Row, Written
from sync.objects.rows import AT_ONCE, id_of
from sync.objects.tag_rows import ENDING, Merged, Said, contradicted, merge, wish_for, write_said
from sync.objects.tag_sweep import sweep
from wecom.client import WeComClient
from wecom.customer_tags import OF_A_STRATEGY, OF_THE_CORP, Tag, TagGroup, read_all_tags, read_tag_group


class TagGroups:
    """The kind ``tag_group``; its id ``*`` stands for all of them."""

    name = TAG_GROUP

    async def read(
        self, client: WeComClient, corpid: str, secret_name: str, object_id: str
    ) -> TagGroup | tuple[TagGroup, ...]:
        """The group, or every group. Raises an ``ApiError``; ``NotVisible`` for a group that is not listed."""
        if object_id == EVERYTHING:
            return await read_all_tags(client, corpid, secret_name)
        return await read_tag_group(client, corpid, secret_name, object_id)

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """See ``Kind``. Of a large answer a part is written at a time, what differs from the tables first."""
        said_of_tags, said, more_said = await _worth_writing(conn, corpid, answers)
        # In the order in which events lock them.
        tags = await write_said(conn, dialect, tag, corpid, said_of_tags, now)
        groups = await write_said(conn, dialect, tag_group, corpid, said, now)

        asked = {answer.object_id: answer for answer in answers if answer.object_id != EVERYTHING}
        causes = {group_id: answer.cause for group_id, answer in asked.items()}
        more = False
        if asked:
            more = await sweep(conn, dialect, corpid, tag.c.group_id.in_(sorted(asked)), causes, now)
        renamed = _renamed(tags, groups)
        # What relations call the others is put right group by group.
        others = {one.object_id: one.cause for one in said if one.object_id in renamed - asked.keys()}
        await wish_for(conn, dialect, corpid, TAG_GROUP, others, now)
        dead = [group_id for group_id in asked if groups.ended(group_id)]
        strangers: dict[str, Cause] = {}
        for group_id in dead:
            name = groups.new[group_id]["group_name"]
            strangers |= dict.fromkeys(await _strangers(conn, corpid, name), causes[group_id])
        await wish_for(conn, dialect, corpid, TAG, strangers, now)

        touched = _touched(tags, groups)
        done: dict[str, Written] = {}
        for answer in answers:
            result = Written(fetched_at=answer.fetched_at, unfinished=more_said or (more and answer.object_id in asked))
            done[answer.object_id] = result
            if answer.object_id == EVERYTHING:
                result.changed = bool(touched)
                continue
            old, new = groups.old[answer.object_id], groups.new[answer.object_id]
            result.previous_fetch = old["fetched_at"]
            # As for tags: after a rename or a deletion it is read once more.
            result.changed = answer.object_id in touched - renamed and answer.object_id not in dead
            since = contradicted(old, new, _about_group(answer, answer.found))
            if since is not None:
                result.unseen[""] = since
        return done


def _about_group(answer: Answer, found: TagGroup | None) -> Said:
    return Said(found.group_id if found else answer.object_id, answer.fetched_at, found, answer.cause)


async def _worth_writing(
    conn: AsyncConnection, corpid: str, answers: Sequence[Answer]
) -> tuple[list[Said], list[Said], bool]:
    """What the answers say of tags and groups, at most ``AT_ONCE`` of each, and whether that leaves out something new.

    It looks without locks, to find what is worth one; what to do is decided again once the rows are locked.
    """
    asked = [_about_group(answer, answer.found) for answer in answers if answer.object_id != EVERYTHING]
    every = [
        _about_group(answer, found)
        for answer in answers
        if answer.object_id == EVERYTHING
        for found in answer.found or ()
    ]
    groups = [*asked, *every]
    ids = sorted({one.object_id for one in groups})
    stand = await _stand(conn, tag_group, corpid, true() if every else tag_group.c.group_id.in_(ids))
    tags_stand = await _stand(conn, tag, corpid, true() if every else tag.c.group_id.in_(ids))
    listed = sorted({one.tag_id for group in groups for one in _listed(group)} - tags_stand.keys())
    for begin in range(0, len(listed), AT_ONCE):
        tags_stand |= await _stand(conn, tag, corpid, tag.c.tag_id.in_(listed[begin : begin + AT_ONCE]))
    within: dict[str, list[str]] = {}
    for tag_id, row in tags_stand.items():
        within.setdefault(row["group_id"] or "", []).append(tag_id)
    tags = [one for group in groups for one in _about_tags(group, stand, within.get(group.object_id, ()))]
    chosen_tags, more_tags = _some(tag, tags, tags_stand)
    # The ones that were asked for come first in any case.
    chosen, more = _some(tag_group, every, stand)
    return chosen_tags, [*asked, *chosen], more_tags or more


def _about_tags(group: Said, stand: Mapping[str, Row], within: Sequence[str]) -> list[Said]:
    """What an answer about a group says about its tags, those included that the tables have and it has not."""
    row = merge(stand.get(group.object_id) or _blank(tag_group), group)
    ended = row if row[ENDING] is not None else None
    told = {one.tag_id: Said(one.tag_id, group.fetched_at, one, group.cause, ended) for one in _listed(group)}
    absent = [Said(tag_id, group.fetched_at, None, group.cause, ended) for tag_id in within if tag_id not in told]
    return [*told.values(), *absent]


def _listed(group: Said) -> Sequence[Tag]:
    return group.found.tags if isinstance(group.found, TagGroup) else ()


def _some(table: Table, said: Sequence[Said], stand: Mapping[str, Row]) -> tuple[list[Said], bool]:
    news: list[Said] = []
    rest: list[Said] = []
    for one in said:
        row = stand.get(one.object_id)
        (news if row is None or differs(table, merge(row, one), row) else rest).append(one)
    return [*news, *rest][:AT_ONCE], len(news) > AT_ONCE


def _renamed(tags: Merged, groups: Merged) -> set[str]:
    """Groups that have another name now, or a tag that has."""
    renamed = {group_id for group_id in groups.new if groups.differs_in(group_id, "group_name")}
    return renamed | {row["group_id"] for tag_id, row in tags.new.items() if tags.differs_in(tag_id, "tag_name")}


def _touched(tags: Merged, groups: Merged) -> set[str]:
    """Groups of which something changed, their tags included."""
    rows = (row for tag_id in tags.changed for row in (tags.old[tag_id], tags.new[tag_id]))
    return groups.changed | {row["group_id"] for row in rows if row["group_id"] is not None}


def _blank(table: Table) -> Row:
    return dict.fromkeys(column.name for column in table.columns)


async def _stand(conn: AsyncConnection, table: Table, corpid: str, which: ColumnElement[bool]) -> dict[str, Row]:
    rows = await conn.execute(select(table).where(table.c.corpid == corpid, which))
    return {row[id_of(table)]: row for row in as_dicts(rows)}


async def _strangers(conn: AsyncConnection, corpid: str, group_name: str | None) -> list[str]:
    """Tags of relations that were never read and may belong to the deleted group of this name.

    The platform says of each whether it was deleted; that it names them with their group is not certain.
    """
    f = customer_follow_tag.c
    known = exists().where(tag.c.corpid == f.corpid, tag.c.tag_id == f.tag_id)
    unread = select(f.tag_id).where(f.corpid == corpid, f.tag_id.is_not(None), f.type.in_((OF_THE_CORP, OF_A_STRATEGY)))
    if group_name is not None:
        unread = unread.where(f.group_name == group_name)
    rows = await conn.execute(unread.where(~known).distinct().limit(AT_ONCE))
    return sorted(rows.scalars())
