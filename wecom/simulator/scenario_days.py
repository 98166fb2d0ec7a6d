"""When things happen on working days, the same for the same seed: for worlds whose clock is set by hand::

    scenario = Scenario(world, seed=1)
    for clock.now in working_days(monday, days=5, changes=400, seed=1):
        changes.append(scenario.next_change())

With the stories of the scenario these are days as they are: campaigns, resignations, groups that come and go.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

_DAY, _HOUR = 86_400, 3_600
_SHARES = {8: 2, 9: 8, 10: 10, 11: 8, 12: 3, 13: 5, 14: 9, 15: 9, 16: 8, 17: 7, 18: 3, 19: 2, 20: 1, 21: 1}
"""Of the hours of a day; nothing happens in the others."""
_WEEKEND = 0.2
"""So much of a working day happens on one that is none."""


def working_days(begin: float, *, days: int, changes: int, seed: int = 1) -> Iterator[float]:
    """So many moments, in their order and no two in one second, in the days after ``begin`` (Unix seconds).

    ``begin`` is midnight before a Monday, where the people are. Raises ``ValueError`` if there are not enough seconds.
    """
    source = random.Random(f"days {seed}")
    weights = [1.0 if day % 7 < 5 else _WEEKEND for day in range(days)]
    moments: set[int] = set()
    if changes > days * len(_SHARES) * _HOUR // 4:
        raise ValueError(f"{days} days are too few for {changes} changes")
    while len(moments) < changes:
        day = source.choices(range(days), weights)[0]
        hour = source.choices(list(_SHARES), list(_SHARES.values()))[0]
        moments.add(day * _DAY + hour * _HOUR + source.randrange(_HOUR))
    return (begin + moment for moment in sorted(moments))
