"""The address book of the small WeCom: what is pushed, and what follows a new id or a departure."""

from __future__ import annotations

import pytest

from tests.support.simulators import Clock, leaves, tiny_world
from wecom.simulator.events import TooSoon
from wecom.simulator.state import ChangeRefused, Place
from wecom.simulator.truth import truth_of
from wecom.simulator.world import World

PAIR = ("ww1", "wmA", "wangwu")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    world = tiny_world(clock)
    for corpid in ("ww1", "ww2"):
        world.create_department(corpid, "Sales")
    clock.tick()
    return world


def test_a_new_employee_is_pushed_with_departments_only(world: World, clock: Clock) -> None:
    change = world.create_employee(
        *("ww1", "Chen.Yi", "Chen Yi"), departments=[Place(2, 7, True), 1], position="Buyer", leaders=["lisi"]
    )
    assert list(leaves(change).items()) == [
        ("ChangeType", "create_user"),
        ("UserID", "Chen.Yi"),
        ("Department", "2,1"),
    ]
    assert (change.event, change.object_id, change.employee, change.customer) == (
        *("change_contact", "Chen.Yi", "Chen.Yi"),
        "",
    )
    truth = truth_of(world)
    row = truth.employees["ww1", "chen.yi"]
    assert row is not None
    assert (row["userid_shown"], row["position"], row["main_department"], row["direct_leaders"], row["mobile"]) == (
        *("Chen.Yi", "Buyer", 2),
        ["lisi"],
        None,
    )
    assert truth.employee_departments == {
        ("ww1", "chen.yi", 2): {"is_leader": 1, "sort_order": 7},
        ("ww1", "chen.yi", 1): {"is_leader": 0, "sort_order": 0},
    }
    with pytest.raises(ChangeRefused, match="already"):
        world.create_employee("ww1", "CHEN.YI", "Twin")
    with pytest.raises(ChangeRefused, match="no department 9"):
        world.create_employee("ww1", "new", "New", departments=[9])
    with pytest.raises(ChangeRefused, match="each once"):
        world.create_employee("ww1", "new", "New", departments=[1, 1])


def test_only_departments_are_pushed_of_an_edit(world: World) -> None:
    assert world.update_employee("ww1", "LISI", name="Li", position="Boss", status=2, leaders=["wangwu"]) is None
    assert truth_of(world).employees == {}
    assert world.update_employee("ww1", "LiSi", departments=[Place(1, 5)]) is None
    change = world.update_employee("ww1", "LiSi", departments=[2, 1], alias="li")
    assert change is not None
    assert leaves(change) == {"ChangeType": "update_user", "UserID": "LiSi", "Department": "2,1"}
    row = truth_of(world).employees["ww1", "lisi"]
    assert row is not None
    assert (row["name"], row["position"], row["status"], row["alias"]) == ("Li", "Boss", 2, "li")
    with pytest.raises(ChangeRefused, match="nothing"):
        world.update_employee("ww1", "LiSi", name="Li")
    with pytest.raises(ChangeRefused, match="status"):
        world.update_employee("ww1", "LiSi", status=5)


def test_everything_that_names_an_employee_follows_a_new_id(world: World, clock: Clock) -> None:
    world.add(*PAIR)
    world.add("ww1", "wmA", "LiSi")
    world.update_employee("ww1", "LiSi", leaders=["wangwu"], departments=[2])
    world.update_department("ww1", 2, leaders=["wangwu"])
    tag = world.create_member_tag("ww1", "night")
    world.update_member_tag("ww1", tag.tagid, add_users=["wangwu"])
    chat_id = world.create_chat("ww1", "wangwu", members=["LiSi", "wmA"], admins=["wangwu"]).object_id
    agent = world.corp("ww1").agents[0]
    agent.visible = frozenset({"wangwu", "lisi"})
    clock.tick()

    change = world.rename_employee("ww1", "WANGWU", "Wang.Wu")

    assert leaves(change) == {"ChangeType": "update_user", "UserID": "wangwu", "NewUserID": "Wang.Wu"}
    corp, truth = world.corp("ww1"), truth_of(world)
    assert [one.employee for one in corp.listed("wmA")] == ["Wang.Wu", "LiSi"]
    assert set(truth.relations) == {("ww1", "wmA", "wang.wu"), ("ww1", "wmA", "lisi")}
    assert truth.relations["ww1", "wmA", "wang.wu"]["oper_userid"] == "wangwu"  # type: ignore[index]
    assert set(truth.employees) == {("ww1", "wang.wu"), ("ww1", "lisi")}
    assert truth.employees["ww1", "lisi"]["direct_leaders"] == ["wang.wu"]  # type: ignore[index]
    assert truth.departments["ww1", 2]["leaders"] == ["wang.wu"]  # type: ignore[index]
    assert ("ww1", 1, "user", "wang.wu") in truth.employee_tag_members
    chat = truth.group_chats["ww1", chat_id]
    assert chat is not None
    assert (chat["owner"], chat["admins"]) == ("wang.wu", ["wang.wu"])
    assert {key[2:] for key in truth.group_chat_members} == {(1, "wang.wu"), (1, "lisi"), (2, "wmA")}
    assert {row["invitor"] for row in truth.group_chat_members.values()} == {"wang.wu"}
    assert agent.visible == {"wang.wu", "lisi"}
    assert truth.employee_aliases == {("ww1", "wangwu"): {"new_userid": "wang.wu"}}
    assert truth.today("ww1", "wangwu") == "wang.wu"
    assert truth.today("ww2", "wangwu") == "wangwu"
    assert "wangwu" in world.corp("ww2").employees


def test_ids_that_can_not_be_had(world: World, clock: Clock) -> None:
    for wanted, words in (("WANGWU", "no other id"), ("LiSi", "or was"), ("", "no other id")):
        with pytest.raises(ChangeRefused, match=words):
            world.rename_employee("ww1", "wangwu", wanted)
    world.rename_employee("ww1", "wangwu", "second")
    world.rename_employee("ww1", "second", "third")
    assert truth_of(world).today("ww1", "wangwu") == "third"
    with pytest.raises(ChangeRefused, match="or was"):
        world.rename_employee("ww1", "LiSi", "wangwu")
    with pytest.raises(TooSoon):
        world.create_employee("ww1", "wangwu", "another Wang")
    clock.tick()
    world.create_employee("ww1", "wangwu", "another Wang")
    truth = truth_of(world)
    assert set(truth.employees) == {("ww1", "wangwu"), ("ww1", "third")}
    assert truth.today("ww1", "wangwu") == "wangwu"


def test_what_an_employee_had_has_ended_with_the_departure(world: World, clock: Clock) -> None:
    world.add(*PAIR)
    world.add("ww1", "woB", "wangwu")
    world.add("ww1", "woB", "LiSi")
    tag = world.create_member_tag("ww1", "night")
    world.update_member_tag("ww1", tag.tagid, add_users=["wangwu", "LiSi"])
    with pytest.raises(TooSoon):
        world.delete_employee("ww1", "wangwu")
    clock.tick()
    lost = world.customer_delete("ww1", "woB", "wangwu")
    clock.tick()

    left, tagged = world.delete_employee("ww1", "wangwu")

    assert leaves(left) == {"ChangeType": "delete_user", "UserID": "wangwu"}
    assert leaves(tagged) == {"ChangeType": "update_tag", "TagId": "1", "DelUserItems": "wangwu"}
    truth = truth_of(world)
    assert truth.endings["ww1", "wmA", "wangwu"] == (left.create_time, "left")
    assert truth.endings["ww1", "woB", "wangwu"] == (lost.create_time, "customer")
    assert truth.endings["ww1", "woB", "lisi"] == (None, None)
    assert truth.relations["ww1", "wmA", "wangwu"] is None
    assert truth.customers["ww1", "wmA"] is None
    assert truth.employees["ww1", "wangwu"] is None
    assert [one.employee for one in world.corp("ww1").listed("woB")] == ["LiSi"]
    assert not any(key[1] == "wangwu" for key in truth.employee_departments)
    with pytest.raises(ChangeRefused, match="no employee"):
        world.add(*PAIR)


def test_departments_are_pushed_when_they_come_go_and_move(world: World, clock: Clock) -> None:
    made = world.create_department("ww1", "East", parentid=2, order=5, leaders=["lisi"])
    assert leaves(made) == {"ChangeType": "create_party", "Id": "3", "ParentId": "2"}
    assert (made.object_id, made.employee) == ("3", "")
    with pytest.raises(TooSoon):
        world.delete_department("ww1", 3)
    clock.tick()
    assert world.update_department("ww1", 3, name="Far East", name_en="FE", order=6, leaders=[]) is None
    moved = world.update_department("ww1", 3, parentid=1)
    assert moved is not None
    assert leaves(moved) == {"ChangeType": "update_party", "Id": "3", "ParentId": "1"}
    assert truth_of(world).departments["ww1", 3] == {
        "name": "Far East",
        "name_en": "FE",
        "parentid": 1,
        "sort_order": 6,
        "leaders": [],
    }
    world.update_department("ww1", 2, parentid=3)
    with pytest.raises(ChangeRefused, match="below itself"):
        world.update_department("ww1", 3, parentid=2)
    for number in (1, 3):
        with pytest.raises(ChangeRefused, match="not empty"):
            world.delete_department("ww1", number)
    tag = world.create_member_tag("ww1", "night")
    world.update_member_tag("ww1", tag.tagid, add_parties=[2])
    gone, tagged = world.delete_department("ww1", 2)
    assert leaves(gone) == {"ChangeType": "delete_party", "Id": "2"}
    assert leaves(tagged)["DelPartyItems"] == "2"
    assert truth_of(world).departments["ww1", 2] is None
    with pytest.raises(TooSoon):
        world.create_department("ww1", "Back", department_id=2)
    assert world.create_department("ww1", "Next").object_id == "4"
    with pytest.raises(ChangeRefused, match="already"):
        world.create_department("ww1", "Next", department_id=4)


def test_employee_tags_are_pushed_as_far_as_somebody_has_them(world: World) -> None:
    tag = world.create_member_tag("ww1", "night")
    assert truth_of(world).employee_tags == {}
    change = world.update_member_tag("ww1", 1, add_users=["LISI", "lisi", "wangwu"], add_parties=[2], name="late")
    assert change is not None
    assert list(leaves(change).items()) == [
        *(("ChangeType", "update_tag"), ("TagId", "1")),
        *(("AddUserItems", "LiSi,wangwu"), ("AddPartyItems", "2")),
    ]
    assert world.update_member_tag("ww1", 1, name="later") is None
    assert truth_of(world).employee_tags == {("ww1", 1): {"tagname": "later"}}
    assert {key[2:] for key in truth_of(world).employee_tag_members} == {
        *(("user", "lisi"), ("user", "wangwu")),
        ("party", "2"),
    }
    change = world.update_member_tag("ww1", 1, del_users=["lisi"])
    assert change is not None
    assert leaves(change)["DelUserItems"] == "LiSi"
    with pytest.raises(ChangeRefused, match="nothing"):
        world.update_member_tag("ww1", 1, del_users=["lisi"], name="later")
    change = world.delete_member_tag("ww1", tag.tagid)
    assert change is not None
    assert (leaves(change)["DelUserItems"], leaves(change)["DelPartyItems"]) == ("wangwu", "2")
    assert truth_of(world).employee_tags == {("ww1", 1): None}
    assert truth_of(world).employee_tag_members == {}
    assert world.create_member_tag("ww1", "next").tagid == 2
    assert world.delete_member_tag("ww1", 2) is None


def test_an_employee_counts_once_an_event_about_a_customer_names_them(world: World, clock: Clock) -> None:
    world.add(*PAIR)
    world.transfer_fail("ww1", "wmA", "LiSi")
    assert set(truth_of(world).employees) == {("ww1", "wangwu"), ("ww1", "lisi")}
    assert set(truth_of(world).departments) == {("ww1", 2), ("ww2", 2)}
