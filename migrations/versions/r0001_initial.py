"""The tables of customers, of the event ledger and of the work in hand.

Revision 0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    "credential",
    "dead_letter",
    "log_position",
    "pending_read",
    "contact_event",
    "customer_follow_tag",
    "customer_follow",
    "customer",
    "corp",
)


def _id_type() -> sa.String:
    """An id: compared byte by byte, trailing blanks included, which each database calls something else."""
    dialect: Any = op.get_context().dialect
    if dialect.name == "postgresql":
        return sa.String(128, collation="C")
    if dialect.name in {"mysql", "mariadb"}:
        return sa.String(128, collation="utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin")
    return sa.String(128)


def _instant() -> sa.types.TypeEngine[Any]:
    """A moment in UTC with microseconds."""
    precise = mysql.DATETIME(fsp=6)
    return sa.DateTime(timezone=True).with_variant(precise, "mysql", "mariadb").with_variant(sa.DateTime(), "sqlite")


def _id(name: str, comment: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, _id_type(), nullable=nullable, comment=comment)


def _key(name: str, comment: str) -> sa.Column[Any]:
    return _id(name, comment, nullable=False)


def _at(name: str, comment: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, _instant(), nullable=nullable, comment=comment)


def _text(name: str, comment: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable, comment=comment)


def _word(name: str, length: int, comment: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=nullable, comment=comment)


def _number(name: str, comment: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=nullable, comment=comment)


def _large(name: str, comment: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable, comment=comment)


def _json(name: str, comment: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=nullable, comment=comment)


def _table(name: str, *parts: Any, key: tuple[str, ...], comment: str) -> None:
    op.create_table(
        name,
        *parts,
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")),
        comment=comment,
        mysql_engine="InnoDB",
        # The server's default may be a character set without Chinese.
        mysql_charset="utf8mb4",
    )


def upgrade() -> None:
    _customers()
    _events()
    _work()


def downgrade() -> None:
    for name in _TABLES:
        op.drop_table(name)


def _customers() -> None:
    _table(
        "corp",
        _key("corpid", "The corporation's id"),
        _text("name", "Name from the configuration", nullable=False),
        _at("reconciled_at", "When the last full reconciliation ended"),
        key=("corpid",),
        comment="Corporations that this system serves",
    )
    _table(
        "customer",
        _key("corpid", "The corporation that sees the customer under this id"),
        _key("userid", "The platform's external_userid"),
        _text("name", "Nickname, or the name a WeCom user shows to outsiders"),
        _number("type", "1 WeChat user, 2 WeCom user"),
        _number("gender", "0 unknown, 1 male, 2 female"),
        _text("avatar", "Address of the picture"),
        _id("unionid", "WeChat unionid, if a developer id is bound"),
        _text("position", "Job title, WeCom users only"),
        _text("corp_name", "Short name of the customer's own corporation, WeCom users only"),
        _text("corp_full_name", "Full name of the customer's own corporation, WeCom users only"),
        _json("external_profile", "The platform's external_profile as it came"),
        _at("fetched_at", "When the API call that brought these columns began; NULL: not read yet"),
        _at("first_seen_at", "When this system first heard of the customer", nullable=False),
        _at("gone_at", "Since when the platform shows nobody in range who has this customer"),
        key=("corpid", "userid"),
        comment="Customers (external contacts), one row per corporation and external_userid",
    )
    _table(
        "customer_follow",
        _key("corpid", "The corporation"),
        _key("userid", "The customer's external_userid"),
        _key("follow_userid", "The employee who has the customer, in lower case"),
        _text("remark", "The employee's name for the customer"),
        _text("description", "The employee's note"),
        _text("remark_corp_name", "Company in the employee's remark, WeChat users only"),
        _json("remark_mobiles", "Phone numbers in the employee's remark, a list"),
        _number("add_way", "How the customer was added, the platform's number (document 92114)"),
        _text("state", "Channel value of the contact-me code or acquisition link"),
        _id("oper_userid", "Who started it: employee, customer, colleague or admin"),
        _json("wechat_channels", "WeChat Channels source, only for add_way 10"),
        _large("createtime", "When the platform says the relation began (Unix seconds)"),
        _at("last_add_at", "Latest CreateTime of an add event"),
        _at("last_loss_at", "Latest CreateTime of an event that ended the relation"),
        _word("last_loss_by", 16, "Who did it: employee, customer, transfer, left, reconcile"),
        _at("lost_at", "Since when the relation has ended; NULL: it stands"),
        _word("lost_by", 16, "Who ended it: employee, customer, transfer, left, reconcile"),
        _at("unseen_since", "Since when complete answers no longer list a relation that should stand"),
        _at("fetched_at", "When the API call that brought these columns began; NULL: not listed yet"),
        sa.ForeignKeyConstraint(
            ["corpid", "userid"],
            ["customer.corpid", "customer.userid"],
            name=op.f("fk_customer_follow_customer"),
        ),
        key=("corpid", "userid", "follow_userid"),
        comment="Which employee has which customer, with what the employee noted",
    )
    op.create_index(op.f("ix_customer_follow_corpid_follow_userid"), "customer_follow", ["corpid", "follow_userid"])
    _table(
        "customer_follow_tag",
        _key("corpid", "The corporation"),
        _key("userid", "The customer's external_userid"),
        _key("follow_userid", "The employee"),
        _key("tag_key", "tag_id, or for a personal tag a digest of group and name"),
        _number("type", "1 corp tag, 2 personal tag, 3 rule-group tag"),
        _id("tag_id", "The platform's tag id; personal tags have none"),
        _text("group_name", "Name of the tag's group"),
        _text("tag_name", "Name of the tag"),
        sa.ForeignKeyConstraint(
            ["corpid", "userid", "follow_userid"],
            ["customer_follow.corpid", "customer_follow.userid", "customer_follow.follow_userid"],
            name=op.f("fk_customer_follow_tag_customer_follow"),
        ),
        key=("corpid", "userid", "follow_userid", "tag_key"),
        comment="Tags that an employee gave a customer",
    )


def _events() -> None:
    _table(
        "contact_event",
        _key("corpid", "The corporation"),
        _word("event_id", 64, "SHA-256 over corpid and the document's leaves", nullable=False),
        _text("event", "The platform's Event", nullable=False),
        _text("change", "The platform's ChangeType, empty if there is none", nullable=False),
        _word("kind", 16, "Kind of the object that changed: customer, member, party, chat, tag"),
        _id("object_id", "Id of the object that changed"),
        _id("userid", "The employee concerned, in lower case"),
        _at("happened_at", "CreateTime, at most the receive time", nullable=False),
        _at("received_at", "When the callback came in", nullable=False),
        _at("recorded_at", "When this row was written", nullable=False),
        _text("callback", "Name of the callback configuration it came through", nullable=False),
        _json("leaves", "The document's elements as [path, text] pairs", nullable=False),
        _word("outcome", 16, "applied, or unknown: kept but not understood", nullable=False),
        key=("corpid", "event_id"),
        comment="Append-only ledger of every event",
    )
    op.create_index(
        op.f("ix_contact_event_corpid_kind_object_id_happened_at"),
        "contact_event",
        ["corpid", "kind", "object_id", "happened_at"],
    )
    _table(
        "dead_letter",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
            comment="Number",
        ),
        _id("corpid", "The corporation", nullable=False),
        _word("log_id", 128, "The log it came from", nullable=False),
        _number("partition", "Its partition there", nullable=False),
        _large("position", "Its position there", nullable=False),
        _word("event_id", 64, "Event id if it could be told"),
        _text("reason", "Why it could not be applied, without personal data", nullable=False),
        sa.Column("payload", sa.LargeBinary(2**24 - 1), nullable=False, comment="The bytes as they came"),
        _at("received_at", "When the callback came in", nullable=False),
        _at("recorded_at", "When it was set aside", nullable=False),
        _at("resolved_at", "When it was replayed or dropped"),
        key=("id",),
        comment="What could not be applied, with its bytes",
    )
    op.create_index(
        op.f("ix_dead_letter_log_id_partition_position"),
        "dead_letter",
        ["log_id", "partition", "position"],
        unique=True,
    )


def _work() -> None:
    _table(
        "pending_read",
        _key("corpid", "The corporation"),
        _word("kind", 16, "Kind of object: customer, …", nullable=False),
        _key("object_id", "Id of the object to read"),
        _at("wanted_at", "When the object was last asked for", nullable=False),
        _large("version", "Grows with every wish; a reader removes only what it saw", nullable=False),
        _at("due_at", "Not to be read before", nullable=False),
        _word("stage", 16, "first, confirm, unseen or recheck", nullable=False),
        _number("events", "Events folded in since the last read", nullable=False),
        _number("attempts", "Reads in this stage that brought no answer yet", nullable=False),
        _at("read_at", "When the last read began"),
        _at("recheck_at", "Read once more then, whatever the reads before found"),
        _at("recheck_last_at", "And a last time then"),
        _text("reason", "Why it waits, in words with codes and ids only"),
        _at("leased_until", "A reader is at it until then"),
        _word("leased_by", 64, "Which reader"),
        key=("corpid", "kind", "object_id"),
        comment="What to read from the platform next; one row per object, however many events",
    )
    op.create_index(op.f("ix_pending_read_corpid_due_at"), "pending_read", ["corpid", "due_at"])
    _table(
        "log_position",
        _word("log_id", 128, "Identity of the event log", nullable=False),
        _number("partition", "Partition of the log", nullable=False),
        _large("position", "Next position to apply", nullable=False),
        _at("updated_at", "When it last moved", nullable=False),
        key=("log_id", "partition"),
        comment="How far each event log has been applied; moves in the transaction of the effects",
    )
    _table(
        "credential",
        _key("corpid", "The corporation"),
        _key("name", "Whose secret: agent:<agentid>"),
        _word("kind", 32, "access_token, jsapi_ticket or agent_ticket", nullable=False),
        sa.Column("value", sa.LargeBinary(), comment="Encrypted with a key derived from the service's secret_key"),
        _word("fingerprint", 64, "Digest of the secret it was made with", nullable=False),
        _at("expires_at", "When it stops working"),
        _at("refreshed_at", "When it was fetched"),
        _number("failed_code", "Error code of the last attempt, if it failed"),
        _at("retry_at", "Do not ask again before"),
        _at("leased_until", "Somebody is fetching it until then"),
        _word("leased_by", 64, "Who"),
        key=("corpid", "name", "kind"),
        comment="Cache of access tokens and tickets, shared by all processes",
    )
