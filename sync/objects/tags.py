"""Tags of customers, read one by one when an event names them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import tag, tag_group
from sync.effects import TAG, TAG_GROUP
from sync.objects.base import Answer, Written
from sync.objects.tag_rows import Said, contradicted, wish_for, write_said
from sync.objects.tag_sweep import sweep
from wecom.client import WeComClient
from wecom.customer_tags import TagGroup, read_tag


class Tags:
    """The kind ``tag``. Its answer tells of the tag's group as well, except which other tags that has."""

    name = TAG

    async def read(self, client: WeComClient, corpid: str, secret_name: str, object_id: str) -> TagGroup:
        """The group with this tag only. Raises an ``ApiError``; ``NotVisible`` for a tag that is not listed."""
        return await read_tag(client, corpid, secret_name, object_id)

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """See ``Kind``. What relations still call it, or that they still have it, is put right in parts."""
        told = [
            Said(answer.object_id, answer.fetched_at, answer.found and answer.found.tags[0], answer.cause)
            for answer in answers
        ]
        groups = [
            Said(answer.found.group_id, answer.fetched_at, answer.found, answer.cause)
            for answer in answers
            if answer.found is not None
        ]
        tags = await write_said(conn, dialect, tag, corpid, told, now)
        merged = await write_said(conn, dialect, tag_group, corpid, groups, now)
        causes = {answer.object_id: answer.cause for answer in answers}
        more = await sweep(conn, dialect, corpid, tag.c.tag_id.in_(sorted(causes)), causes, now)
        # It concerns their other tags as well.
        others = {
            said.object_id: said.cause
            for said in groups
            if said.object_id in merged.changed
            and (merged.differs_in(said.object_id, "group_name") or merged.ended(said.object_id))
        }
        await wish_for(conn, dialect, corpid, TAG_GROUP, others, now)
        done: dict[str, Written] = {}
        for said in told:
            stood = tags.old[said.object_id]
            since = contradicted(stood, tags.new[said.object_id], said)
            done[said.object_id] = Written(
                # After a rename or a deletion it is read once more: a writer of customers may have been at work that
                # had read the tag before.
                changed=said.object_id in tags.changed
                and not tags.differs_in(said.object_id, "tag_name")
                and not tags.ended(said.object_id),
                fetched_at=said.fetched_at,
                previous_fetch=stood["fetched_at"],
                unseen={} if since is None else {"": since},
                unfinished=more,
            )
        return done
