"""What reading one kind of object is made of, and what every kind hands to the loop that reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from wecom.client import WeComClient

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """What led to a change: an event, an employee who looked (view), or reconciliation (reconcile)."""

    source: str
    event_id: str | None = None
    happened_at: datetime | None = None


RECONCILE = Cause("reconcile")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the platform said about one object: what was found, or that it shows none (``found`` is None).

    ``fetched_at`` is when the call began, by the database's clock.
    """

    object_id: str
    fetched_at: datetime
    found: Any
    cause: Cause = RECONCILE


@dataclass(slots=True)
class Written:
    """What an answer did: whether it was news, and what should have been listed and was not.

    ``unfinished``: more of the same work is left, for the next transaction.
    """

    changed: bool = False
    unproven: bool = False
    """It differs from what was never read before, from which an answer from before the event would differ as well."""
    fetched_at: datetime | None = None
    previous_fetch: datetime | None = None
    unseen: dict[str, datetime] = field(default_factory=dict)
    """What the events say and the answer does not, to since when."""
    unfinished: bool = False
    wishes: list[tuple[str, str]] = field(default_factory=list)
    """Kinds and ids of other objects to look at because of it."""


class Kind(Protocol):
    """One kind of object."""

    name: str
    """As in ``pending_read.kind``."""

    async def read(self, client: WeComClient, corpid: str, secret_name: str, object_id: str) -> Any:
        """Ask the platform. Raises an ``ApiError``; ``NotVisible`` when it does not show the object."""
        ...

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """Write the answers that are newer than what stands, one per object; by object id what each of them did."""
        ...


class Unasked:
    """The reading of kinds of which the platform is not asked: what the events told is all that has to be done."""

    async def read(self, client: WeComClient, corpid: str, secret_name: str, object_id: str) -> str:
        """See ``Kind``."""
        return object_id


def newer(fetched_at: datetime, stands: datetime | None) -> bool:
    """Whether an answer may overwrite what another one brought."""
    return stands is None or fetched_at > stands


def gone_since(stands: datetime | None, fetched_at: datetime, *, shown: bool) -> datetime | None:
    """Since when the platform does not show the object, after an answer that showed it or not."""
    if not shown:
        return stands or fetched_at
    # A call that began later and did not show it is the newer word on that.
    return None if stands is None or stands <= fetched_at else stands
