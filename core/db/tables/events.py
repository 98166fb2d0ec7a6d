"""The event ledger, what waits to be read, how far the log has been applied, and what could not be."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, String, Table, Text

from core.db.tables.base import metadata
from core.db.types import Id, Instant, LongBytes

contact_event = Table(
    "contact_event",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("event_id", String(64), primary_key=True, comment="SHA-256 over corpid and the document's leaves"),
    Column("event", Text, nullable=False, comment="The platform's Event"),
    Column("change", Text, nullable=False, comment="The platform's ChangeType, empty if there is none"),
    Column(
        "kind",
        String(16),
        comment="Kind of the object that changed: customer, member, party, member_tag, chat, tag, tag_group",
    ),
    Column("object_id", Id(), comment="Id of the object that changed"),
    Column("userid", Id(), comment="The employee concerned, in lower case"),
    Column("happened_at", Instant(), nullable=False, comment="CreateTime, at most the receive time"),
    Column("received_at", Instant(), nullable=False, comment="When the callback came in"),
    Column("recorded_at", Instant(), nullable=False, comment="When this row was written"),
    Column("callback", Text, nullable=False, comment="Name of the callback configuration it came through"),
    Column("leaves", JSON(none_as_null=True), nullable=False, comment="The document's elements as [path, text] pairs"),
    Column("outcome", String(16), nullable=False, comment="applied, or unknown: kept but not understood"),
    Column(
        "detail",
        String(64),
        comment="The platform's Source, FailReason, UpdateDetail, TagType or new id, if it says one",
    ),
    Index(None, "corpid", "kind", "object_id", "happened_at"),
    comment="Append-only ledger of every event",
)

pending_read = Table(
    "pending_read",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column(
        "kind",
        String(16),
        primary_key=True,
        comment="Kind of object: customer, …",
    ),
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
    Column("source", String(16), comment="Who asked last: event, view or reconcile"),
    Column("event_id", String(64), comment="The latest event that named it"),
    Column("happened_at", Instant(), comment="CreateTime of that event"),
    Index(None, "corpid", "due_at"),
    comment="What to read from the platform next; one row per object, however many events",
    # Every row is changed several times within seconds, which is cheap where its page has room.
    postgresql_with={"fillfactor": 40},
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
