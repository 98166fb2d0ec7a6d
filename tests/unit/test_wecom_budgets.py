"""Budgets: rate, concurrency, shares and blocks."""

from __future__ import annotations

import asyncio

import pytest

from wecom.budgets import Budget, Budgets
from wecom.errors import RateLimited

pytestmark = pytest.mark.asyncio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """Holds a turn until told to let go."""

    def __init__(self, budget: Budget, share: str) -> None:
        self.inside = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._run(budget, share))

    async def _run(self, budget: Budget, share: str) -> None:
        async with budget.turn(share):
            self.inside.set()
            await self.leave.wait()

    async def done(self) -> None:
        self.leave.set()
        await self.task


async def all_done(*callers: Caller) -> None:
    for caller in callers:
        caller.leave.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*(caller.task for caller in callers))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_at_once_than_the_share_allows() -> None:
    budget = Budget("a", at_once=10)
    callers = [Caller(budget, "reconcile") for _ in range(8)]
    await settle()
    assert sum(caller.inside.is_set() for caller in callers) == 5
    events = [Caller(budget, "events") for _ in range(8)]
    await settle()
    assert sum(caller.inside.is_set() for caller in events) == 3
    shown = Caller(budget, "sidebar")
    await settle()
    assert shown.inside.is_set(), "an employee who looks never waits behind the others"
    await all_done(*callers, *events, shown)


async def test_the_better_share_goes_first() -> None:
    budget = Budget("a", at_once=1)
    first = Caller(budget, "sidebar")
    await settle()
    low, high = Caller(budget, "reconcile"), Caller(budget, "sidebar")
    await settle()
    await first.done()
    await settle()
    assert (high.inside.is_set(), low.inside.is_set()) == (True, False)
    await all_done(high, low)


async def test_a_caller_that_gives_up_waiting_takes_nothing_along() -> None:
    budget = Budget("a", at_once=1)
    first, second, third = (Caller(budget, "sidebar") for _ in range(3))
    await settle()
    second.task.cancel()
    await first.done()
    await settle()
    assert third.inside.is_set()
    await third.done()
    assert second.task.cancelled()


async def test_no_more_per_minute_than_allowed() -> None:
    clock = Clock()
    budget = Budget("a", calls_per_minute=10, clock=clock)
    for _ in range(5):
        async with budget.turn("reconcile"):
            pass
    waiting = Caller(budget, "reconcile")
    await settle()
    assert not waiting.inside.is_set()
    clock.now += 60
    async with budget.turn("sidebar"):
        pass
    await settle()
    assert waiting.inside.is_set()
    await waiting.done()


async def test_a_block_is_respected_and_grows() -> None:
    clock = Clock()
    budget = Budget("a", clock=clock)
    assert budget.block() == 60
    assert budget.block() == 60, "calls on their way get the same answer, and count once"
    clock.now += 20
    with pytest.raises(RateLimited) as raised:
        async with budget.turn("sidebar"):
            pytest.fail("blocked")
    assert raised.value.retry_after == 40
    clock.now += 40
    async with budget.turn("sidebar"):
        pass
    assert budget.block() == 300
    clock.now += 300
    budget.accepted()
    assert budget.block() == 60


async def test_too_concurrent_halves_and_recovers() -> None:
    clock = Clock()
    budget = Budget("a", at_once=8, clock=clock)
    budget.shrink()
    budget.shrink()
    callers = [Caller(budget, "sidebar") for _ in range(8)]
    await settle()
    assert sum(caller.inside.is_set() for caller in callers) == 4
    clock.now += 61
    budget.accepted()
    await settle()
    assert sum(caller.inside.is_set() for caller in callers) == 8
    await all_done(*callers)


async def test_corps_and_paths_do_not_share() -> None:
    budgets = Budgets()
    budgets.of("ww1", "a").block()
    budgets.of("ww1", "b").raise_block()
    budgets.of("ww2", "a").raise_block()
    with pytest.raises(RateLimited):
        budgets.of("ww1", "a").raise_block()


async def test_who_waits_for_the_rate_does_not_wait_for_a_slow_call() -> None:
    clock = Clock()
    budget = Budget("a", calls_per_minute=6000, clock=clock)
    slow = Caller(budget, "sidebar")
    await settle()
    for _ in range(2999):
        async with budget.turn("reconcile"):
            pass
    waiting = Caller(budget, "reconcile")
    await settle()
    assert not waiting.inside.is_set()
    clock.now += 1
    async with asyncio.timeout(5):
        await waiting.inside.wait()
    assert not slow.leave.is_set()
    await all_done(slow, waiting)


async def test_a_call_from_before_the_block_does_not_make_the_next_one_shorter() -> None:
    clock = Clock()
    budget = Budget("a", clock=clock)
    assert budget.block() == 60
    budget.accepted()
    clock.now += 60
    assert budget.block() == 300


async def test_a_block_that_begins_while_one_waits_is_seen() -> None:
    clock = Clock()
    budget = Budget("a", at_once=1, clock=clock)
    first, second = (Caller(budget, "sidebar") for _ in range(2))
    await settle()
    budget.block()
    await first.done()
    with pytest.raises(RateLimited):
        await second.task
    clock.now += 60
    async with budget.turn("sidebar"):
        pass
