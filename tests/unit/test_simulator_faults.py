"""The switches, and what the API shows late or not at all because of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.simulators import STAGE, Clock, listed, tiny_world
from wecom.simulator.faults import FaultRefused, Faults
from wecom.simulator.visibility import Visibility
from wecom.simulator.world import World

PAIR = ("ww1", "wmA", "ZhangSan")


class Bench:
    def __init__(self, **switches: Any) -> None:
        self.clock = Clock()
        self.faults = Faults(clock=self.clock, **switches)
        self.world: World = tiny_world(self.clock)
        self.visibility = Visibility(self.faults)
        self.world.observers.append(self.visibility)

    def shown(self, **page: bool) -> list[str]:
        return listed(self.visibility.view(self.world.corp("ww1"), "wmA", **page).followers)

    def remark(self) -> str:
        text: str = self.visibility.view(self.world.corp("ww1"), "wmA").followers[0]["remark"]
        return text


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"duplicat": 0.1}, "no switch 'duplicat'"),
        ({"duplicate": 1.5}, "between 0 and 1"),
        ({"duplicate": -0.1}, "0 or more"),
        ({"duplicate": "much"}, "must be a number"),
        ({"drop": True}, "must be a number"),
        ({"reorder": 2.5}, "whole number"),
        ({"hold": 1}, "true or false"),
        ({"lag_seconds": 1, "lag_share": 2}, "between 0 and 1"),
    ],
)
def test_a_wrong_setting_is_refused_in_words_and_changes_nothing(switches: dict[str, Any], words: str) -> None:
    faults = Faults(lag_seconds=2)
    before = faults.as_json()
    with pytest.raises(FaultRefused, match=words):
        faults.set(**switches)
    assert faults.as_json() == before


def test_switches_can_be_turned_at_any_time() -> None:
    faults = Faults(duplicate=0.1, reorder=12)
    faults.set(duplicate=0, hold=True)
    assert (faults.now.duplicate, faults.now.reorder, faults.released.is_set()) == (0.0, 12, False)
    faults.set(hold=False)
    assert faults.released.is_set()


def test_answers_and_rate_limits_end_by_themselves() -> None:
    clock = Clock()
    faults = Faults(clock=clock)
    faults.answer_next("html", 2)
    faults.answer_next("empty")
    assert [faults.take_answer() for _ in range(4)] == ["html", "html", "empty", None]
    with pytest.raises(FaultRefused, match="bad_gateway"):
        faults.answer_next("nonsense")
    with pytest.raises(FaultRefused, match="negative"):
        faults.answer_next("html", -1)
    faults.rate_limit("ww1", 60)
    clock.tick(59)
    assert (faults.is_limited("ww1"), faults.is_limited("ww2")) == (True, False)
    assert faults.as_json()["rate_limited"] == {"ww1": 1.0}
    clock.tick(1)
    assert not faults.is_limited("ww1")


def test_chance_keeps_to_the_share() -> None:
    faults = Faults(seed=3)
    assert not any(faults.chance(0.0) for _ in range(100))
    assert all(faults.chance(1.0) for _ in range(100))
    assert 60 < sum(faults.chance(0.1) for _ in range(1000)) < 140


def test_a_change_that_lags_is_shown_when_its_time_is_over() -> None:
    bench = Bench(lag_seconds=3)
    bench.world.add(*PAIR, remark="old")
    bench.faults.set(lag_share=1.0)
    bench.world.edit(*PAIR, remark="new")
    assert bench.remark() == "old"
    bench.clock.tick(2.9)
    assert bench.remark() == "old"
    bench.clock.tick(0.1)
    assert bench.remark() == "new"


def test_each_of_several_changes_that_lag_has_its_own_time() -> None:
    bench = Bench(lag_seconds=3)
    bench.world.add(*PAIR, remark="0")
    bench.faults.set(lag_share=1.0)
    bench.world.edit(*PAIR, remark="1")
    bench.clock.tick(2)
    bench.world.edit(*PAIR, remark="2")
    bench.faults.set(lag_share=0)
    # What comes behind a change that lags is not shown before it.
    bench.world.edit(*PAIR, remark="3")
    assert bench.remark() == "0"
    bench.clock.tick(1)
    assert bench.remark() == "1"
    bench.clock.tick(2)
    assert bench.remark() == "3"


def test_the_view_before_is_a_copy_tags_and_nickname_included() -> None:
    bench = Bench(lag_share=1.0)
    bench.world.add(*PAIR)
    bench.clock.tick(10)
    bench.world.mark(*PAIR, add=[STAGE])
    bench.world.set_profile("ww1", "wmA", name="other")
    view = bench.visibility.view(bench.world.corp("ww1"), "wmA")
    assert (view.contact["name"], view.followers[0]["tags"]) == ("Anna of ww1", [])
    bench.clock.tick(10)
    view = bench.visibility.view(bench.world.corp("ww1"), "wmA")
    assert (view.contact["name"], len(view.followers[0]["tags"])) == ("other", 1)


def test_a_lag_concerns_that_customer_of_that_corp_only() -> None:
    bench = Bench(lag_share=1.0)
    bench.world.add(*PAIR)
    bench.faults.set(lag_share=0)
    bench.world.add("ww2", "wmA", "ZhangSan")
    bench.world.add("ww1", "woB", "ZhangSan")
    assert bench.shown() == []
    for corpid, customer in (("ww2", "wmA"), ("ww1", "woB")):
        assert listed(bench.visibility.view(bench.world.corp(corpid), customer).followers) == ["ZhangSan"]


def test_a_deletion_that_lags_is_listed_for_a_while() -> None:
    bench = Bench()
    bench.world.add(*PAIR)
    bench.clock.tick()
    bench.faults.set(lag_share=1.0)
    bench.world.delete(*PAIR)
    assert bench.shown() == ["ZhangSan"]
    bench.clock.tick(3)
    assert bench.shown() == []


def test_the_first_reads_after_an_add_miss_the_new_follower() -> None:
    bench = Bench(unseen_reads=2)
    bench.world.add("ww1", "wmA", "LiSi")
    bench.faults.set(unseen_share=1.0)
    bench.world.add(*PAIR)
    assert [bench.shown() for _ in range(3)] == [["LiSi"], ["LiSi"], ["LiSi", "ZhangSan"]]


def test_an_edit_is_never_unseen() -> None:
    bench = Bench()
    bench.world.add(*PAIR)
    bench.faults.set(unseen_share=1.0)
    bench.world.edit(*PAIR, remark="new")
    assert bench.remark() == "new"


def test_a_further_page_is_no_further_read() -> None:
    bench = Bench(unseen_share=1.0)
    bench.world.add(*PAIR)
    assert bench.shown(first_page=False) == ["ZhangSan"]
    assert [bench.shown(), bench.shown()] == [[], ["ZhangSan"]]


def test_an_add_either_lags_or_is_unseen() -> None:
    """One after the other would take longer than anybody waits for an add."""
    bench = Bench(lag_share=1.0, unseen_share=1.0)
    bench.world.add(*PAIR)
    bench.clock.tick(5)
    assert bench.shown() == ["ZhangSan"]
