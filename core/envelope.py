"""The record of one event: what is published to Kafka, and what sync applies.

``interpret`` turns a stored delivery (the decrypted inner XML and where it came in) into an ``Envelope``; it never
fails: what can't be read becomes an envelope with ``event = "undecodable"`` that carries the bytes.
The same function serves both modes, so an event means the same whichever way it came.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import msgspec

from wecom.callback import read_event
from wecom.errors import EventUnreadable

SCHEMA = 1
UNDECODABLE = "undecodable"

# Left out of the event id: two apps get a copy of one event each, with their own AgentID and WelcomeCode
# (document 96360), and both copies must be one event.
_NOT_IN_ID = frozenset({"AgentID", "WelcomeCode"})
# A secret that lives 20 seconds (document 92137); it is of no use to anybody who reads the log.
_NEVER_KEPT = frozenset({"WelcomeCode"})


class EnvelopeUnreadable(Exception):
    """A record of the log is not an envelope that this release understands; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it travels.

    ``create_time`` is in Unix seconds and never later than ``received_at``, which is in milliseconds.
    ``leaves`` are the document's elements as (path, text) pairs; ``userid`` is in lower case, ``object_id`` too
    where the object is a member.
    """

    schema: int = SCHEMA
    event_id: str
    corpid: str
    callback: str
    event: str
    change: str = ""
    kind: str | None = None
    object_id: str | None = None
    userid: str | None = None
    create_time: int
    received_at: int
    leaves: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    reason: str | None = None

    def leaf(self, path: str) -> str | None:
        """Text of the first leaf at ``path``; absent and empty are the same (the platform sends either)."""
        for name, text in self.leaves:
            if name == path:
                return text or None
        return None

    @property
    def key(self) -> str:
        """Partition key: events of one object stay in order of arrival."""
        return f"{self.corpid}:{self.object_id or self.event}"


_decoder = msgspec.json.Decoder(Envelope)
_encoder = msgspec.json.Encoder()


def interpret(corpid: str, callback: str, received_at: int, document: bytes) -> Envelope:
    """Make the envelope of a delivery that was authenticated for ``corpid``. Never raises for its content.

    ``received_at`` is in milliseconds; ``document`` is the decrypted inner XML as it came.
    """
    try:
        event = read_event(document)
    except EventUnreadable as error:
        return Envelope(
            event_id=hashlib.sha256(corpid.encode() + b"\0" + document).hexdigest(),
            corpid=corpid,
            callback=callback,
            event=UNDECODABLE,
            create_time=received_at // 1000,
            received_at=received_at,
            raw=document,
            reason=error.reason,
        )
    return Envelope(
        event_id=event_id(corpid, event.leaves),
        corpid=corpid,
        callback=callback,
        event=event.event,
        change=event.change,
        kind=event.kind,
        object_id=event.object_id,
        userid=event.userid,
        create_time=_seconds(event.create_time, received_at),
        received_at=received_at,
        leaves=tuple(leaf for leaf in event.kept_leaves if leaf[0].rpartition("/")[2] not in _NEVER_KEPT),
    )


def event_id(corpid: str, leaves: Iterable[tuple[str, str]]) -> str:
    """SHA-256 (hex) over the corp and the canonical list of leaves, whatever their order in the document."""
    canonical = sorted(leaf for leaf in leaves if leaf[0] not in _NOT_IN_ID)
    return hashlib.sha256(
        json.dumps([corpid, canonical], ensure_ascii=False, separators=(",", ":")).encode()
    ).hexdigest()


def _seconds(create_time: int | None, received_at: int) -> int:
    """CreateTime in seconds: some senders give milliseconds, and none can be later than its arrival."""
    now = received_at // 1000
    if create_time is None or create_time <= 0:
        return now
    if create_time > 100_000_000_000:
        create_time //= 1000
    return min(create_time, now)


def encode(envelope: Envelope) -> bytes:
    """The JSON of the record."""
    return _encoder.encode(envelope)


def decode(value: bytes) -> Envelope:
    """Read a record; raises ``EnvelopeUnreadable`` for anything that is not an envelope of a schema we know."""
    try:
        schema = msgspec.json.decode(value, type=_Versioned).schema
        if schema != SCHEMA:
            raise EnvelopeUnreadable(f"schema {schema} is not known to this release")
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeUnreadable("not an envelope") from error


class _Versioned(msgspec.Struct):
    schema: int
