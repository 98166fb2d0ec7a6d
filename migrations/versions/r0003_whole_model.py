"""Employees, departments, tags, groups, and the history of every table that analysts read.

What the tables hold at the moment becomes the first version of each row.

Revision 0003
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The server's default may be a character set without Chinese.
_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}

_TABLES = (
    "employee",
    "employee_department",
    "employee_alias",
    "department",
    "employee_tag",
    "employee_tag_member",
    "tag_group",
    "tag",
    "group_chat",
    "group_chat_member",
    "group_chat_version",
    "customer_history",
    "customer_follow_history",
    "customer_follow_tag_history",
    "employee_history",
    "employee_department_history",
    "department_history",
    "tag_group_history",
    "tag_history",
    "group_chat_history",
    "group_chat_member_history",
)

_NOW = {
    "postgresql": "clock_timestamp()",
    "mysql": "UTC_TIMESTAMP(6)",
    "mariadb": "UTC_TIMESTAMP(6)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
}
_UPGRADED = {
    "customer": (
        *("corpid", "userid", "name", "type", "gender", "avatar", "unionid", "position"),
        *("corp_name", "corp_full_name", "external_profile", "gone_at"),
    ),
    "customer_follow": (
        *("corpid", "userid", "follow_userid", "remark", "description", "remark_corp_name", "remark_mobiles"),
        *("add_way", "state", "oper_userid", "wechat_channels", "createtime", "lost_at", "lost_by"),
    ),
    "customer_follow_tag": (
        *("corpid", "userid", "follow_userid", "tag_key", "type", "tag_id", "group_name", "tag_name"),
    ),
}


def _id() -> sa.String:
    """An id: compared byte by byte, trailing blanks included, which each database calls something else."""
    dialect: Any = op.get_context().dialect
    if dialect.name == "postgresql":
        return sa.String(128, collation="C")
    if dialect.name in {"mysql", "mariadb"}:
        return sa.String(128, collation="utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin")
    return sa.String(128)


def _at() -> sa.types.TypeEngine[Any]:
    """A moment in UTC with microseconds."""
    precise = mysql.DATETIME(fsp=6)
    return sa.DateTime(timezone=True).with_variant(precise, "mysql", "mariadb").with_variant(sa.DateTime(), "sqlite")


def _table(name: str, *parts: Any, key: tuple[str, ...], comment: str) -> None:
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")), comment=comment, **_MYSQL)


def upgrade() -> None:
    _directory()
    _tags()
    _groups()
    _history_a()
    _history_b()
    _history_c()
    _events()
    for name, columns in _UPGRADED.items():
        _first_versions(name, columns)
    op.create_index(op.f("ix_customer_follow_tag_tag_id_corpid"), "customer_follow_tag", ["tag_id", "corpid"])
    op.create_index(op.f("ix_customer_follow_follow_userid_corpid"), "customer_follow", ["follow_userid", "corpid"])
    op.drop_index(op.f("ix_customer_follow_corpid_follow_userid"), "customer_follow")


def _events() -> None:
    op.add_column(
        "contact_event",
        sa.Column(
            "detail",
            sa.String(64),
            comment="The platform's Source, FailReason, UpdateDetail, TagType or new id, if it says one",
        ),
    )
    for name, kind, comment in (
        ("source", sa.String(16), "Who asked last: event, view or reconcile"),
        ("event_id", sa.String(64), "The latest event that named it"),
        ("happened_at", _at(), "CreateTime of that event"),
    ):
        op.add_column("pending_read", sa.Column(name, kind, comment=comment))
    if op.get_context().dialect.name == "postgresql":
        # Every row is changed several times within seconds, which is cheap where its page has room.
        op.execute("ALTER TABLE pending_read SET (fillfactor = 40)")
    _comment_of_kind("Kind of the object that changed: customer, member, party, member_tag, chat, tag, tag_group")


def _comment_of_kind(comment: str) -> None:
    if op.get_context().dialect.supports_comments:
        op.alter_column("contact_event", "kind", existing_type=sa.String(16), comment=comment)


def _first_versions(name: str, columns: tuple[str, ...]) -> None:
    if op.get_context().dialect.name == "postgresql":
        # A large table takes its time.
        op.execute("SET LOCAL statement_timeout = 0")
    names = ", ".join(columns)
    now = _NOW[op.get_context().dialect.name]
    op.execute(
        # The names are this module's own constants.
        f"INSERT INTO {name}_history ({names}, valid_from, source) SELECT {names}, {now}, 'upgrade' FROM {name}"  # noqa: S608
    )


def _directory() -> None:
    _table(
        "employee",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("userid", _id(), nullable=False, comment="The employee's id in lower case"),
        sa.Column("userid_shown", _id(), comment="The same as the platform spells it"),
        sa.Column("name", sa.Text(), comment="Name"),
        sa.Column("alias", sa.Text(), comment="Alias"),
        sa.Column("gender", sa.Integer(), comment="0 unknown, 1 male, 2 female; newer apps are not told"),
        sa.Column("position", sa.Text(), comment="Job title"),
        sa.Column("external_position", sa.Text(), comment="Job title that customers are shown"),
        sa.Column("mobile", sa.Text(), comment="Mobile number; newer apps are not told"),
        sa.Column("telephone", sa.Text(), comment="Telephone number"),
        sa.Column("email", sa.Text(), comment="Mail address; newer apps are not told"),
        sa.Column("biz_mail", sa.Text(), comment="Corporate mail address; newer apps are not told"),
        sa.Column("avatar", sa.Text(), comment="Address of the picture; newer apps are not told"),
        sa.Column("status", sa.Integer(), comment="1 active, 2 disabled, 4 not activated, 5 left"),
        sa.Column("main_department", sa.BigInteger(), comment="Main department"),
        sa.Column("direct_leaders", sa.JSON(), comment="Superiors' ids in lower case, a list"),
        sa.Column("last_create_at", _at(), comment="Latest CreateTime of a create_user event"),
        sa.Column("last_delete_at", _at(), comment="Latest CreateTime of a delete_user event"),
        sa.Column("left_at", _at(), comment="Since when the employee has left, as events tell; NULL: is there"),
        sa.Column(
            "gone_at", _at(), comment="Since when the platform does not show the employee: left, or out of range"
        ),
        sa.Column(
            "fetched_at", _at(), comment="When the API call that brought these columns began; NULL: not read yet"
        ),
        sa.Column("first_seen_at", _at(), nullable=False, comment="When this system first heard of the employee"),
        key=(
            "corpid",
            "userid",
        ),
        comment="Employees (members), one row per corporation and userid",
    )
    _table(
        "employee_department",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("userid", _id(), nullable=False, comment="The employee"),
        sa.Column("department_id", sa.BigInteger(), nullable=False, autoincrement=False, comment="The department"),
        sa.Column("is_leader", sa.Integer(), comment="1: the employee leads it, 0: not"),
        sa.Column("sort_order", sa.BigInteger(), comment="Place within the department, larger first"),
        sa.ForeignKeyConstraint(
            ["corpid", "userid"], ["employee.corpid", "employee.userid"], name=op.f("fk_employee_department_employee")
        ),
        key=(
            "corpid",
            "userid",
            "department_id",
        ),
        comment="Which employee belongs to which department",
    )
    op.create_index(
        op.f("ix_employee_department_corpid_department_id"), "employee_department", ["corpid", "department_id"]
    )
    _table(
        "employee_alias",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("userid", _id(), nullable=False, comment="The old id, in lower case"),
        sa.Column(
            "new_userid", _id(), nullable=False, comment="The id that the same person has had since, in lower case"
        ),
        sa.Column("happened_at", _at(), nullable=False, comment="CreateTime of the event that told it"),
        sa.Column("given_at", _at(), comment="Since when somebody else has had the old id; NULL: nobody has"),
        sa.Column("merged_at", _at(), comment="When all rows of the old id had been moved to the new one"),
        key=("corpid", "userid", "happened_at"),
        comment="Ids that an employee had before; what was said until somebody else got one counts for the new id",
    )
    op.create_index(op.f("ix_employee_alias_corpid_new_userid"), "employee_alias", ["corpid", "new_userid"])
    _table(
        "department",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column(
            "department_id",
            sa.BigInteger(),
            nullable=False,
            autoincrement=False,
            comment="The platform's number; 1 is the root",
        ),
        sa.Column("name", sa.Text(), comment="Name"),
        sa.Column("name_en", sa.Text(), comment="English name"),
        sa.Column("parentid", sa.BigInteger(), comment="The department above"),
        sa.Column("sort_order", sa.BigInteger(), comment="Place among its siblings, larger first"),
        sa.Column("leaders", sa.JSON(), comment="Ids of those who lead it, in lower case, a list"),
        sa.Column("last_create_at", _at(), comment="Latest CreateTime of a create_party event"),
        sa.Column("last_delete_at", _at(), comment="Latest CreateTime of a delete_party event"),
        sa.Column("deleted_at", _at(), comment="Since when it has been deleted, as events tell; NULL: is there"),
        sa.Column("gone_at", _at(), comment="Since when the platform does not show it: deleted, or out of range"),
        sa.Column(
            "fetched_at", _at(), comment="When the API call that brought these columns began; NULL: not read yet"
        ),
        sa.Column("first_seen_at", _at(), nullable=False, comment="When this system first heard of the department"),
        key=(
            "corpid",
            "department_id",
        ),
        comment="Departments (parties)",
    )
    _table(
        "employee_tag",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("tagid", sa.BigInteger(), nullable=False, autoincrement=False, comment="The platform's number"),
        sa.Column("tagname", sa.Text(), comment="Name"),
        sa.Column("gone_at", _at(), comment="Since when the platform does not show it"),
        sa.Column(
            "fetched_at", _at(), comment="When the API call that brought these columns began; NULL: not read yet"
        ),
        sa.Column("first_seen_at", _at(), nullable=False, comment="When this system first heard of the tag"),
        key=(
            "corpid",
            "tagid",
        ),
        comment="Tags of employees (labels of the address book), which have nothing to do with customers' tags",
    )
    _table(
        "employee_tag_member",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("tagid", sa.BigInteger(), nullable=False, autoincrement=False, comment="The tag"),
        sa.Column("member_type", sa.String(16), nullable=False, comment="user: an employee; party: a department"),
        sa.Column(
            "member_id", _id(), nullable=False, comment="The employee's id in lower case, or the department's number"
        ),
        sa.ForeignKeyConstraint(
            ["corpid", "tagid"],
            ["employee_tag.corpid", "employee_tag.tagid"],
            name=op.f("fk_employee_tag_member_employee_tag"),
        ),
        key=(
            "corpid",
            "tagid",
            "member_type",
            "member_id",
        ),
        comment="Who has which employee tag",
    )
    op.create_index(
        op.f("ix_employee_tag_member_corpid_member_type_member_id"),
        "employee_tag_member",
        ["corpid", "member_type", "member_id"],
    )


def _tags() -> None:
    _table(
        "tag_group",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("group_id", _id(), nullable=False, comment="The platform's id of the group"),
        sa.Column("group_name", sa.Text(), comment="Name"),
        sa.Column("sort_order", sa.BigInteger(), comment="Place among the groups, larger first"),
        sa.Column("create_time", sa.BigInteger(), comment="When the platform says it was made (Unix seconds)"),
        sa.Column("strategy_id", _id(), comment="Rule group whose tags these are; NULL: the corporation's own"),
        sa.Column("last_create_at", _at(), comment="Latest CreateTime of a create event"),
        sa.Column("last_delete_at", _at(), comment="Latest CreateTime of a delete event"),
        sa.Column("deleted_at", _at(), comment="Since when it has been deleted; NULL: is there"),
        sa.Column("gone_at", _at(), comment="Since when the platform does not show it"),
        sa.Column(
            "fetched_at", _at(), comment="When the API call that brought these columns began; NULL: not read yet"
        ),
        sa.Column("first_seen_at", _at(), nullable=False, comment="When this system first heard of the group"),
        key=(
            "corpid",
            "group_id",
        ),
        comment="Groups of customers' tags",
    )
    _table(
        "tag",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("tag_id", _id(), nullable=False, comment="The platform's id of the tag"),
        sa.Column("group_id", _id(), comment="The group it is in; NULL: not read yet"),
        sa.Column("tag_name", sa.Text(), comment="Name"),
        sa.Column("type", sa.Integer(), comment="1 the corporation's, 3 a rule group's"),
        sa.Column("sort_order", sa.BigInteger(), comment="Place within the group, larger first"),
        sa.Column("create_time", sa.BigInteger(), comment="When the platform says it was made (Unix seconds)"),
        sa.Column("last_create_at", _at(), comment="Latest CreateTime of a create event"),
        sa.Column("last_delete_at", _at(), comment="Latest CreateTime of a delete event, the group's included"),
        sa.Column("deleted_at", _at(), comment="Since when it has been deleted; NULL: is there"),
        sa.Column("gone_at", _at(), comment="Since when the platform does not show it"),
        sa.Column(
            "fetched_at", _at(), comment="When the API call that brought these columns began; NULL: not read yet"
        ),
        sa.Column("first_seen_at", _at(), nullable=False, comment="When this system first heard of the tag"),
        key=(
            "corpid",
            "tag_id",
        ),
        comment="Customers' tags, without personal ones, which have no id",
    )
    op.create_index(op.f("ix_tag_group_id_corpid"), "tag", ["group_id", "corpid"])


def _groups() -> None:
    _table(
        "group_chat",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("chat_id", _id(), nullable=False, comment="The platform's id of the group"),
        sa.Column("name", sa.Text(), comment="Name; empty for a group without one"),
        sa.Column("owner", _id(), comment="The employee who owns it, in lower case"),
        sa.Column("notice", sa.Text(), comment="Notice of the group"),
        sa.Column("create_time", sa.BigInteger(), comment="When the platform says it was made (Unix seconds)"),
        sa.Column("admins", sa.JSON(), comment="Ids of its administrators, in lower case, a list"),
        sa.Column(
            "member_version", sa.String(64), comment="The platform's version of the list of members, as last read"
        ),
        sa.Column("last_create_at", _at(), comment="Latest CreateTime of a create event"),
        sa.Column("last_delete_at", _at(), comment="Latest CreateTime of a dismiss event"),
        sa.Column("dismissed_at", _at(), comment="Since when the group has been dismissed; NULL: is there"),
        sa.Column(
            "gone_at", _at(), comment="Since when the platform does not show it: dismissed, or owner out of range"
        ),
        sa.Column(
            "fetched_at", _at(), comment="When the API call that brought these columns began; NULL: not read yet"
        ),
        sa.Column("first_seen_at", _at(), nullable=False, comment="When this system first heard of the group"),
        key=(
            "corpid",
            "chat_id",
        ),
        comment="Customer groups (group chats)",
    )
    op.create_index(op.f("ix_group_chat_corpid_owner"), "group_chat", ["corpid", "owner"])
    _table(
        "group_chat_member",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("chat_id", _id(), nullable=False, comment="The group"),
        sa.Column("type", sa.Integer(), nullable=False, autoincrement=False, comment="1 employee, 2 external contact"),
        sa.Column("userid", _id(), nullable=False, comment="The employee's id in lower case, or the external_userid"),
        sa.Column("join_time", sa.BigInteger(), comment="When the platform says the member joined (Unix seconds)"),
        sa.Column(
            "join_scene",
            sa.Integer(),
            comment="1 invited by a member, 2 by an invitation link, 3 by the group's QR code",
        ),
        sa.Column("invitor", _id(), comment="The employee who invited, in lower case"),
        sa.Column("group_nickname", sa.Text(), comment="Nickname in the group"),
        sa.Column("name", sa.Text(), comment="Name"),
        sa.Column("unionid", _id(), comment="WeChat unionid, if a developer id is bound"),
        sa.Column("state", sa.Text(), comment="Channel value of the join-group configuration"),
        sa.ForeignKeyConstraint(
            ["corpid", "chat_id"],
            ["group_chat.corpid", "group_chat.chat_id"],
            name=op.f("fk_group_chat_member_group_chat"),
        ),
        key=(
            "corpid",
            "chat_id",
            "type",
            "userid",
        ),
        comment="Who is in which group; who left is in the history",
    )
    op.create_index(op.f("ix_group_chat_member_corpid_userid"), "group_chat_member", ["corpid", "userid"])
    _table(
        "group_chat_version",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("chat_id", _id(), nullable=False, comment="The group"),
        sa.Column(
            "cur_mem_ver", sa.String(64), nullable=False, comment="Version of the list of members after the change"
        ),
        sa.Column("last_mem_ver", sa.String(64), nullable=False, comment="The version before it"),
        sa.Column("happened_at", _at(), nullable=False, comment="CreateTime of the event"),
        key=(
            "corpid",
            "chat_id",
            "cur_mem_ver",
        ),
        comment="The chain of versions that events of a group told; a version that no event led to is a lost event",
    )


def _history_a() -> None:
    _table(
        "customer_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation that sees the customer under this id"),
        sa.Column("userid", _id(), nullable=False, comment="The platform's external_userid"),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("name", sa.Text(), comment="Nickname, or the name a WeCom user shows to outsiders"),
        sa.Column("type", sa.Integer(), comment="1 WeChat user, 2 WeCom user"),
        sa.Column("gender", sa.Integer(), comment="0 unknown, 1 male, 2 female"),
        sa.Column("avatar", sa.Text(), comment="Address of the picture"),
        sa.Column("unionid", _id(), comment="WeChat unionid, if a developer id is bound"),
        sa.Column("position", sa.Text(), comment="Job title, WeCom users only"),
        sa.Column("corp_name", sa.Text(), comment="Short name of the customer's own corporation, WeCom users only"),
        sa.Column("corp_full_name", sa.Text(), comment="Full name of the customer's own corporation, WeCom users only"),
        sa.Column("external_profile", sa.JSON(), comment="The platform's external_profile as it came"),
        sa.Column("gone_at", _at(), comment="Since when the platform shows nobody in range who has this customer"),
        key=(
            "corpid",
            "userid",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of customer",
    )
    op.create_index(op.f("ix_customer_history_valid_from"), "customer_history", ["valid_from"])
    _table(
        "customer_follow_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("userid", _id(), nullable=False, comment="The customer's external_userid"),
        sa.Column("follow_userid", _id(), nullable=False, comment="The employee who has the customer, in lower case"),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("remark", sa.Text(), comment="The employee's name for the customer"),
        sa.Column("description", sa.Text(), comment="The employee's note"),
        sa.Column("remark_corp_name", sa.Text(), comment="Company in the employee's remark, WeChat users only"),
        sa.Column("remark_mobiles", sa.JSON(), comment="Phone numbers in the employee's remark, a list"),
        sa.Column(
            "add_way", sa.Integer(), comment="How the customer was added, the platform's number (document 92114)"
        ),
        sa.Column("state", sa.Text(), comment="Channel value of the contact-me code or acquisition link"),
        sa.Column("oper_userid", _id(), comment="Who started it: employee, customer, colleague or admin"),
        sa.Column("wechat_channels", sa.JSON(), comment="WeChat Channels source, only for add_way 10"),
        sa.Column("createtime", sa.BigInteger(), comment="When the platform says the relation began (Unix seconds)"),
        sa.Column("lost_at", _at(), comment="Since when the relation has ended; NULL: it stands"),
        sa.Column("lost_by", sa.String(16), comment="Who ended it: employee, customer, transfer, left, reconcile"),
        key=(
            "corpid",
            "userid",
            "follow_userid",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of customer_follow",
    )
    op.create_index(op.f("ix_customer_follow_history_valid_from"), "customer_follow_history", ["valid_from"])
    _table(
        "customer_follow_tag_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("userid", _id(), nullable=False, comment="The customer's external_userid"),
        sa.Column("follow_userid", _id(), nullable=False, comment="The employee"),
        sa.Column("tag_key", _id(), nullable=False, comment="tag_id, or for a personal tag a digest of group and name"),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("type", sa.Integer(), comment="1 corp tag, 2 personal tag, 3 rule-group tag"),
        sa.Column("tag_id", _id(), comment="The platform's tag id; personal tags have none"),
        sa.Column("group_name", sa.Text(), comment="Name of the tag's group"),
        sa.Column("tag_name", sa.Text(), comment="Name of the tag"),
        key=(
            "corpid",
            "userid",
            "follow_userid",
            "tag_key",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of customer_follow_tag",
    )
    op.create_index(
        op.f("ix_customer_follow_tag_history_valid_from"),
        "customer_follow_tag_history",
        ["valid_from"],
    )


def _history_b() -> None:
    _table(
        "employee_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("userid", _id(), nullable=False, comment="The employee's id in lower case"),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("userid_shown", _id(), comment="The same as the platform spells it"),
        sa.Column("name", sa.Text(), comment="Name"),
        sa.Column("alias", sa.Text(), comment="Alias"),
        sa.Column("gender", sa.Integer(), comment="0 unknown, 1 male, 2 female; newer apps are not told"),
        sa.Column("position", sa.Text(), comment="Job title"),
        sa.Column("external_position", sa.Text(), comment="Job title that customers are shown"),
        sa.Column("mobile", sa.Text(), comment="Mobile number; newer apps are not told"),
        sa.Column("telephone", sa.Text(), comment="Telephone number"),
        sa.Column("email", sa.Text(), comment="Mail address; newer apps are not told"),
        sa.Column("biz_mail", sa.Text(), comment="Corporate mail address; newer apps are not told"),
        sa.Column("avatar", sa.Text(), comment="Address of the picture; newer apps are not told"),
        sa.Column("status", sa.Integer(), comment="1 active, 2 disabled, 4 not activated, 5 left"),
        sa.Column("main_department", sa.BigInteger(), comment="Main department"),
        sa.Column("direct_leaders", sa.JSON(), comment="Superiors' ids in lower case, a list"),
        sa.Column("left_at", _at(), comment="Since when the employee has left, as events tell; NULL: is there"),
        sa.Column(
            "gone_at", _at(), comment="Since when the platform does not show the employee: left, or out of range"
        ),
        key=(
            "corpid",
            "userid",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of employee",
    )
    op.create_index(op.f("ix_employee_history_valid_from"), "employee_history", ["valid_from"])
    _table(
        "employee_department_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("userid", _id(), nullable=False, comment="The employee"),
        sa.Column("department_id", sa.BigInteger(), nullable=False, autoincrement=False, comment="The department"),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("is_leader", sa.Integer(), comment="1: the employee leads it, 0: not"),
        sa.Column("sort_order", sa.BigInteger(), comment="Place within the department, larger first"),
        key=(
            "corpid",
            "userid",
            "department_id",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of employee_department",
    )
    op.create_index(
        op.f("ix_employee_department_history_valid_from"),
        "employee_department_history",
        ["valid_from"],
    )
    _table(
        "department_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column(
            "department_id",
            sa.BigInteger(),
            nullable=False,
            autoincrement=False,
            comment="The platform's number; 1 is the root",
        ),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("name", sa.Text(), comment="Name"),
        sa.Column("name_en", sa.Text(), comment="English name"),
        sa.Column("parentid", sa.BigInteger(), comment="The department above"),
        sa.Column("sort_order", sa.BigInteger(), comment="Place among its siblings, larger first"),
        sa.Column("leaders", sa.JSON(), comment="Ids of those who lead it, in lower case, a list"),
        sa.Column("deleted_at", _at(), comment="Since when it has been deleted, as events tell; NULL: is there"),
        sa.Column("gone_at", _at(), comment="Since when the platform does not show it: deleted, or out of range"),
        key=(
            "corpid",
            "department_id",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of department",
    )
    op.create_index(op.f("ix_department_history_valid_from"), "department_history", ["valid_from"])


def _history_c() -> None:
    _table(
        "tag_group_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("group_id", _id(), nullable=False, comment="The platform's id of the group"),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("group_name", sa.Text(), comment="Name"),
        sa.Column("sort_order", sa.BigInteger(), comment="Place among the groups, larger first"),
        sa.Column("create_time", sa.BigInteger(), comment="When the platform says it was made (Unix seconds)"),
        sa.Column("strategy_id", _id(), comment="Rule group whose tags these are; NULL: the corporation's own"),
        sa.Column("deleted_at", _at(), comment="Since when it has been deleted; NULL: is there"),
        sa.Column("gone_at", _at(), comment="Since when the platform does not show it"),
        key=(
            "corpid",
            "group_id",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of tag_group",
    )
    op.create_index(op.f("ix_tag_group_history_valid_from"), "tag_group_history", ["valid_from"])
    _table(
        "tag_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("tag_id", _id(), nullable=False, comment="The platform's id of the tag"),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("group_id", _id(), comment="The group it is in; NULL: not read yet"),
        sa.Column("tag_name", sa.Text(), comment="Name"),
        sa.Column("type", sa.Integer(), comment="1 the corporation's, 3 a rule group's"),
        sa.Column("sort_order", sa.BigInteger(), comment="Place within the group, larger first"),
        sa.Column("create_time", sa.BigInteger(), comment="When the platform says it was made (Unix seconds)"),
        sa.Column("deleted_at", _at(), comment="Since when it has been deleted; NULL: is there"),
        sa.Column("gone_at", _at(), comment="Since when the platform does not show it"),
        key=(
            "corpid",
            "tag_id",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of tag",
    )
    op.create_index(op.f("ix_tag_history_valid_from"), "tag_history", ["valid_from"])
    _table(
        "group_chat_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("chat_id", _id(), nullable=False, comment="The platform's id of the group"),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("name", sa.Text(), comment="Name; empty for a group without one"),
        sa.Column("owner", _id(), comment="The employee who owns it, in lower case"),
        sa.Column("notice", sa.Text(), comment="Notice of the group"),
        sa.Column("create_time", sa.BigInteger(), comment="When the platform says it was made (Unix seconds)"),
        sa.Column("admins", sa.JSON(), comment="Ids of its administrators, in lower case, a list"),
        sa.Column("dismissed_at", _at(), comment="Since when the group has been dismissed; NULL: is there"),
        sa.Column(
            "gone_at", _at(), comment="Since when the platform does not show it: dismissed, or owner out of range"
        ),
        key=(
            "corpid",
            "chat_id",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of group_chat",
    )
    op.create_index(op.f("ix_group_chat_history_valid_from"), "group_chat_history", ["valid_from"])
    _table(
        "group_chat_member_history",
        sa.Column("corpid", _id(), nullable=False, comment="The corporation"),
        sa.Column("chat_id", _id(), nullable=False, comment="The group"),
        sa.Column("type", sa.Integer(), nullable=False, autoincrement=False, comment="1 employee, 2 external contact"),
        sa.Column("userid", _id(), nullable=False, comment="The employee's id in lower case, or the external_userid"),
        sa.Column("valid_from", _at(), nullable=False, comment="Since when this system held this version"),
        sa.Column("valid_to", _at(), comment="Until when; NULL: it still does"),
        sa.Column("happened_at", _at(), comment="CreateTime of the event that led to it; NULL: no event did"),
        sa.Column(
            "source",
            sa.String(16),
            nullable=False,
            comment="What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)",
        ),
        sa.Column("event_id", sa.String(64), comment="The event that led to it, if one did"),
        sa.Column("join_time", sa.BigInteger(), comment="When the platform says the member joined (Unix seconds)"),
        sa.Column(
            "join_scene",
            sa.Integer(),
            comment="1 invited by a member, 2 by an invitation link, 3 by the group's QR code",
        ),
        sa.Column("invitor", _id(), comment="The employee who invited, in lower case"),
        sa.Column("group_nickname", sa.Text(), comment="Nickname in the group"),
        sa.Column("name", sa.Text(), comment="Name"),
        sa.Column("unionid", _id(), comment="WeChat unionid, if a developer id is bound"),
        sa.Column("state", sa.Text(), comment="Channel value of the join-group configuration"),
        key=(
            "corpid",
            "chat_id",
            "type",
            "userid",
            "valid_from",
        ),
        comment="Every version that this system held of the rows of group_chat_member",
    )
    op.create_index(op.f("ix_group_chat_member_history_valid_from"), "group_chat_member_history", ["valid_from"])


def downgrade() -> None:
    op.create_index(op.f("ix_customer_follow_corpid_follow_userid"), "customer_follow", ["corpid", "follow_userid"])
    op.drop_index(op.f("ix_customer_follow_follow_userid_corpid"), "customer_follow")
    op.drop_index(op.f("ix_customer_follow_tag_tag_id_corpid"), "customer_follow_tag")
    for name in reversed(_TABLES):
        op.drop_table(name)
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE pending_read RESET (fillfactor)")
    with op.batch_alter_table("pending_read") as batch:
        for name in ("source", "event_id", "happened_at"):
            batch.drop_column(name)
    with op.batch_alter_table("contact_event") as batch:
        batch.drop_column("detail")
    _comment_of_kind("Kind of the object that changed: customer, member, party, chat, tag")
