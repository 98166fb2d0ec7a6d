"""How often somebody may do something."""

from __future__ import annotations

import pytest

from sidebar.answers import Refusal
from sidebar.limits import Limit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_at_once_and_more_with_time() -> None:
    clock = Clock()
    limit = Limit(3, 60, clock)
    assert [limit.wait_for("a") for _ in range(3)] == [0, 0, 0]
    assert limit.wait_for("a") == pytest.approx(20)
    # Asking in vain costs nothing.
    assert limit.wait_for("a") == pytest.approx(20)
    clock.now += 20
    assert limit.wait_for("a") == 0
    clock.now += 1000
    assert [limit.wait_for("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_each_by_itself() -> None:
    limit = Limit(1, 60, Clock())
    assert limit.wait_for("a") == 0
    assert limit.wait_for("b") == 0
    with pytest.raises(Refusal) as raised:
        limit.take("a")
    assert (raised.value.status, raised.value.code, raised.value.more) == (429, "too_many", {"retry_after": 60})


def test_it_remembers_only_so_many() -> None:
    limit = Limit(1, 60, Clock())
    for number in range(50_000):
        limit.wait_for(number)
    assert len(limit._left) <= 20_000
    assert limit.wait_for(49_999) > 0
