"""Facts are maxima of CreateTime, and a relation is lost by a rule that does not know the order of arrival."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import permutations
from operator import or_

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.envelope import Envelope
from sync.effects import Effect, EventUnusable, effect_of, fold_facts
from sync.facts import Facts, lost

TEN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


LOOK = (("customer", "wmA"),)


def at(minutes: float) -> datetime:
    return TEN + timedelta(minutes=minutes)


def event(change: str, minutes: float = 0, **more: object) -> Envelope:
    values: dict[str, object] = {
        "event_id": "e",
        "corpid": "ww1",
        "callback": "contacts",
        "event": "change_external_contact",
        "change": change,
        "kind": "customer",
        "object_id": "wmA",
        "userid": "zhangsan",
        "create_time": int(at(minutes).timestamp()),
        "received_at": int(at(minutes).timestamp() * 1000),
    }
    return Envelope(**(values | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["add_external_contact", "add_half_external_contact"])
def test_an_add_is_a_fact_and_a_wish_to_read(change: str) -> None:
    assert effect_of(event(change)) == Effect(True, "wmA", "zhangsan", Facts(add_at=TEN), wishes=LOOK)


@pytest.mark.parametrize(
    ("change", "leaves", "by"),
    [
        ("del_external_contact", (), "employee"),
        ("del_external_contact", (("Source", "DELETE_BY_TRANSFER"),), "transfer"),
        ("del_follow_user", (), "customer"),
    ],
)
def test_who_ended_it_comes_from_the_event(change: str, leaves: tuple[tuple[str, str], ...], by: str) -> None:
    effect = effect_of(event(change, leaves=leaves))
    assert effect.facts == Facts(loss_at=TEN, loss_by=by)
    assert effect.transferred == (by == "transfer")


@pytest.mark.parametrize("change", ["edit_external_contact", "transfer_fail", "msg_audit_approved"])
def test_other_changes_only_ask_for_a_look(change: str) -> None:
    assert effect_of(event(change)) == Effect(True, "wmA", "zhangsan", wishes=LOOK)


@pytest.mark.parametrize(
    "odd", [event("something_new"), event("add_external_contact", event="change_external_chat"), event("", event="kf")]
)
def test_what_we_do_not_know_is_kept_and_does_nothing(odd: Envelope) -> None:
    assert effect_of(odd) == Effect(known=False)


@pytest.mark.parametrize(
    "bad",
    [
        event("edit_external_contact", object_id=None),
        event("add_external_contact", userid=None),
        event("add_external_contact", object_id="w" * 129),
        event("something_new", userid="z" * 129),
    ],
)
def test_an_event_that_lacks_what_it_needs_is_unusable(bad: Envelope) -> None:
    with pytest.raises(EventUnusable):
        effect_of(bad)


@pytest.mark.parametrize("order", list(permutations([0, 1, 2])))
@pytest.mark.parametrize("loss", ["del_follow_user", "del_external_contact"])
def test_add_loss_add_ends_standing_in_every_order(order: tuple[int, ...], loss: str) -> None:
    events = [event("add_external_contact", 0), event(loss, 5), event("add_external_contact", 9)]
    facts = fold_facts(effect_of(events[index]) for index in order)[("wmA", "zhangsan")]
    assert (facts.add_at, facts.loss_at) == (at(9), at(5))
    assert lost(facts, None, None) == (None, None)


moments = st.none() | st.integers(0, 5).map(at)
facts_strategy = st.builds(
    lambda add, loss, by: Facts(add, loss, by if loss else None),
    moments,
    moments,
    st.sampled_from(["employee", "customer", "transfer"]),
)


@given(st.lists(facts_strategy, max_size=5), st.randoms())
def test_facts_come_out_the_same_in_any_order_and_repeated(many: list[Facts], random: object) -> None:
    shuffled = [*many, *many]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reduce(or_, shuffled, Facts()) == reduce(or_, many, Facts())


def test_two_losses_in_one_second_are_the_customers() -> None:
    employee, customer = Facts(loss_at=TEN, loss_by="employee"), Facts(loss_at=TEN, loss_by="customer")
    assert employee | customer == customer | employee == customer


@pytest.mark.parametrize(
    ("facts", "createtime", "fetched_at", "expected"),
    [
        pytest.param(Facts(add_at=at(0)), 0, at(1), (None, None), id="never lost"),
        pytest.param(Facts(at(0), at(5), "customer"), 0, at(6), (at(5), "customer"), id="still listed, still lost"),
        pytest.param(Facts(at(5), at(5), "customer"), None, None, (at(5), "customer"), id="one second: lost"),
        pytest.param(Facts(at(0), at(5), "customer"), int(at(6).timestamp()), at(7), (None, None), id="added again"),
        pytest.param(Facts(None, at(5), "employee"), None, None, (at(5), "employee"), id="loss seen first"),
        pytest.param(Facts(at(0), at(5), "employee"), 0, at(5 + 1441), (None, None), id="listed a day later"),
        pytest.param(Facts(at(0), at(5), "transfer"), 0, at(5 + 1441), (None, None), id="transferred back"),
        pytest.param(Facts(at(0), at(5), "employee"), 0, at(5 + 1440), (at(5), "employee"), id="not later than a day"),
        pytest.param(Facts(at(0), at(5), "customer"), 0, at(9999), (at(5), "customer"), id="a customer's is final"),
    ],
)
def test_when_a_relation_is_lost(
    facts: Facts, createtime: int | None, fetched_at: datetime | None, expected: tuple[object, object]
) -> None:
    assert lost(facts, createtime, fetched_at) == expected
