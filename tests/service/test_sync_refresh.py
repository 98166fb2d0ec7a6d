"""Reading what is due: how often, in which order, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from core.db.tables import customer, customer_follow, pending_read
from core.db.wishes import SPACING
from sync import refresh
from sync.pending import CONFIRM_AFTER, RECHECK, UNSEEN_LADDER
from sync.refresh import AT_ONCE, MOST_AT_ONCE, SLOW
from tests.support.crm import rows
from tests.support.loopback_api import follower
from tests.support.refreshing import Clock, Desk, desk_at
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as made:
        yield made


async def test_one_read_per_customer_however_many_events(desk: Desk) -> None:
    for name in ("wmA", "wmB", "wmC"):
        desk.api.show(name, follower())
    await desk.want("wmA", "wmB", "wmC", times=7)
    await desk.want("wmB", times=7)
    await desk.drain()
    assert sorted(desk.api.read_of()) == ["wmA", "wmB", "wmC"]
    assert desk.api.tokens_asked["ww1"] == 1


async def test_an_event_whose_read_brings_news_is_done_after_one_read(desk: Desk) -> None:
    desk.api.show("wmA", follower())
    await desk.want("wmA")
    await desk.drain()
    assert await desk.pending() is None
    (row,) = await rows(desk.database, customer)
    assert row["name"] == "Lin"
    assert desk.state[0] == "ok"


async def test_a_read_that_changes_nothing_is_confirmed_once_five_seconds_after_the_event(desk: Desk) -> None:
    desk.api.show("wmA", follower())
    await desk.want("wmA")
    await desk.drain()
    await desk.want("wmA")
    await desk.drain()
    row = await desk.pending()
    assert row is not None
    assert (row["stage"], row["due_at"] - row["wanted_at"], row["events"]) == ("confirm", CONFIRM_AFTER, 0)
    # What the API had not caught up with before.
    desk.api.show("wmA", follower(remark="edited"))
    await desk.drain()
    assert len(desk.api.reads) == 2
    await desk.later(5)
    await desk.drain()
    assert len(desk.api.reads) == 3
    assert await desk.pending() is None
    (relation,) = await rows(desk.database, customer_follow)
    assert relation["remark"] == "edited"


async def test_a_customer_asked_for_while_being_read_is_read_again(desk: Desk) -> None:
    desk.api.show("wmA", follower())
    desk.api.held.add(("ww1", "wmA"))
    await desk.want("wmA")
    reading = asyncio.create_task(desk.turn())
    await until(lambda: len(desk.api.reads) == 1)
    await desk.want("wmA")
    desk.api.release()
    await reading
    row = await desk.pending()
    assert row is not None
    assert (row["stage"], row["version"], row["leased_until"], row["events"]) == ("first", 2, None, 2)
    # Not in the same breath: the API has hardly changed since.
    assert row["due_at"] - row["wanted_at"] == SPACING
    await desk.later(2)
    await desk.drain()
    assert len(desk.api.reads) == 2


async def test_while_events_wait_in_line_what_they_named_is_not_read(desk: Desk) -> None:
    behind = True
    desk.refresher._behind = lambda: behind
    desk.api.show("wmA", follower())
    await desk.want("wmA", more_to_come=True)
    await desk.drain()
    assert desk.api.reads == []
    behind = False
    await desk.drain()
    assert desk.api.read_of() == ["wmA"]


async def test_who_is_in_a_hurry_does_not_wait_for_the_next_round(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "GATHER", 60.0)
    for name in ("wmA", "wmB"):
        desk.api.show(name, follower())
    await desk.want("wmA")
    running = asyncio.create_task(desk.refresher.run(desk.stopping))
    await until(lambda: desk.api.read_of() == ["wmA"])
    await desk.want("wmB")
    desk.refresher.wake(hurry=True)
    await until(lambda: desk.api.read_of() == ["wmA", "wmB"])
    desk.stopping.set()
    await asyncio.wait_for(running, 2)


@pytest.mark.parametrize("visible", [True, False], ids=["left out", "84061"])
async def test_after_an_add_it_is_read_until_the_relation_is_listed(desk: Desk, visible: bool) -> None:
    if visible:
        desk.api.show("wmA", follower("lisi"))
    await desk.added()
    await desk.drain()
    for step, wait in enumerate(UNSEEN_LADDER):
        row = await desk.pending()
        assert row is not None
        assert (row["stage"], row["attempts"], row["reason"]) == ("unseen", step + 1, "a relation is not listed")
        assert row["due_at"] - row["read_at"] >= wait
        assert len(desk.api.reads) == step + 1
        relation = (await rows(desk.database, customer_follow))[-1]
        assert relation["follow_userid"] == "zhangsan"
        assert relation["unseen_since"] is not None
        assert relation["lost_at"] is None
        if step + 1 == len(UNSEEN_LADDER):
            desk.api.show("wmA", follower("lisi"), follower("zhangsan"))
        await desk.later(wait.total_seconds() + 1)
        await desk.drain()
    assert await desk.pending() is None
    assert (await rows(desk.database, customer_follow))[-1]["unseen_since"] is None


async def test_at_the_end_of_the_ladder_it_is_left_to_reconciliation(desk: Desk) -> None:
    await desk.added()
    await desk.drain()
    for wait in UNSEEN_LADDER:
        await desk.later(wait.total_seconds() + 1)
        await desk.drain()
    assert await desk.pending() is None
    assert len(desk.api.reads) == 1 + len(UNSEEN_LADDER)
    (relation,) = await rows(desk.database, customer_follow)
    assert relation["lost_at"] is None


async def test_after_a_transfer_it_is_read_a_minute_and_a_day_later(desk: Desk) -> None:
    desk.api.show("wmA", follower())
    await desk.want("wmA", transferred=True)
    await desk.drain()
    for number, wait in enumerate(RECHECK, 1):
        row = await desk.pending()
        assert row is not None
        assert (row["stage"], row["reason"], len(desk.api.reads)) == ("recheck", "transferred", number)
        assert row["due_at"] - row["wanted_at"] == wait
        await desk.later((row["due_at"] - row["read_at"]).total_seconds() + 1)
        await desk.drain()
    assert await desk.pending() is None


async def test_more_than_fit_into_one_round_are_all_read_the_longest_due_first(desk: Desk) -> None:
    crowd = [f"wm{number:03}" for number in range(3 * AT_ONCE + 5)]
    for name in crowd:
        desk.api.show(name, follower())
    await desk.want(*crowd[AT_ONCE:])
    await desk.later(10)
    await desk.want(*crowd[:AT_ONCE])
    await desk.drain()
    assert sorted(desk.api.read_of()) == crowd
    assert set(desk.api.read_of()[-AT_ONCE:]) == set(crowd[:AT_ONCE])
    assert await rows(desk.database, pending_read) == []


async def test_a_failing_object_does_not_stand_in_the_way_of_those_behind_it(desk: Desk) -> None:
    crowd = [f"wm{number:03}" for number in range(2 * AT_ONCE)]
    for name in crowd[AT_ONCE:]:
        desk.api.show(name, follower())
    for name in crowd[:AT_ONCE]:
        desk.api.codes["ww1", name] = -1
    await desk.want(*crowd)
    await desk.turn()
    await desk.turn()
    assert set(desk.api.read_of()) == set(crowd)
    assert {row["object_id"] for row in await rows(desk.database, pending_read)} == set(crowd[:AT_ONCE])


async def test_rounds_grow_while_answers_come_quickly_and_are_small_again_when_they_do_not(tmp_path: Path) -> None:
    clock = Clock()
    async with desk_at(tmp_path, clock) as desk:
        crowd = [f"wm{number}" for number in range(450)]
        for userid in crowd:
            desk.api.show(userid, follower())
        await desk.want(*crowd)
        sizes: list[int] = []

        async def turn() -> None:
            before = len(desk.api.reads)
            await desk.turn()
            sizes.append(len(desk.api.reads) - before)

        for _ in range(4):
            await turn()
        assert sizes == [AT_ONCE, 2 * AT_ONCE, MOST_AT_ONCE, MOST_AT_ONCE]
        clock.step = SLOW
        await turn()
        clock.step = 0.0
        await desk.want(*crowd[:100])
        await desk.later(60)
        await turn()
        assert sizes[-1] == AT_ONCE
