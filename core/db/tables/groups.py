"""Customer groups and who is in them."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKeyConstraint, Index, Integer, String, Table, Text

from core.db.tables.base import metadata
from core.db.types import Id, Instant

group_chat = Table(
    "group_chat",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("chat_id", Id(), primary_key=True, comment="The platform's id of the group"),
    Column("name", Text, comment="Name; empty for a group without one"),
    Column("owner", Id(), comment="The employee who owns it, in lower case"),
    Column("notice", Text, comment="Notice of the group"),
    Column("create_time", BigInteger, comment="When the platform says it was made (Unix seconds)"),
    Column("admins", JSON(none_as_null=True), comment="Ids of its administrators, in lower case, a list"),
    Column("member_version", String(64), comment="The platform's version of the list of members, as last read"),
    Column("last_create_at", Instant(), comment="Latest CreateTime of a create event"),
    Column("last_delete_at", Instant(), comment="Latest CreateTime of a dismiss event"),
    Column("dismissed_at", Instant(), comment="Since when the group has been dismissed; NULL: is there"),
    Column("gone_at", Instant(), comment="Since when the platform does not show it: dismissed, or owner out of range"),
    Column("fetched_at", Instant(), comment="When the API call that brought these columns began; NULL: not read yet"),
    Column("first_seen_at", Instant(), nullable=False, comment="When this system first heard of the group"),
    Index(None, "corpid", "owner"),
    comment="Customer groups (group chats)",
)

group_chat_member = Table(
    "group_chat_member",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("chat_id", Id(), primary_key=True, comment="The group"),
    Column("type", Integer, primary_key=True, autoincrement=False, comment="1 employee, 2 external contact"),
    Column("userid", Id(), primary_key=True, comment="The employee's id in lower case, or the external_userid"),
    Column("join_time", BigInteger, comment="When the platform says the member joined (Unix seconds)"),
    Column("join_scene", Integer, comment="1 invited by a member, 2 by an invitation link, 3 by the group's QR code"),
    Column("invitor", Id(), comment="The employee who invited, in lower case"),
    Column("group_nickname", Text, comment="Nickname in the group"),
    Column("name", Text, comment="Name"),
    Column("unionid", Id(), comment="WeChat unionid, if a developer id is bound"),
    Column("state", Text, comment="Channel value of the join-group configuration"),
    ForeignKeyConstraint(["corpid", "chat_id"], ["group_chat.corpid", "group_chat.chat_id"]),
    Index(None, "corpid", "userid"),
    comment="Who is in which group; who left is in the history",
)

group_chat_version = Table(
    "group_chat_version",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("chat_id", Id(), primary_key=True, comment="The group"),
    Column("cur_mem_ver", String(64), primary_key=True, comment="Version of the list of members after the change"),
    Column("last_mem_ver", String(64), nullable=False, comment="The version before it"),
    Column("happened_at", Instant(), nullable=False, comment="CreateTime of the event"),
    comment="The chain of versions that events of a group told; a version that no event led to is a lost event",
)
