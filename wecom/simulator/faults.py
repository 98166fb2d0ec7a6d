"""Switches for everything that goes wrong on the way. All of them can be turned while the simulator runs."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

HTML, BAD_GATEWAY, TRUNCATED, EMPTY, SLOW, BUSY = "html", "bad_gateway", "truncated", "empty", "slow", "busy"
ANSWERS = (HTML, BAD_GATEWAY, TRUNCATED, EMPTY, SLOW, BUSY)
"""What a call may get instead of its answer: a page, HTTP 502, half a document, ``{}``, a late answer, errcode -1."""


class FaultRefused(Exception):
    """There is no such switch, or it can't be set like that; the message says in a sentence why."""


_SHARES = ("duplicate", "drop", "lag_share", "unseen_share")


@dataclass(slots=True)
class Switches:
    """The settings. Shares are between 0 and 1 and decided by chance; 0 switches a fault off."""

    duplicate: float = 0.0
    """Share of the pushes that are made twice."""
    drop: float = 0.0
    """Share of the changes that are never pushed."""
    reorder: int = 0
    """Pushes change places with others, by fewer than so many places."""
    hold: bool = False
    """No try of a push begins; what is made meanwhile waits."""
    lag_share: float = 0.0
    """Share of the changes that the API shows ``lag_seconds`` late."""
    lag_seconds: float = 3.0
    chat_lag_seconds: float = 2.0
    """How late the API shows any change of a group, as the platform does; 0: at once."""
    unseen_share: float = 0.0
    """Share of the adds whose relation is missing from the first ``unseen_reads`` reads of the customer (84061 if the
    customer has nobody else)."""
    unseen_reads: int = 1
    revoke_every: int = 0
    """All tokens are revoked after so many calls."""
    at_once: int = 0
    """Calls of one path of one corp at the same time; one more gets 45033."""
    latency_seconds: float = 0.0
    """Every call takes so long at least."""
    slow_seconds: float = 30.0
    """How late a slow answer comes."""


class Faults:
    """The switches, and what is left of those that end by themselves."""

    def __init__(self, *, seed: int = 1, clock: Callable[[], float] = time.time, **switches: Any) -> None:
        """``switches`` are fields of ``Switches``; ``clock`` gives Unix seconds."""
        self.random = random.Random(seed)
        self.clock = clock
        self.released = asyncio.Event()
        self.released.set()
        self._switches = Switches()
        self._answers: deque[str] = deque()
        self._limited: dict[str, float] = {}
        self._names = {field.name for field in fields(Switches)}
        self.set(**switches)

    @property
    def now(self) -> Switches:
        """The settings to go by; changed with ``set`` only."""
        return self._switches

    def set(self, **switches: Any) -> None:
        """Change some of the settings. Raises ``FaultRefused`` in words, and then none of them is changed."""
        checked = {name: self._checked(name, value) for name, value in switches.items()}
        for name, value in checked.items():
            setattr(self._switches, name, value)
        if self._switches.hold:
            self.released.clear()
        else:
            self.released.set()

    def chance(self, share: float) -> bool:
        """True in that share of the cases."""
        return share > 0 and self.random.random() < share

    def answer_next(self, kind: str, calls: int = 1) -> None:
        """The next calls get one of ``ANSWERS`` instead of their own answer. Raises ``FaultRefused``."""
        if kind not in ANSWERS:
            raise FaultRefused(f"there is no answer {kind!r}; there are {', '.join(ANSWERS)}")
        if calls < 0:
            raise FaultRefused("the number of calls must not be negative")
        self._answers.extend([kind] * calls)

    def take_answer(self) -> str | None:
        """What this call gets instead of its answer."""
        return self._answers.popleft() if self._answers else None

    def rate_limit(self, corpid: str, seconds: float) -> None:
        """Every call of that corp but gettoken gets 45009 for so long; 0 ends it."""
        self._limited[corpid] = self.clock() + seconds

    def is_limited(self, corpid: str) -> bool:
        """Whether the corp is limited now."""
        return self.clock() < self._limited.get(corpid, 0.0)

    def as_json(self) -> dict[str, Any]:
        """Everything that is switched on, for people."""
        now = self.clock()
        return {
            **{name: getattr(self._switches, name) for name in sorted(self._names)},
            "next_answers": list(self._answers),
            "rate_limited": {corpid: round(until - now, 1) for corpid, until in self._limited.items() if until > now},
        }

    def _checked(self, name: str, value: Any) -> Any:
        if name not in self._names:
            raise FaultRefused(f"there is no switch {name!r}; there are {', '.join(sorted(self._names))}")
        if name == "hold":
            if not isinstance(value, bool):
                raise FaultRefused("hold must be true or false")
            return value
        whole = isinstance(getattr(Switches(), name), int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value < 0:
            raise FaultRefused(f"{name} must be a {'whole number' if whole else 'number'} of 0 or more")
        if name in _SHARES and value > 1:
            raise FaultRefused(f"{name} is a share, so it must be between 0 and 1")
        return value if whole else float(value)
