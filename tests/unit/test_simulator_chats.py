"""Customer groups of the small WeCom: what is pushed, and the chain of versions of their members."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.simulators import Clock, leaves, tiny_world
from wecom.simulator.chats import BY_CODE, BY_LINK
from wecom.simulator.events import TooSoon
from wecom.simulator.state import ChangeRefused
from wecom.simulator.truth import truth_of
from wecom.simulator.world import World


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    return tiny_world(clock)


@pytest.fixture
def chat_id(world: World, clock: Clock) -> str:
    chat_id = world.create_chat("ww1", "zhangsan", members=["LiSi", "wmA"], name="Tea", admins=["lisi"]).object_id
    clock.tick()
    return chat_id


def members(world: World) -> set[tuple[int, str]]:
    return {key[2:] for key in truth_of(world).group_chat_members}


def test_a_new_group_has_its_owner_and_those_who_were_invited(world: World, clock: Clock, chat_id: str) -> None:
    truth = truth_of(world)
    row = truth.group_chats["ww1", chat_id]
    assert row is not None
    assert len(row["member_version"]) == 32
    assert row == {
        "name": "Tea",
        "owner": "zhangsan",
        "notice": "",
        "create_time": 1770000000,
        "admins": ["lisi"],
        "member_version": row["member_version"],
    }
    assert members(world) == {(1, "zhangsan"), (1, "lisi"), (2, "wmA")}
    assert truth.group_chat_members["ww1", chat_id, 2, "wmA"] == {
        "join_time": 1770000000,
        "join_scene": 1,
        "invitor": "zhangsan",
        "group_nickname": "",
        "name": "Anna of ww1",
        "unionid": "oA",
        "state": None,
    }
    assert truth.group_chat_versions == {}
    made = world.create_chat("ww2", "LiSi")
    assert list(leaves(made).items()) == [("ChatId", made.object_id), ("ChangeType", "create")]
    assert (made.event, made.customer, made.employee) == ("change_external_chat", "", "")


def test_joining_and_leaving_is_a_chain_of_versions(world: World, chat_id: str) -> None:
    first = world.corp("ww1").chats[chat_id].version
    come = world.join_chat("ww1", chat_id, ["woB", "wangwu"], scene=BY_CODE, state="shop")
    told = [(name, text) for name, text in come.leaves if name == "MemChangeList/Item"]
    assert told == [("MemChangeList/Item", "woB"), ("MemChangeList/Item", "wangwu")]
    second = world.corp("ww1").chats[chat_id].version
    assert {name: text for name, text in leaves(come).items() if "Item" not in name} == {
        "ChatId": chat_id,
        "ChangeType": "update",
        "UpdateDetail": "add_member",
        "JoinScene": "3",
        "MemChangeCnt": "2",
        "LastMemVer": first,
        "CurMemVer": second,
    }
    row = truth_of(world).group_chat_members["ww1", chat_id, 2, "woB"]
    assert (row["join_scene"], row["invitor"], row["state"]) == (3, None, "shop")
    gone = world.leave_chat("ww1", chat_id, ["LISI"], removed=True)
    third = world.corp("ww1").chats[chat_id].version
    assert leaves(gone) | {"MemChangeList/Item": "LiSi"} == {
        "ChatId": chat_id,
        "ChangeType": "update",
        "UpdateDetail": "del_member",
        "QuitScene": "1",
        "MemChangeCnt": "1",
        "MemChangeList/Item": "LiSi",
        "LastMemVer": second,
        "CurMemVer": third,
    }
    truth = truth_of(world)
    assert truth.group_chat_versions == {
        ("ww1", chat_id, second): {"last_mem_ver": first},
        ("ww1", chat_id, third): {"last_mem_ver": second},
    }
    assert truth.group_chats["ww1", chat_id]["admins"] == []  # type: ignore[index]
    assert members(world) == {(1, "zhangsan"), (1, "wangwu"), (2, "wmA"), (2, "woB")}
    assert leaves(world.leave_chat("ww1", chat_id, ["woB"]))["QuitScene"] == "0"
    assert leaves(world.join_chat("ww1", chat_id, ["woB"], scene=BY_LINK))["JoinScene"] == "0"


def test_owner_name_and_notice(world: World, chat_id: str) -> None:
    assert leaves(world.set_chat_name("ww1", chat_id, ""))["UpdateDetail"] == "change_name"
    assert leaves(world.set_chat_notice("ww1", chat_id, "be kind"))["UpdateDetail"] == "change_notice"
    change = world.set_chat_owner("ww1", chat_id, "LISI")
    assert leaves(change) == {"ChatId": chat_id, "ChangeType": "update", "UpdateDetail": "change_owner"}
    row = truth_of(world).group_chats["ww1", chat_id]
    assert row is not None
    assert (row["name"], row["notice"], row["owner"]) == ("", "be kind", "lisi")


def test_names_of_members_are_as_of_the_last_change_of_the_group(world: World, chat_id: str) -> None:
    world.set_profile("ww1", "wmA", name="Annabel\0")
    key = ("ww1", chat_id, 2, "wmA")
    assert truth_of(world).group_chat_members[key]["name"] == "Anna of ww1"
    world.set_chat_notice("ww1", chat_id, "x")
    assert truth_of(world).group_chat_members[key]["name"] == "Annabel"


def test_a_dismissed_group_is_no_more(world: World, clock: Clock, chat_id: str) -> None:
    young = world.create_chat("ww1", "LiSi").object_id
    with pytest.raises(TooSoon):
        world.dismiss_chat("ww1", young)
    world.join_chat("ww1", chat_id, ["woB"])
    assert leaves(world.dismiss_chat("ww1", chat_id)) == {"ChatId": chat_id, "ChangeType": "dismiss"}
    truth = truth_of(world)
    assert truth.group_chats["ww1", chat_id] is None
    assert members(world) == {(1, "lisi")}
    assert len(truth.group_chat_versions) == 1
    with pytest.raises(ChangeRefused, match="no group"):
        world.set_chat_name("ww1", chat_id, "x")


def test_what_can_not_be(world: World, chat_id: str) -> None:
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: world.join_chat("ww1", chat_id, ["LISI"]), "already"),
        (lambda: world.join_chat("ww1", chat_id, []), "nobody"),
        (lambda: world.join_chat("ww1", chat_id, ["woB", "woB"]), "once"),
        (lambda: world.join_chat("ww1", chat_id, ["woB"], scene=0), "not 0"),
        (lambda: world.join_chat("ww1", chat_id, ["wmZ"]), "no employee 'wmZ'"),
        (lambda: world.leave_chat("ww1", chat_id, ["ZhangSan"]), "another owner first"),
        (lambda: world.leave_chat("ww1", chat_id, ["wangwu"]), "not all"),
        (lambda: world.set_chat_owner("ww1", chat_id, "wangwu"), "not in it"),
        (lambda: world.set_chat_name("ww1", chat_id, "Tea"), "nothing"),
        (lambda: world.create_chat("ww1", "nobody"), "no employee"),
    ]
    for refused, words in refusals:
        with pytest.raises(ChangeRefused, match=words):
            refused()
    assert members(world) == {(1, "zhangsan"), (1, "lisi"), (2, "wmA")}


def test_a_group_of_an_owner_who_left_stays(world: World, clock: Clock, chat_id: str) -> None:
    world.delete_employee("ww1", "ZhangSan")
    row = truth_of(world).group_chats["ww1", chat_id]
    assert row is not None
    assert row["owner"] == "zhangsan"
    assert (1, "zhangsan") in members(world)
    world.set_chat_owner("ww1", chat_id, "LiSi")
    world.leave_chat("ww1", chat_id, ["ZhangSan"])
    assert (1, "zhangsan") not in members(world)
