"""An event as every family has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Leaves = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. ``kind`` and ``object_id`` name what changed (None: not known to this release, or nothing does).

    ``userid`` is the member concerned, in lower case because the platform compares member ids so (document 98728).
    ``create_time`` is as it was sent, in seconds for all but a few senders; None if there was none.
    """

    event: str
    change: str
    create_time: int | None
    leaves: Leaves
    kind: str | None = None
    object_id: str | None = None
    userid: str | None = None

    @property
    def kept_leaves(self) -> Leaves:
        """The leaves that may be stored: all of them, unless the family carries personal data."""
        return self.leaves


Texts = Mapping[str, str]
"""First leaf of each path."""
Parse = Callable[[Texts, Leaves], Event]


def head(texts: Texts) -> tuple[str, str, int | None]:
    """Event, ChangeType and CreateTime. Suite callbacks say InfoType and TimeStamp instead (document 92277)."""
    event = texts.get("Event") or texts.get("InfoType") or texts.get("MsgType") or ""
    moment = texts.get("CreateTime") or texts.get("TimeStamp") or ""
    # isascii: isdecimal alone takes digits of other scripts.
    number = int(moment) if moment.isascii() and moment.isdecimal() and len(moment) <= 16 else None
    return event, texts.get("ChangeType", ""), number


def member(texts: Texts, name: str = "UserID") -> str | None:
    """A member id in lower case, None if absent or empty."""
    return texts.get(name, "").lower() or None
