"""How often one employee may do what costs something. Counted in this process only."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from sidebar.answers import Refusal

_REMEMBERED = 20_000


class Limit:
    """``count`` at once, and as many again within ``seconds``, for each key by itself."""

    def __init__(self, count: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that never go back."""
        self._count = float(count)
        self._rate = count / seconds
        self._clock = clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait_for(self, key: Hashable) -> float:
        """Take one; 0 if there was one, else for how many seconds there is none (and none is taken)."""
        now = self._clock()
        left, since = self._left.get(key, (self._count, now))
        left = min(self._count, left + (now - since) * self._rate)
        allowed = left >= 1
        self._left[key] = (left - 1 if allowed else left, now)
        self._left.move_to_end(key)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate

    def take(self, key: Hashable) -> None:
        """Take one. Raises a ``Refusal`` when there is none."""
        wait = self.wait_for(key)
        if wait > 0:
            raise Refusal(429, "too_many", retry_after=max(1, round(wait)))
