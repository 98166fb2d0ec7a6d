"""The made-up corps and the stream of changes: reproducible, complete, within the rules."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from tests.support.simulators import AGENTID, KEY, TOKEN, Clock, tiny_world
from wecom.simulator.population import CorpSetup, small_world
from wecom.simulator.scenario import Scenario
from wecom.simulator.state import Agent, Callback
from wecom.simulator.truth import truth_of
from wecom.simulator.world import ADD, ADDS, CUSTOMER_DELETE, DELETE, Change, World

SETUPS = [
    CorpSetup(corpid, name, [Agent(AGENTID, f"secret-{corpid}")], [Callback("contacts", TOKEN, KEY, AGENTID)])
    for corpid, name in (("wwa", "Plum"), ("wwb", "North"))
]
EVENTS = 2000


def run(seed: int = 1, events: int = EVENTS, step: float = 0.03) -> tuple[World, list[Change]]:
    clock = Clock()
    world = small_world(SETUPS, seed=seed, clock=clock)
    scenario = Scenario(world, seed=seed)
    changes = []
    for _ in range(events):
        clock.tick(step)
        changes.append(scenario.next_change())
        assert changes[-1].create_time <= clock.now
    return world, changes


def test_the_small_world_has_20_employees_and_500_customers_and_no_relation() -> None:
    world = small_world(SETUPS)
    a, b = world.corps.values()
    assert (len(a.employees), len(b.employees), len(a.customers), len(b.customers)) == (10, 10, 250, 250)
    assert [one.userid for one in a.employees.values()] == [one.userid for one in b.employees.values()]
    assert any(one.userid != one.userid.lower() for one in a.employees.values())
    assert truth_of(world).customers == {}
    shared = a.customers.keys() & b.customers.keys()
    assert len(shared) == 50
    assert all(a.customers[key].name != b.customers[key].name for key in shared)
    lowered = Counter(key.lower() for key in a.customers)
    assert max(lowered.values()) == 2
    for customer in a.customers.values():
        assert (customer.unionid is None) or customer.type == 1
        assert (customer.corp_name is not None) == (customer.type == 2)
    assert {tag.type for tag in a.tags} == {1, 3}
    assert {tag.tag_id for tag in a.tags}.isdisjoint({tag.tag_id for tag in b.tags})


def test_numbers_that_do_not_divide_are_split_all_the_same() -> None:
    world = small_world(SETUPS, employees=5, customers=7)
    assert [len(corp.employees) for corp in world.corps.values()] == [3, 2]
    assert [len(corp.customers) for corp in world.corps.values()] == [4, 3]
    assert len(small_world(SETUPS, employees=60).corps["wwa"].employees) == 30


def test_the_same_seed_and_clock_make_the_same_day() -> None:
    (one, first), (other, second) = run(events=600), run(events=600)
    assert [change.leaves for change in first] == [change.leaves for change in second]
    assert truth_of(one) == truth_of(other)
    assert [change.leaves for change in run(seed=2, events=600)[1]] != [change.leaves for change in first]


def test_a_day_of_2000_events_has_everything_in_it() -> None:
    world, changes = run()
    kinds = Counter(change.change for change in changes)
    assert set(kinds) == {
        *("add_external_contact", "add_half_external_contact", "edit_external_contact", "del_external_contact"),
        *("del_follow_user", "transfer_fail", "msg_audit_approved"),
    }
    assert min(kinds.values()) > 10
    sources = Counter(dict(change.leaves).get("Source") for change in changes)
    assert sources["DELETE_BY_TRANSFER"] > 10
    truth = truth_of(world)
    assert len(truth.customers) == 500
    assert len(truth.relations) > 600
    assert len(truth.tags) > 150
    assert {by for _, by in truth.endings.values()} == {None, "employee", "customer", "transfer"}
    assert {tag["type"] for tag in truth.tags.values()} == {1, 2, 3}
    assert any(change.corpid == "wwa" for change in changes[:20])
    assert any(change.corpid == "wwb" for change in changes[:20])
    losses = [place for place, change in enumerate(changes) if change.change in {DELETE, CUSTOMER_DELETE}]
    assert losses[0] < 300
    returned = {(c.corpid, c.customer, c.employee) for c in (changes[place] for place in losses[:40])}
    assert any((c.corpid, c.customer, c.employee) in returned and c.change == ADD for c in changes[losses[40] :])
    assert any(remark is not None and len(remark["remark"]) >= 194 for remark in truth.relations.values())


def test_every_customer_and_relation_of_the_truth_was_named_by_an_event() -> None:
    world, changes = run()
    truth = truth_of(world)
    assert {(change.corpid, change.customer) for change in changes} == set(truth.customers)
    adds = {(c.corpid, c.customer, c.employee.lower()) for c in changes if c.change in ADDS}
    assert adds == set(truth.relations)


@pytest.mark.parametrize("step", [0.0, 0.03, 0.9])
def test_opposite_events_of_a_relation_are_never_in_one_second(step: float) -> None:
    _, changes = run(step=step)
    seen: defaultdict[tuple[str, str, str], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for change in changes:
        kind = "begin" if change.change in ADDS else "end" if change.change in {DELETE, CUSTOMER_DELETE} else None
        if kind:
            seen[change.corpid, change.customer, change.employee][change.create_time].add(kind)
    assert all(len(kinds) == 1 for moments in seen.values() for kinds in moments.values())


def test_maxima_of_create_time_end_at_the_truth() -> None:
    """What a reader who only has the events, in any order, can say of the endings is right."""
    world, changes = run()
    added: dict[tuple[str, str, str], int] = {}
    lost: dict[tuple[str, str, str], tuple[int, str]] = {}
    for change in reversed(changes):
        key = (change.corpid, change.customer, change.employee.lower())
        if change.change in ADDS:
            added[key] = max(added.get(key, 0), change.create_time)
        elif change.change in {DELETE, CUSTOMER_DELETE}:
            transferred = dict(change.leaves).get("Source") == "DELETE_BY_TRANSFER"
            by = "customer" if change.change == CUSTOMER_DELETE else "transfer" if transferred else "employee"
            lost[key] = max(lost.get(key, (0, "")), (change.create_time, by))
    derived = {key: lost[key] if lost.get(key, (0, ""))[0] >= at else (None, None) for key, at in added.items()}
    assert derived == truth_of(world).endings


def test_what_nobody_is_told_always_has_an_edit_to_go_with_it() -> None:
    """A reader who reads the customer after every event misses nothing."""
    clock = Clock()
    world = small_world(SETUPS, clock=clock)
    scenario = Scenario(world)
    known = {}
    for _ in range(EVENTS):
        clock.tick(0.03)
        change = scenario.next_change()
        corp = world.corps[change.corpid]
        known[change.corpid, change.customer] = (
            corp.customers[change.customer].name,
            [(one.employee, one.remark, one.remark_mobiles) for one in corp.listed(change.customer)],
        )
    for (corpid, customer), (name, relations) in known.items():
        corp = world.corps[corpid]
        assert corp.customers[customer].name == name
        assert [(one.employee, one.remark, one.remark_mobiles) for one in corp.listed(customer)] == relations


def test_it_goes_on_in_a_world_that_others_change_too() -> None:
    clock = Clock()
    world = tiny_world(clock)
    world.add("ww1", "wmA", "LiSi")
    scenario = Scenario(world)
    world.add("ww1", "woB", "LiSi")
    for _ in range(200):
        clock.tick(0.5)
        scenario.next_change()
    assert set(truth_of(world).customers) == {
        (corpid, customer) for corpid in ("ww1", "ww2") for customer in ("wmA", "woB", f"wmOnly-{corpid}")
    }


def test_an_empty_world_is_refused() -> None:
    with pytest.raises(RuntimeError, match="nothing can happen"):
        Scenario(small_world(SETUPS, employees=0, customers=0)).next_change()
