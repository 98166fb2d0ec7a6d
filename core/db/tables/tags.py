"""Tags that employees give customers: those of the corporation and of rule groups, in their groups."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from core.db.tables.base import metadata
from core.db.types import Id, Instant

tag_group = Table(
    "tag_group",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("group_id", Id(), primary_key=True, comment="The platform's id of the group"),
    Column("group_name", Text, comment="Name"),
    Column("sort_order", BigInteger, comment="Place among the groups, larger first"),
    Column("create_time", BigInteger, comment="When the platform says it was made (Unix seconds)"),
    Column("strategy_id", Id(), comment="Rule group whose tags these are; NULL: the corporation's own"),
    Column("last_create_at", Instant(), comment="Latest CreateTime of a create event"),
    Column("last_delete_at", Instant(), comment="Latest CreateTime of a delete event"),
    Column("deleted_at", Instant(), comment="Since when it has been deleted; NULL: is there"),
    Column("gone_at", Instant(), comment="Since when the platform does not show it"),
    Column("fetched_at", Instant(), comment="When the API call that brought these columns began; NULL: not read yet"),
    Column("first_seen_at", Instant(), nullable=False, comment="When this system first heard of the group"),
    comment="Groups of customers' tags",
)

tag = Table(
    "tag",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("tag_id", Id(), primary_key=True, comment="The platform's id of the tag"),
    Column("group_id", Id(), comment="The group it is in; NULL: not read yet"),
    Column("tag_name", Text, comment="Name"),
    Column("type", Integer, comment="1 the corporation's, 3 a rule group's"),
    Column("sort_order", BigInteger, comment="Place within the group, larger first"),
    Column("create_time", BigInteger, comment="When the platform says it was made (Unix seconds)"),
    Column("last_create_at", Instant(), comment="Latest CreateTime of a create event"),
    Column("last_delete_at", Instant(), comment="Latest CreateTime of a delete event, the group's included"),
    Column("deleted_at", Instant(), comment="Since when it has been deleted; NULL: is there"),
    Column("gone_at", Instant(), comment="Since when the platform does not show it"),
    Column("fetched_at", Instant(), comment="When the API call that brought these columns began; NULL: not read yet"),
    Column("first_seen_at", Instant(), nullable=False, comment="When this system first heard of the tag"),
    Index(None, "group_id", "corpid"),
    comment="Customers' tags, without personal ones, which have no id",
)
