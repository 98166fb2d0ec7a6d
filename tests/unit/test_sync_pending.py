"""The life of a row in pending_read: how often an object is read before it is left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sync.dead_letters import Ceiling, TooManyDeadLetters
from sync.objects.base import Written
from sync.pending import CONFIRM_AFTER, RECHECK, UNSEEN_LADDER, Claim, Next, plan, postpone

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def row(stage: str = "first", events: int = 1, attempts: int = 0, **more: datetime) -> Claim:
    asked = NOW - timedelta(seconds=1)
    rechecks = (more.get("recheck_at"), more.get("recheck_last_at"))
    return Claim("customer", "wmA", 1, stage, events, attempts, asked, *rechecks)


def seconds(after: Next | None) -> float:
    assert after is not None
    return (after.due_at - NOW).total_seconds()


def test_a_single_event_whose_read_brought_news_is_done_after_one_read() -> None:
    assert plan(row(), Written(changed=True), NOW) is None


@pytest.mark.parametrize(
    ("claim", "written"),
    [
        pytest.param(row(), Written(changed=False), id="nothing changed"),
        pytest.param(row(events=2), Written(changed=True), id="several events"),
        pytest.param(row(), Written(True, previous_fetch=NOW - timedelta(seconds=5)), id="read shortly before"),
    ],
)
def test_a_doubtful_first_read_is_confirmed_once(claim: Claim, written: Written) -> None:
    after = plan(claim, written, NOW)
    assert after is not None
    assert after.stage == "confirm"
    assert after.due_at == claim.wanted_at + CONFIRM_AFTER
    assert plan(row("confirm", events=2), Written(changed=False), NOW) is None


def test_a_relation_that_is_not_listed_is_read_again_up_the_ladder_and_no_further() -> None:
    unseen = Written(unseen={"zhangsan": NOW})
    assert seconds(plan(row(), unseen, NOW)) == UNSEEN_LADDER[0].total_seconds()
    steps = []
    for attempts in range(1, len(UNSEEN_LADDER)):
        after = plan(row("unseen", attempts=attempts), unseen, NOW)
        assert after is not None
        assert (after.stage, after.attempts) == ("unseen", attempts + 1)
        steps.append(seconds(after))
    assert steps == [step.total_seconds() for step in UNSEEN_LADDER[1:]]
    assert plan(row("unseen", attempts=len(UNSEEN_LADDER)), unseen, NOW) is None
    for key, reason in (("zhangsan", "a relation is not listed"), ("", "the answer contradicts the events")):
        after = plan(row(), Written(unseen={key: NOW}), NOW)
        assert after is not None
        assert after.reason == reason


def test_a_relation_out_of_sight_for_long_is_left_to_reconciliation() -> None:
    gone = Written(changed=True, unseen={"zhangsan": NOW - timedelta(hours=1)})
    assert plan(row(), gone, NOW) is None


def test_a_transfer_is_looked_at_after_a_minute_and_after_a_day() -> None:
    first, last = (NOW + wait for wait in RECHECK)
    after = plan(row(recheck_at=first, recheck_last_at=last), Written(changed=True), NOW)
    assert after == Next("recheck", first, 0, "transferred", first, last)
    after = plan(row("recheck", recheck_at=first, recheck_last_at=last), Written(), first)
    assert after == Next("recheck", last, 0, "transferred", last, None)
    assert plan(row("recheck", recheck_at=last), Written(), last) is None


def test_an_event_in_the_minute_after_a_transfer_does_not_take_the_look_after_it() -> None:
    """The add of the employee who takes over comes about then."""
    first, last = (NOW + wait for wait in RECHECK)
    after = plan(row("first", recheck_at=first, recheck_last_at=last), Written(changed=True), first - CONFIRM_AFTER)
    assert after == Next("recheck", first, 0, "transferred", first, last)


def test_a_relation_that_is_listed_at_last_is_confirmed_while_the_api_may_lag() -> None:
    listed = Written(changed=True, fetched_at=NOW, previous_fetch=NOW - timedelta(seconds=2))
    after = plan(row("unseen", attempts=1), listed, NOW)
    assert after is not None
    assert (after.stage, after.due_at) == ("confirm", NOW - timedelta(seconds=1) + CONFIRM_AFTER)
    listed.fetched_at = NOW + CONFIRM_AFTER
    assert plan(row("unseen", attempts=2), listed, NOW + CONFIRM_AFTER) is None


def test_a_first_read_that_came_late_needs_no_confirming() -> None:
    """After an outage every object would be read twice for nothing."""
    asked = NOW - timedelta(seconds=1)
    for late, confirmed in ((timedelta(seconds=4), True), (timedelta(seconds=5), False)):
        after = plan(row(events=9), Written(fetched_at=asked + late), NOW + timedelta(seconds=9))
        assert (after is not None) == confirmed


def test_events_are_counted_until_an_answer_came() -> None:
    assert postpone(row(events=3), NOW, "-1").events == 3
    after = plan(row(events=3), Written(unseen={"zhangsan": NOW}), NOW)
    assert after is not None
    assert after.events == 3
    after = plan(row(events=3), Written(changed=True), NOW)
    assert after is not None
    assert (after.stage, after.events) == ("confirm", 0)


def test_without_an_answer_the_wait_grows_to_ten_minutes() -> None:
    waits = [seconds(postpone(row(attempts=attempts), NOW, "-1")) for attempts in range(12)]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits == sorted(waits)
    assert waits[-1] == 600


def test_a_block_is_waited_out_and_is_no_failure() -> None:
    after = postpone(row(attempts=3), NOW, "45009", wait=3600)
    assert (seconds(after), after.attempts, after.stage) == (3600, 3, "first")


def test_a_failed_read_is_no_step_of_the_ladder() -> None:
    assert postpone(row("unseen", attempts=2), NOW, "-1").attempts == 2


def test_the_ceiling_stops_a_run() -> None:
    ceiling = Ceiling(run=3)
    for _ in range(3):
        ceiling.note(True)
    with pytest.raises(TooManyDeadLetters):
        ceiling.note(True)


def test_the_ceiling_stops_a_share_and_forgets_what_is_long_ago() -> None:
    ceiling = Ceiling(run=100, share=0.1, window=20)
    for _ in range(50):
        ceiling.note(True)
        for _ in range(19):
            ceiling.note(False)
    ceiling.note(True)
    ceiling.note(True)
    with pytest.raises(TooManyDeadLetters):
        ceiling.note(True)
