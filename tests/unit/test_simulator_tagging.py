"""Customers' tags in the small WeCom: what is pushed, and that relations follow without an event of their own."""

from __future__ import annotations

import pytest

from tests.support.simulators import RULE, STAGE, Clock, leaves, tiny_world
from wecom.simulator.events import TooSoon
from wecom.simulator.state import ChangeRefused
from wecom.simulator.truth import truth_of
from wecom.simulator.world import World

PAIR = ("ww1", "wmA", "zhangsan")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    return tiny_world(clock)


def group_of(world: World, name: str) -> str:
    return world.corp("ww1").tag_group(name).group_id


def names(world: World) -> dict[str, str]:
    """What the relation's tags are called, by id."""
    return {key[3]: f"{row['group_name']}/{row['tag_name']}" for key, row in truth_of(world).tags.items()}


def test_a_group_comes_with_an_event_for_itself_and_one_for_each_tag(world: World, clock: Clock) -> None:
    group, *tags = world.create_tag_group("ww1", "Fair", ["hot", "cold"], order=3)
    assert list(leaves(group).items()) == [
        *(("Id", group.object_id), ("TagType", "tag_group"), ("ChangeType", "create")),
    ]
    assert group.event == "change_external_tag"
    assert [(leaves(one)["TagType"], leaves(one)["ChangeType"]) for one in tags] == [("tag", "create")] * 2
    truth = truth_of(world)
    assert truth.tag_groups == {
        ("ww1", group.object_id): {
            "group_name": "Fair",
            "sort_order": 3,
            "create_time": int(clock.now),
            "strategy_id": None,
        }
    }
    assert {row["tag_name"] for row in truth.corp_tags.values() if row} == {"hot", "cold"}
    assert {row["group_id"] for row in truth.corp_tags.values() if row} == {group.object_id}
    for name, wanted in (("Fair", ["x"]), ("", ["x"])):
        with pytest.raises(ChangeRefused, match="name"):
            world.create_tag_group("ww1", name, wanted)
    for wanted in ([], ["x", "x"]):
        with pytest.raises(ChangeRefused, match="at least"):
            world.create_tag_group("ww1", "Other", wanted)
    with pytest.raises(ChangeRefused, match="already"):
        world.create_tag("ww1", "Fair", "hot")


def test_a_new_name_is_in_every_relation(world: World) -> None:
    world.add(*PAIR)
    world.mark(*PAIR, add=[STAGE, RULE])
    change = world.update_tag("ww1", "Stage/lead", name="new lead")
    assert leaves(change) == {"Id": "etLead", "TagType": "tag", "ChangeType": "update"}
    assert names(world) == {"etLead": "Stage/new lead", "stSpring": "Rules/spring"}
    # Whoever asks for a tag is told its group, and nothing of the group's other tags.
    assert set(truth_of(world).corp_tags) == {("ww1", "etLead")}
    assert set(truth_of(world).tag_groups) == {("ww1", group_of(world, "Stage"))}
    world.update_tag_group("ww1", "Stage", name="Phase", order=9)
    assert names(world)["etLead"] == "Phase/new lead"
    assert world.corp("ww1").tag("Phase/new lead").tag_id == "etLead"
    rule = world.update_tag_group("ww1", "Rules", name="Rule")
    assert leaves(rule)["StrategyId"] == "1"
    assert truth_of(world).tag_groups["ww1", group_of(world, "Rule")]["strategy_id"] == "1"  # type: ignore[index]
    with pytest.raises(ChangeRefused, match="nothing"):
        world.update_tag("ww1", "new lead", name="new lead")
    with pytest.raises(ChangeRefused, match="nothing"):
        world.update_tag_group("ww1", "Rule", name="Rule")
    with pytest.raises(ChangeRefused, match="no other one has"):
        world.update_tag_group("ww1", "Rule", name="Phase")


def test_a_deleted_tag_leaves_every_relation_and_its_group_with_the_last(world: World, clock: Clock) -> None:
    world.add(*PAIR)
    world.mark(*PAIR, add=[STAGE, RULE])
    second = world.create_tag("ww1", "Stage", "won")
    with pytest.raises(TooSoon):
        world.delete_tag("ww1", second.object_id)
    clock.tick()
    change = world.delete_tag("ww1", "etLead")
    assert leaves(change) == {"Id": "etLead", "TagType": "tag", "ChangeType": "delete"}
    assert names(world) == {"stSpring": "Rules/spring"}
    truth = truth_of(world)
    assert truth.corp_tags["ww1", "etLead"] is None
    (group_id,) = {key[1] for key in truth.tag_groups}
    assert truth.tag_groups["ww1", group_id] is not None
    world.delete_tag("ww1", second.object_id)
    assert truth_of(world).tag_groups["ww1", group_id] is None
    with pytest.raises(ChangeRefused, match="no tag"):
        world.delete_tag("ww1", "etLead")
    with pytest.raises(ChangeRefused, match="no group"):
        world.create_tag("ww1", group_id, "again")


def test_a_deleted_group_takes_its_tags_along_without_events(world: World, clock: Clock) -> None:
    world.add(*PAIR)
    made = world.create_tag_group("ww1", "Fair", ["hot", "cold"])
    world.mark(*PAIR, add=[STAGE, world.corp("ww1").tag("hot"), world.corp("ww1").tag("cold")])
    with pytest.raises(TooSoon):
        world.delete_tag_group("ww1", "Fair")
    clock.tick()
    change = world.delete_tag_group("ww1", "Fair")
    assert leaves(change) == {"Id": made[0].object_id, "TagType": "tag_group", "ChangeType": "delete"}
    assert names(world) == {"etLead": "Stage/lead"}
    truth = truth_of(world)
    assert set(truth.tag_groups.values()) == {None}
    assert list(truth.corp_tags.values()) == [None, None]
    assert {tag.tag_id for tag in world.corp("ww1").tags} == {"etLead", "stSpring"}


def test_shuffling_names_the_group_or_nothing_and_then_counts_for_all(world: World) -> None:
    world.create_tag("ww1", "Stage", "won")
    before = {entry.tag_id: entry.order for entry in world.corp("ww1").tag_group("Stage").tags}
    change = world.shuffle_tags("ww1", "Stage")
    assert leaves(change) == {"Id": group_of(world, "Stage"), "ChangeType": "shuffle"}
    assert before != {entry.tag_id: entry.order for entry in world.corp("ww1").tag_group("Stage").tags}
    assert ("ww1", "stSpring") not in truth_of(world).corp_tags
    change = world.shuffle_tags("ww1")
    assert leaves(change) == {"Id": "", "ChangeType": "shuffle"}
    assert change.object_id == ""
    assert {group.order for group in world.corp("ww1").tag_groups.values()} == {0, 1}
    assert {key[1] for key in truth_of(world).corp_tags} >= {"etLead", "stSpring"}
    with pytest.raises(ChangeRefused, match="nothing to put"):
        world.shuffle_tags("ww1", "Rules")
