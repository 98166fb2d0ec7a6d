"""How much may be asked: rate, concurrency and blocks, per corp and API path (document 90312).

Each caller belongs to a share. A lower share may fill the budget only up to its part, so that an employee who looks
at a customer never waits behind a reconciliation. The platform's own figures may change, so these are defaults, and
its 45009 and 45033 have the last word.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from wecom.errors import RateLimited

CALLS_PER_MINUTE = 9_000
"""Of the documented 10,000, so that other programs of the corp find something left."""
AT_ONCE = 32
SHARES = {"sidebar": 1.0, "events": 0.8, "reconcile": 0.5}
"""Share to the part of the budget it may fill; the first wins over the next."""
_ORDER = {share: number for number, share in enumerate(SHARES)}
_BLOCKS = (60.0, 300.0, 900.0, 3600.0)
_SHRUNK_SECONDS = 60.0


@dataclass(slots=True)
class _Waiter:
    share: str
    turn: asyncio.Future[None]


class Budget:
    """The budget of one API path of one corp."""

    def __init__(
        self,
        api: str,
        calls_per_minute: int = CALLS_PER_MINUTE,
        at_once: int = AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` gives seconds that never go back."""
        self._api = api
        self._clock = clock
        self._at_once = at_once
        self._most_at_once = at_once
        self._shrunk_until = 0.0
        self._in_use = 0
        self._capacity = float(calls_per_minute)
        self._left = float(calls_per_minute)
        self._filled = clock()
        self._blocked_until = 0.0
        self._blocks = 0
        self._waiting: list[tuple[int, int, _Waiter]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, share: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it for the block. Raises ``RateLimited`` while the path is blocked."""
        self.raise_block()
        if self._waiting or not self._admits(share):
            waiter = _Waiter(share, asyncio.get_running_loop().create_future())
            heapq.heappush(self._waiting, (_ORDER[share], next(self._numbers), waiter))
            self._wake()
            try:
                await waiter.turn
            except asyncio.CancelledError:
                if waiter.turn.done() and not waiter.turn.cancelled():
                    self._give_back()
                raise
        else:
            self._take()
        try:
            self.raise_block()
            yield
        finally:
            self._give_back()

    def raise_block(self) -> None:
        """Raises ``RateLimited`` with the seconds left while the path is blocked."""
        left = self._blocked_until - self._clock()
        if left > 0:
            raise RateLimited(self._api, 45009, "blocked since the last 45009", left)

    def block(self) -> float:
        """The platform said 45009; returns for how many seconds nothing is asked: longer each time in a row."""
        now = self._clock()
        if now >= self._blocked_until:
            # Many calls on their way get the same answer; only the first counts.
            self._blocked_until = now + _BLOCKS[min(self._blocks, len(_BLOCKS) - 1)]
            self._blocks += 1
        return self._blocked_until - now

    def shrink(self) -> None:
        """The platform said 45033: half as many at once, for a minute."""
        now = self._clock()
        if now < self._shrunk_until - _SHRUNK_SECONDS + 1.0:
            return
        self._at_once = max(1, self._at_once // 2)
        self._shrunk_until = now + _SHRUNK_SECONDS

    def accepted(self) -> None:
        """A call went through."""
        if self._clock() >= self._blocked_until:
            # Not one that was under way when the block began: that says nothing about its end.
            self._blocks = 0
        if self._at_once < self._most_at_once and self._clock() >= self._shrunk_until:
            self._at_once = min(self._most_at_once, self._at_once * 2)
            self._shrunk_until = self._clock() + _SHRUNK_SECONDS
            self._wake()

    def _admits(self, share: str) -> bool:
        self._fill()
        return self._has_room(share) and self._left - 1 >= self._capacity * (1 - SHARES[share])

    def _has_room(self, share: str) -> bool:
        return self._in_use < max(1, int(self._at_once * SHARES[share]))

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._capacity, self._left + (now - self._filled) * self._capacity / 60)
        self._filled = now

    def _take(self) -> None:
        self._in_use += 1
        self._left -= 1

    def _give_back(self) -> None:
        self._in_use -= 1
        self._wake()

    def _wake(self) -> None:
        """Let everybody go who may, best share first."""
        kept: list[tuple[int, int, _Waiter]] = []
        while self._waiting:
            entry = heapq.heappop(self._waiting)
            waiter = entry[2]
            if waiter.turn.done():
                continue
            if self._admits(waiter.share):
                self._take()
                waiter.turn.set_result(None)
            else:
                # Lower shares have stricter limits, so nobody behind this one may go either.
                kept.append(entry)
                break
        for entry in kept:
            heapq.heappush(self._waiting, entry)
        if self._waiting and self._timer is None and self._has_room(self._waiting[0][2].share):
            # It is the rate that is used up, and that comes back by itself, whether anybody gives a turn back or not.
            self._timer = asyncio.get_running_loop().call_later(60 / self._capacity, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._wake()


class Budgets:
    """One budget per (corpid, API path)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._budgets: dict[tuple[str, str], Budget] = {}

    def of(self, corpid: str, api: str) -> Budget:
        """The budget of this path for this corp."""
        found = self._budgets.get((corpid, api))
        if found is None:
            found = self._budgets[corpid, api] = Budget(api, clock=self._clock)
        return found
