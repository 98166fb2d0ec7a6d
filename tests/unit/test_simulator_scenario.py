"""The made-up corps and the stream of changes: reproducible, complete, within the rules."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.support.simulators import AGENTID, KEY, TOKEN, Clock, tiny_world
from wecom.simulator.population import CorpSetup, small_world
from wecom.simulator.scenario import OTHERS_SHARE, Scenario
from wecom.simulator.scenario_days import working_days
from wecom.simulator.state import Agent, Callback, Corp
from wecom.simulator.truth import truth_of
from wecom.simulator.world import ADD, ADDS, CUSTOMER_DELETE, DELETE, Change, World

SETUPS = [
    CorpSetup(corpid, name, [Agent(AGENTID, f"secret-{corpid}")], [Callback("contacts", TOKEN, KEY, AGENTID)])
    for corpid, name in (("wwa", "Plum"), ("wwb", "North"))
]
EVENTS = 2000


RELATIONS = frozenset(
    {
        *("add_external_contact", "add_half_external_contact", "edit_external_contact", "del_external_contact"),
        *("del_follow_user", "transfer_fail", "msg_audit_approved"),
    }
)
KINDS = {
    *(("change_external_contact", change) for change in RELATIONS),
    *(("change_external_chat", change) for change in ("create", "update", "dismiss")),
    *(("change_external_tag", change) for change in ("create", "update", "delete", "shuffle")),
    *(("change_contact", f"{change}_user") for change in ("create", "update", "delete")),
    *(("change_contact", f"{change}_party") for change in ("create", "update", "delete")),
    ("change_contact", "update_tag"),
}
"""Every (Event, ChangeType) there is."""


def run(
    seed: int = 1, events: int = EVENTS, step: float = 0.03, others: float = OTHERS_SHARE
) -> tuple[World, list[Change]]:
    clock = Clock()
    world = small_world(SETUPS, seed=seed, clock=clock)
    scenario = Scenario(world, seed=seed, others=others)
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
    world, changes = run(others=0)
    kinds = Counter(change.change for change in changes)
    assert set(kinds) == RELATIONS
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


def test_all_families_are_in_a_day_of_2000_events() -> None:
    world, changes = run(step=0.1)
    kinds = Counter((change.event, change.change) for change in changes)
    assert set(kinds) == KINDS
    details = Counter(dict(change.leaves).get("UpdateDetail") for change in changes)
    assert set(details) == {None, "add_member", "del_member", "change_owner", "change_name", "change_notice"}
    assert any("NewUserID" in dict(change.leaves) for change in changes)
    assert {dict(change.leaves).get("TagType") for change in changes} == {None, "tag", "tag_group"}
    assert Counter(one.object_id == "" for one in changes if one.change == "shuffle").keys() == {True, False}
    truth = truth_of(world)
    for rows in (truth.employees, truth.departments, truth.tag_groups, truth.corp_tags, truth.group_chats):
        assert None in rows.values()
        assert len(set(map(str, rows.values()))) > 3
    for hanging in (truth.employee_departments, truth.employee_tag_members, truth.group_chat_members):
        assert len(hanging) > 4
    assert "left" in {by for _, by in truth.endings.values()}
    # Guides and the chat client count on these.
    assert all({"zhangsan", "lisi"} <= corp.employees.keys() for corp in world.corps.values())
    assert all(len(corp.employees) > 4 for corp in world.corps.values())


def test_every_object_of_the_truth_was_named_by_an_event() -> None:
    world, changes = run(step=0.1)
    truth = truth_of(world)
    named = {(change.corpid, change.object_id) for change in changes}
    lowered = {(corpid, object_id.lower()) for corpid, object_id in named}
    lowered |= {(change.corpid, change.employee.lower()) for change in changes}
    lowered |= {(change.corpid, dict(change.leaves).get("NewUserID", "").lower()) for change in changes}
    assert set(truth.group_chats) <= named
    assert {(corpid, str(number)) for corpid, number in (*truth.departments, *truth.employee_tags)} <= named
    assert set(truth.employees) | set(truth.employee_aliases) <= lowered


def test_a_resignation_hands_over_first() -> None:
    _, changes = run(step=0.1)
    left = [change for change in changes if change.change == "delete_user"]
    assert left
    handed_over = 0
    for change in left:
        own = [one for one in changes if one.corpid == change.corpid and one.employee == change.employee]
        assert own[-1] is change
        turns = [one for one in own if one.change in ADDS | {DELETE, CUSTOMER_DELETE}]
        # Nothing that ends or begins is so late that it could be taken for the departure's doing.
        assert all(change.create_time - one.create_time >= 10 for one in turns)
        handed_over += sum(dict(one.leaves).get("Source") == "DELETE_BY_TRANSFER" for one in turns)
    assert handed_over > len(left)


def test_a_campaign_gives_many_the_same_tag() -> None:
    world, _ = run(step=0.1)
    given = Counter(key[3] for key, row in truth_of(world).tags.items() if row["tag_id"])
    made = {entry.tag_id for corp in world.corps.values() for group in corp.tag_groups.values() for entry in group.live}
    assert given.most_common(1)[0][1] > 5
    assert set(given) <= made


def test_every_customer_and_relation_of_the_truth_was_named_by_an_event() -> None:
    world, changes = run(others=0)
    truth = truth_of(world)
    assert {(change.corpid, change.customer) for change in changes} == set(truth.customers)
    adds = {(c.corpid, c.customer, c.employee.lower()) for c in changes if c.change in ADDS}
    assert adds == set(truth.relations)


@pytest.mark.parametrize("step", [0.0, 0.03, 0.9])
def test_opposite_events_of_a_relation_are_never_in_one_second(step: float) -> None:
    _, changes = run(step=step, others=0)
    seen: defaultdict[tuple[str, str, str], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for change in changes:
        kind = "begin" if change.change in ADDS else "end" if change.change in {DELETE, CUSTOMER_DELETE} else None
        if kind:
            seen[change.corpid, change.customer, change.employee][change.create_time].add(kind)
    assert all(len(kinds) == 1 for moments in seen.values() for kinds in moments.values())


@pytest.mark.parametrize("step", [0.03, 0.9])
def test_objects_are_not_made_and_deleted_in_one_second(step: float) -> None:
    _, changes = run(step=step)
    seen: defaultdict[tuple[str, str, str], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for change in changes:
        kind = change.change.partition("_")[0]
        if change.event != "change_external_contact" and kind in {"create", "delete", "dismiss"}:
            seen[change.corpid, change.event, change.object_id][change.create_time].add(kind)
    assert any(len(moments) > 1 for moments in seen.values())
    assert all(len(kinds) == 1 for moments in seen.values() for kinds in moments.values())


def test_maxima_of_create_time_end_at_the_truth() -> None:
    """What a reader who only has the events, in any order, can say of the endings is right."""
    world, changes = run(others=0)
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
    scenario = Scenario(world, others=0)
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


def test_what_nobody_is_told_of_other_objects_comes_with_an_event_of_theirs_too() -> None:
    """A reader who reads an object after every event that names it misses nothing."""
    clock = Clock()
    world = small_world(SETUPS, clock=clock)
    scenario = Scenario(world)
    known: dict[tuple[str, str, str], Any] = {}
    for _ in range(EVENTS):
        clock.tick(0.03)
        change = scenario.next_change()
        corp = world.corps[change.corpid]
        if change.event == "change_contact":
            new = dict(change.leaves).get("NewUserID", change.object_id)
            known[change.corpid, change.change.partition("_")[2], new.lower()] = _shown(corp, change.change, new)
    assert len(known) > 40
    for (corpid, kind, object_id), shown in known.items():
        if f"{corpid} {object_id}" not in {f"{corpid} {old}" for old in world.corps[corpid].renamed}:
            assert _shown(world.corps[corpid], kind, object_id) == shown


def _shown(corp: Corp, change: str, object_id: str) -> Any:
    """Without ids of employees, which follow a new one by themselves."""
    if change.endswith("user"):
        found = corp.employees.get(object_id.lower())
        return found and (found.name, found.position, found.alias, found.places, found.status)
    if change.endswith("party"):
        department = corp.departments.get(int(object_id))
        return department and (department.name, department.parentid, department.order)
    tag = corp.member_tags.get(int(object_id))
    return tag and (tag.name, tag.parties)


def test_working_days_are_most_of_the_week() -> None:
    monday = 1_772_380_800.0
    moments = list(working_days(monday, days=14, changes=500, seed=3))
    assert len(set(moments)) == 500
    assert moments == sorted(moments) == list(working_days(monday, days=14, changes=500, seed=3))
    assert moments != list(working_days(monday, days=14, changes=500, seed=4))
    days = Counter(int(moment - monday) // 86_400 for moment in moments)
    assert sum(days[day] for day in (5, 6, 12, 13)) < 80
    assert min(days[day] for day in range(5)) > 20
    assert all(8 <= (moment - monday) % 86_400 // 3600 <= 21 for moment in moments)
    with pytest.raises(ValueError, match="too few"):
        working_days(monday, days=1, changes=50_000)


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
