"""The CRM tables, one definition for SQLite, PostgreSQL, MySQL and MariaDB.

Rules that hold everywhere: ``*_at`` columns are UTC instants with microseconds (aware ``datetime`` in Python on every
database); ``createtime`` is the platform's own integer (Unix seconds); ids compare byte by byte, letter case and
trailing blanks included; a member id is stored in lower case because the platform compares it so (document 98728).
Migrations repeat these definitions and a test keeps the two equal.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from core.db.types import Id, Instant, LongBytes

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

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
    Index(None, "corpid", "follow_userid"),
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
    comment="Tags that an employee gave a customer",
)

contact_event = Table(
    "contact_event",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("event_id", String(64), primary_key=True, comment="SHA-256 over corpid and the document's leaves"),
    Column("event", Text, nullable=False, comment="The platform's Event"),
    Column("change", Text, nullable=False, comment="The platform's ChangeType, empty if there is none"),
    Column("kind", String(16), comment="Kind of the object that changed: customer, member, party, chat, tag"),
    Column("object_id", Id(), comment="Id of the object that changed"),
    Column("userid", Id(), comment="The employee concerned, in lower case"),
    Column("happened_at", Instant(), nullable=False, comment="CreateTime, at most the receive time"),
    Column("received_at", Instant(), nullable=False, comment="When the callback came in"),
    Column("recorded_at", Instant(), nullable=False, comment="When this row was written"),
    Column("callback", Text, nullable=False, comment="Name of the callback configuration it came through"),
    Column("leaves", JSON(none_as_null=True), nullable=False, comment="The document's elements as [path, text] pairs"),
    Column("outcome", String(16), nullable=False, comment="applied, or unknown: kept but not understood"),
    Index(None, "corpid", "kind", "object_id", "happened_at"),
    comment="Append-only ledger of every event",
)

pending_read = Table(
    "pending_read",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("kind", String(16), primary_key=True, comment="Kind of object: customer, …"),
    Column("object_id", Id(), primary_key=True, comment="Id of the object to read"),
    Column("wanted_at", Instant(), nullable=False, comment="When the object was last asked for"),
    Column(
        "version",
        BigInteger,
        nullable=False,
        comment="Grows with every wish; a reader removes only what it saw",
    ),
    Column("due_at", Instant(), nullable=False, comment="Not to be read before"),
    Column("stage", String(16), nullable=False, comment="first, confirm, unseen or recheck"),
    Column("events", Integer, nullable=False, comment="Events folded in since the last read"),
    Column("attempts", Integer, nullable=False, comment="Reads in this stage that brought no answer yet"),
    Column("read_at", Instant(), comment="When the last read began"),
    Column("recheck_at", Instant(), comment="Read once more then, whatever the reads before found"),
    Column("recheck_last_at", Instant(), comment="And a last time then"),
    Column("reason", Text, comment="Why it waits, in words with codes and ids only"),
    Column("leased_until", Instant(), comment="A reader is at it until then"),
    Column("leased_by", String(64), comment="Which reader"),
    Index(None, "corpid", "due_at"),
    comment="What to read from the platform next; one row per object, however many events",
)

log_position = Table(
    "log_position",
    metadata,
    Column("log_id", String(128), primary_key=True, comment="Identity of the event log"),
    Column("partition", Integer, primary_key=True, comment="Partition of the log"),
    Column("position", BigInteger, nullable=False, comment="Next position to apply"),
    Column("updated_at", Instant(), nullable=False, comment="When it last moved"),
    comment="How far each event log has been applied; moves in the transaction of the effects",
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column(
        "id",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
        comment="Number",
    ),
    Column("corpid", Id(), nullable=False, comment="The corporation"),
    Column("log_id", String(128), nullable=False, comment="The log it came from"),
    Column("partition", Integer, nullable=False, comment="Its partition there"),
    Column("position", BigInteger, nullable=False, comment="Its position there"),
    Column("event_id", String(64), comment="Event id if it could be told"),
    Column("reason", Text, nullable=False, comment="Why it could not be applied, without personal data"),
    Column("payload", LongBytes, nullable=False, comment="The bytes as they came"),
    Column("received_at", Instant(), nullable=False, comment="When the callback came in"),
    Column("recorded_at", Instant(), nullable=False, comment="When it was set aside"),
    Column("resolved_at", Instant(), comment="When it was replayed or dropped"),
    Index(None, "log_id", "partition", "position", unique=True),
    comment="What could not be applied, with its bytes",
)

credential = Table(
    "credential",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("name", Id(), primary_key=True, comment="Whose secret: agent:<agentid>"),
    Column("kind", String(32), primary_key=True, comment="access_token, jsapi_ticket or agent_ticket"),
    Column("value", LargeBinary, comment="Encrypted with a key derived from the service's secret_key"),
    Column("fingerprint", String(64), nullable=False, comment="Digest of the secret it was made with"),
    Column("expires_at", Instant(), comment="When it stops working"),
    Column("refreshed_at", Instant(), comment="When it was fetched"),
    Column("failed_code", Integer, comment="Error code of the last attempt, if it failed"),
    Column("retry_at", Instant(), comment="Do not ask again before"),
    Column("leased_until", Instant(), comment="Somebody is fetching it until then"),
    Column("leased_by", String(64), comment="Who"),
    comment="Cache of access tokens and tickets, shared by all processes",
)

session = Table(
    "session",
    metadata,
    Column("digest", String(64), primary_key=True, comment="SHA-256 of the opaque id in the browser's cookie"),
    Column("public_id", String(64), nullable=False, comment="What the page sends along to name its session; no secret"),
    Column("corpid", Id(), nullable=False, comment="The corporation"),
    Column("agentid", BigInteger, nullable=False, comment="The app whose page it is"),
    Column("userid", Id(), nullable=False, comment="The employee who is logged in, in lower case"),
    Column("created_at", Instant(), nullable=False, comment="When the login succeeded"),
    Column("expires_at", Instant(), nullable=False, comment="When it ends by itself"),
    Column("ended_at", Instant(), comment="When another login, or the employee's leaving, ended it"),
    Index(None, "expires_at"),
    comment="Logins of employees to the sidebar",
)

login_state = Table(
    "login_state",
    metadata,
    Column("digest", String(64), primary_key=True, comment="SHA-256 of the state that came back from the platform"),
    Column("corpid", Id(), nullable=False, comment="The corporation"),
    Column("agentid", BigInteger, nullable=False, comment="The app"),
    Column("used_at", Instant(), nullable=False, comment="When it came back"),
    Column("expires_at", Instant(), nullable=False, comment="Until when it would be taken if it were not here"),
    Index(None, "expires_at"),
    comment="States of logins that came back, each of which counts once",
)

# Kept beside the tables because both the schema check and the tests ask for it.
ALL_TABLES = tuple(metadata.sorted_tables)

__all__ = [
    "ALL_TABLES",
    "contact_event",
    "corp",
    "credential",
    "customer",
    "customer_follow",
    "customer_follow_tag",
    "dead_letter",
    "log_position",
    "login_state",
    "metadata",
    "pending_read",
    "session",
]
