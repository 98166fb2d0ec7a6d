"""What could not be applied: kept with its bytes and a reason, and never without a limit.

If everything fails, the fault is ours and setting it all aside would hide it: above a ceiling the consumer stops
with its position unmoved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import dead_letter
from core.db.types import ID_LENGTH
from core.db.upsert import insert_ignore
from core.eventlog.base import Record


class TooManyDeadLetters(Exception):
    """The ceiling is reached: look at the table ``dead_letter`` and at the log before starting again."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is set aside. ``reason`` carries no personal data, ``received_at`` is in milliseconds."""

    record: Record
    corpid: str
    reason: str
    payload: bytes
    received_at: int
    event_id: str | None = None


class Ceiling:
    """Counts in memory: at most ``run`` in a row, and ``share`` of the last ``window``.

    What a batch would add is tried on a copy, which replaces the original once the batch is committed.
    """

    def __init__(self, run: int, share: float = 1.0, window: int = 1000) -> None:
        self._run_limit = run
        self._limit = share * window
        self._recent: deque[bool] = deque(maxlen=window)
        self._failed = 0
        self._run = 0

    def copy(self) -> Ceiling:
        """One that counts on from here by itself."""
        other = copy(self)
        other._recent = self._recent.copy()
        return other

    def note(self, failed: bool) -> None:
        """Count one; raises ``TooManyDeadLetters`` above the ceiling."""
        if len(self._recent) == self._recent.maxlen:
            self._failed -= self._recent[0]
        self._recent.append(failed)
        self._failed += failed
        self._run = self._run + 1 if failed else 0
        if self._run > self._run_limit or self._failed > self._limit:
            raise TooManyDeadLetters(
                f"{self._run} records in a row and {self._failed} of the last {len(self._recent)} failed"
            )


async def set_aside(
    conn: AsyncConnection, dialect: str, log_id: str, letters: Sequence[DeadLetter], now: datetime
) -> None:
    """Write them in the caller's transaction, so that each is there if the position moved past it.

    One that is there already stays as it is: somebody set the position back to have a stretch applied again.
    """
    if letters:
        await conn.execute(
            insert_ignore(dialect, dead_letter, ("log_id", "partition", "position")),
            [
                {
                    "corpid": letter.corpid[:ID_LENGTH],
                    "log_id": log_id,
                    "partition": letter.record.partition,
                    "position": letter.record.position,
                    "event_id": letter.event_id,
                    "reason": letter.reason,
                    "payload": letter.payload,
                    "received_at": datetime.fromtimestamp(letter.received_at / 1000, UTC),
                    "recorded_at": now,
                }
                for letter in letters
            ],
        )
