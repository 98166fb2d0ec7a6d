"""Corporations, customers, and which employee has which customer."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKeyConstraint, Index, Integer, String, Table, Text

from core.db.tables.base import metadata
from core.db.types import Id, Instant

corp = Table(
    "corp",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation's id"),
    Column("name", Text, nullable=False, comment="Name from the configuration"),
    Column("reconciled_at", Instant(), comment="When the last full reconciliation ended"),
    comment="Corporations that this system serves",
)

customer = Table(
    "customer",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation that sees the customer under this id"),
    Column("userid", Id(), primary_key=True, comment="The platform's external_userid"),
    Column("name", Text, comment="Nickname, or the name a WeCom user shows to outsiders"),
    Column("type", Integer, comment="1 WeChat user, 2 WeCom user"),
    Column("gender", Integer, comment="0 unknown, 1 male, 2 female"),
    Column("avatar", Text, comment="Address of the picture"),
    Column("unionid", Id(), comment="WeChat unionid, if a developer id is bound"),
    Column("position", Text, comment="Job title, WeCom users only"),
    Column("corp_name", Text, comment="Short name of the customer's own corporation, WeCom users only"),
    Column("corp_full_name", Text, comment="Full name of the customer's own corporation, WeCom users only"),
    Column("external_profile", JSON(none_as_null=True), comment="The platform's external_profile as it came"),
    Column(
        "fetched_at",
        Instant(),
        comment="When the API call that brought these columns began; NULL: not read yet",
    ),
    Column("first_seen_at", Instant(), nullable=False, comment="When this system first heard of the customer"),
    Column("gone_at", Instant(), comment="Since when the platform shows nobody in range who has this customer"),
    comment="Customers (external contacts), one row per corporation and external_userid",
)

customer_follow = Table(
    "customer_follow",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("userid", Id(), primary_key=True, comment="The customer's external_userid"),
    Column("follow_userid", Id(), primary_key=True, comment="The employee who has the customer, in lower case"),
    Column("remark", Text, comment="The employee's name for the customer"),
    Column("description", Text, comment="The employee's note"),
    Column("remark_corp_name", Text, comment="Company in the employee's remark, WeChat users only"),
    Column("remark_mobiles", JSON(none_as_null=True), comment="Phone numbers in the employee's remark, a list"),
    Column("add_way", Integer, comment="How the customer was added, the platform's number (document 92114)"),
    Column("state", Text, comment="Channel value of the contact-me code or acquisition link"),
    Column("oper_userid", Id(), comment="Who started it: employee, customer, colleague or admin"),
    Column("wechat_channels", JSON(none_as_null=True), comment="WeChat Channels source, only for add_way 10"),
    Column("createtime", BigInteger, comment="When the platform says the relation began (Unix seconds)"),
    Column("last_add_at", Instant(), comment="Latest CreateTime of an add event"),
    Column("last_loss_at", Instant(), comment="Latest CreateTime of an event that ended the relation"),
    Column("last_loss_by", String(16), comment="Who did it: employee, customer, transfer, left, reconcile"),
    Column("lost_at", Instant(), comment="Since when the relation has ended; NULL: it stands"),
    Column("lost_by", String(16), comment="Who ended it: employee, customer, transfer, left, reconcile"),
    Column(
        "unseen_since",
        Instant(),
        comment="Since when complete answers no longer list a relation that should stand",
    ),
    Column(
        "fetched_at",
        Instant(),
        comment="When the API call that brought these columns began; NULL: not listed yet",
    ),
    ForeignKeyConstraint(["corpid", "userid"], ["customer.corpid", "customer.userid"]),
    # The corp last, here and where tags are: as long as PostgreSQL has no statistics of a table that grows, it takes
    # any index that begins with the corp for as good as the primary key.
    Index(None, "follow_userid", "corpid"),
    comment="Which employee has which customer, with what the employee noted",
)

customer_follow_tag = Table(
    "customer_follow_tag",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("userid", Id(), primary_key=True, comment="The customer's external_userid"),
    Column("follow_userid", Id(), primary_key=True, comment="The employee"),
    Column("tag_key", Id(), primary_key=True, comment="tag_id, or for a personal tag a digest of group and name"),
    Column("type", Integer, comment="1 corp tag, 2 personal tag, 3 rule-group tag"),
    Column("tag_id", Id(), comment="The platform's tag id; personal tags have none"),
    Column("group_name", Text, comment="Name of the tag's group"),
    Column("tag_name", Text, comment="Name of the tag"),
    ForeignKeyConstraint(
        ["corpid", "userid", "follow_userid"],
        ["customer_follow.corpid", "customer_follow.userid", "customer_follow.follow_userid"],
    ),
    Index(None, "tag_id", "corpid"),
    comment="Tags that an employee gave a customer",
)
