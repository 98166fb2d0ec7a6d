"""Everything that can happen in the small WeCom: what is pushed, what the API shows then, what the truth is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.simulators import RULE, STAGE, Clock, leaves, listed, tiny_world
from wecom.simulator.state import PERSONAL_TAG, ChangeRefused, Tag
from wecom.simulator.truth import contact_of, followers_of, truth_of
from wecom.simulator.world import WELCOME_CODE, TooSoon, World

PAIR = ("ww1", "wmA", "zhangsan")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    return tiny_world(clock)


def shown(world: World, customer: str = "wmA") -> list[dict[str, Any]]:
    return followers_of(world.corp("ww1"), customer)


def ending(world: World, employee: str = "zhangsan") -> tuple[int | None, str | None]:
    return truth_of(world).endings["ww1", "wmA", employee]


def test_an_add_is_pushed_and_shown_in_the_employees_own_spelling(world: World, clock: Clock) -> None:
    change = world.add(*PAIR, add_way=16, state="shop 7")
    code = leaves(change)["WelcomeCode"]
    assert list(leaves(change).items()) == [
        ("ChangeType", "add_external_contact"),
        ("UserID", "ZhangSan"),
        ("ExternalUserID", "wmA"),
        ("State", "shop 7"),
        ("WelcomeCode", code),
    ]
    assert dict(change.leaves) | leaves(change) == {
        "ToUserName": "ww1",
        "FromUserName": "sys",
        "CreateTime": "1770000000",
        "MsgType": "event",
        "Event": "change_external_contact",
    } | leaves(change)
    assert code.startswith(WELCOME_CODE)
    assert list(world.welcome_codes) == [code]
    assert code not in repr(change)
    assert (change.corpid, change.customer, change.employee) == ("ww1", "wmA", "ZhangSan")
    assert shown(world) == [
        {
            "userid": "ZhangSan",
            "remark": "",
            "description": "",
            "createtime": 1770000000,
            "tags": [],
            "remark_mobiles": [],
            "add_way": 16,
            "oper_userid": "ZhangSan",
            "state": "shop 7",
        }
    ]
    assert shown(world, "woB") == []
    assert followers_of(world.corp("ww2"), "wmA") == []


def test_welcome_codes_are_unique_and_only_for_wechat_users(world: World) -> None:
    first, second = world.add("ww1", "wmA", "LiSi"), world.add("ww1", "wmA", "wangwu")
    assert leaves(first)["WelcomeCode"] != leaves(second)["WelcomeCode"]
    assert "WelcomeCode" not in leaves(world.add("ww1", "woB", "LiSi"))
    assert "WelcomeCode" not in leaves(world.add("ww2", "wmA", "LiSi", welcome=False))


def test_only_channels_have_wechat_channels(world: World) -> None:
    world.add(*PAIR, add_way=10)
    world.add("ww1", "wmA", "LiSi", add_way=3)
    assert ["wechat_channels" in follow for follow in shown(world)] == [True, False]


def test_what_only_the_other_type_has_is_missing(world: World) -> None:
    customers = world.corp("ww1").customers
    world.set_profile("ww1", "wmA", position="Buyer", corp_name="Blue")
    world.set_profile("ww1", "woB", unionid="oB")
    assert contact_of(customers["wmA"]).keys() == {"external_userid", "name", "type", "gender", "avatar", "unionid"}
    assert contact_of(customers["woB"]).keys() == {
        *("external_userid", "name", "type", "gender", "avatar"),
        *("position", "corp_name"),
    }


def test_half_an_add_may_be_confirmed_once(world: World, clock: Clock) -> None:
    half = world.half_add(*PAIR)
    assert half.change == "add_half_external_contact"
    assert shown(world)[0]["oper_userid"] == "wmA"
    with pytest.raises(ChangeRefused, match="already"):
        world.half_add(*PAIR)
    clock.tick(5)
    assert world.add(*PAIR).change == "add_external_contact"
    assert shown(world)[0]["createtime"] == half.create_time
    with pytest.raises(ChangeRefused, match="already"):
        world.add(*PAIR)


def test_the_employee_deletes_and_the_api_lists_it_no_more(world: World, clock: Clock) -> None:
    world.add(*PAIR)
    clock.tick()
    change = world.delete(*PAIR)
    assert leaves(change) == {"ChangeType": "del_external_contact", "UserID": "ZhangSan", "ExternalUserID": "wmA"}
    assert shown(world) == []
    assert ending(world) == (change.create_time, "employee")
    truth = truth_of(world)
    assert truth.customers == {("ww1", "wmA"): None}
    assert truth.relations == {("ww1", "wmA", "zhangsan"): None}
    for refused in (world.delete, world.customer_delete, world.edit, world.mark, world.approve_archive):
        with pytest.raises(ChangeRefused, match="does not have"):
            refused(*PAIR)


def test_the_customer_deletes_and_the_api_goes_on_listing_it(world: World, clock: Clock) -> None:
    world.add(*PAIR, state="shop 7")
    before = shown(world)
    clock.tick()
    change = world.customer_delete(*PAIR)
    assert leaves(change)["ChangeType"] == "del_follow_user"
    assert leaves(change)["State"] == "shop 7"
    assert shown(world) == before
    assert ending(world) == (change.create_time, "customer")
    with pytest.raises(ChangeRefused, match="has deleted"):
        world.customer_delete(*PAIR)
    # A late edit is possible, and brings nothing back.
    assert world.edit(*PAIR, remark="gone?") is not None
    assert ending(world) == (change.create_time, "customer")
    clock.tick()
    last = world.delete(*PAIR)
    assert ending(world) == (last.create_time, "employee")
    assert shown(world) == []


def test_after_the_employees_end_a_return_begins_with_nothing(world: World, clock: Clock) -> None:
    world.add(*PAIR, remark="old")
    world.mark(*PAIR, add=[STAGE])
    clock.tick()
    world.delete(*PAIR)
    clock.tick()
    change = world.add(*PAIR)
    (follow,) = shown(world)
    assert (follow["remark"], follow["tags"], follow["createtime"]) == ("", [], change.create_time)
    assert ending(world) == (None, None)


def test_after_the_customers_end_a_return_keeps_the_notes(world: World, clock: Clock) -> None:
    world.add(*PAIR, remark="old")
    world.mark(*PAIR, add=[STAGE])
    clock.tick()
    world.customer_delete(*PAIR)
    clock.tick()
    change = world.add(*PAIR)
    (follow,) = shown(world)
    assert (follow["remark"], len(follow["tags"]), follow["createtime"]) == ("old", 1, change.create_time)
    assert ending(world) == (None, None)


def test_opposite_events_are_a_second_apart(world: World, clock: Clock) -> None:
    world.add(*PAIR)
    clock.tick(0.7)
    for end in (world.delete, world.customer_delete):
        with pytest.raises(TooSoon):
            end(*PAIR)
    with pytest.raises(TooSoon):
        world.transfer(*PAIR, "LiSi")
    assert ending(world) == (None, None)
    # By whole seconds: 0.25 + 0.7 is in the same one, 0.1 later begins the next.
    clock.tick(0.1)
    world.customer_delete(*PAIR)
    with pytest.raises(TooSoon):
        world.add(*PAIR)
    with pytest.raises(TooSoon):
        world.delete(*PAIR)
    clock.tick()
    world.delete(*PAIR)
    with pytest.raises(TooSoon):
        world.half_add(*PAIR)
    # Another relation of the same customer is not concerned.
    world.add("ww1", "wmA", "LiSi")
    clock.tick()
    assert world.half_add(*PAIR).create_time == int(clock.now)


def test_a_transfer_is_a_loss_and_an_add(world: World, clock: Clock) -> None:
    world.add(*PAIR, remark="mine")
    clock.tick()
    lost, gained = world.transfer(*PAIR, "lisi")
    assert leaves(lost) == {
        "ChangeType": "del_external_contact",
        "UserID": "ZhangSan",
        "ExternalUserID": "wmA",
        "Source": "DELETE_BY_TRANSFER",
    }
    assert leaves(gained) == {"ChangeType": "add_external_contact", "UserID": "LiSi", "ExternalUserID": "wmA"}
    (follow,) = shown(world)
    assert (follow["userid"], follow["remark"], follow["add_way"], follow["oper_userid"]) == (
        *("LiSi", "mine", 202),
        "ZhangSan",
    )
    assert ending(world) == (lost.create_time, "transfer")
    assert ending(world, "lisi") == (None, None)


def test_a_refused_transfer_changes_nothing(world: World, clock: Clock) -> None:
    world.add(*PAIR)
    world.add("ww1", "wmA", "LiSi")
    clock.tick()
    with pytest.raises(ChangeRefused, match="already"):
        world.transfer(*PAIR, "LiSi")
    world.delete("ww1", "wmA", "LiSi")
    with pytest.raises(TooSoon):
        world.transfer(*PAIR, "LiSi")
    with pytest.raises(ChangeRefused, match="no employee"):
        world.transfer(*PAIR, "nobody")
    assert listed(shown(world)) == ["ZhangSan"]
    assert ending(world) == (None, None)


def test_a_failed_transfer_says_the_reason_first_and_changes_nothing(world: World) -> None:
    world.add(*PAIR)
    before = truth_of(world)
    change = world.transfer_fail("ww1", "wmA", "LiSi", "customer_limit_exceed")
    assert list(leaves(change).items()) == [
        ("ChangeType", "transfer_fail"),
        ("FailReason", "customer_limit_exceed"),
        ("UserID", "LiSi"),
        ("ExternalUserID", "wmA"),
    ]
    after = truth_of(world)
    assert (after.customers, after.relations, after.endings) == (before.customers, before.relations, before.endings)
    with pytest.raises(ChangeRefused, match="customer_refused"):
        world.transfer_fail("ww1", "wmA", "LiSi", "no idea")


def test_approval_of_the_archive_changes_nothing(world: World) -> None:
    world.add(*PAIR)
    before = truth_of(world)
    assert world.approve_archive(*PAIR).change == "msg_audit_approved"
    assert truth_of(world) == before


def test_edits_are_pushed_without_what_they_changed(world: World) -> None:
    world.add(*PAIR)
    change = world.edit(*PAIR, remark="🙂" * 200, remark_corp_name="Blue", remark_mobiles=["13800000001"])
    assert change is not None
    assert leaves(change) == {"ChangeType": "edit_external_contact", "UserID": "ZhangSan", "ExternalUserID": "wmA"}
    (follow,) = shown(world)
    assert (follow["remark"], follow["remark_corp_name"], follow["remark_mobiles"]) == (
        *("🙂" * 200, "Blue"),
        ["13800000001"],
    )
    assert world.edit(*PAIR, remark="") is not None
    assert shown(world)[0]["remark"] == ""
    with pytest.raises(ChangeRefused, match="changes nothing"):
        world.edit(*PAIR, remark="", remark_mobiles=["13800000001"])
    world.add("ww1", "woB", "LiSi")
    with pytest.raises(ChangeRefused, match="WeChat"):
        world.edit("ww1", "woB", "LiSi", remark_corp_name="Blue")


def test_an_edit_of_only_the_phone_numbers_pushes_nothing(world: World) -> None:
    world.add(*PAIR)
    assert world.edit(*PAIR, remark_mobiles=["13800000001"]) is None
    assert shown(world)[0]["remark_mobiles"] == ["13800000001"]


def test_the_customers_own_doing_pushes_nothing(world: World) -> None:
    world.add(*PAIR)
    told: list[str] = []
    world.observers.append(_Listener(told))
    world.set_profile("ww1", "wmA", name="Annabel")
    assert contact_of(world.corp("ww1").customer("wmA"))["name"] == "Annabel"
    assert contact_of(world.corp("ww2").customer("wmA"))["name"] == "Anna of ww2"
    assert told == []
    with pytest.raises(ChangeRefused, match="no type"):
        world.set_profile("ww1", "wmA", type=2)


def test_tags_of_all_types(world: World) -> None:
    world.add(*PAIR)
    personal = Tag(PERSONAL_TAG, "mine", "tea")
    assert world.mark(*PAIR, add=[STAGE, personal, RULE]).change == "edit_external_contact"
    assert shown(world)[0]["tags"] == [
        {"type": 1, "tag_id": "etLead", "group_name": "Stage", "tag_name": "lead"},
        {"type": 2, "group_name": "mine", "tag_name": "tea"},
        {"type": 3, "tag_id": "stSpring", "group_name": "Rules", "tag_name": "spring"},
    ]
    assert {key[3] for key in truth_of(world).tags} == {"etLead", "mine/tea", "stSpring"}
    assert truth_of(world).tags["ww1", "wmA", "zhangsan", "mine/tea"]["tag_id"] is None
    world.mark(*PAIR, remove=[personal])
    assert {key[3] for key in truth_of(world).tags} == {"etLead", "stSpring"}
    with pytest.raises(ChangeRefused, match="no tag"):
        world.mark(*PAIR, add=[STAGE], remove=[personal])


def test_tags_of_a_relation_that_is_not_listed_are_not_part_of_the_truth(world: World, clock: Clock) -> None:
    world.add(*PAIR)
    world.mark(*PAIR, add=[STAGE])
    clock.tick()
    world.customer_delete(*PAIR)
    assert len(truth_of(world).tags) == 1
    clock.tick()
    world.delete(*PAIR)
    assert truth_of(world).tags == {}


def test_the_truth_has_what_the_api_shows_and_no_customer_without_an_event(world: World) -> None:
    world.add(*PAIR)
    truth = truth_of(world)
    assert truth.customers == {
        ("ww1", "wmA"): {
            "name": "Anna of ww1",
            "type": 1,
            "gender": 2,
            "avatar": "https://a",
            "unionid": "oA",
            **dict.fromkeys(("position", "corp_name", "corp_full_name", "external_profile")),
        }
    }
    assert truth.relations == {
        ("ww1", "wmA", "zhangsan"): {
            "remark": "",
            "description": "",
            "remark_corp_name": None,
            "remark_mobiles": [],
            "add_way": 1,
            "state": None,
            "oper_userid": "ZhangSan",
            "createtime": 1770000000,
            "wechat_channels": None,
        }
    }


def test_the_truth_is_without_what_no_table_can_hold(world: World) -> None:
    world.add(*PAIR)
    world.set_profile("ww1", "wmA", name="A\0n\ud800na")
    row = truth_of(world).customers["ww1", "wmA"]
    assert row is not None
    assert row["name"] == "Anna"
    assert contact_of(world.corp("ww1").customer("wmA"))["name"] == "A\0n\ud800na"


def test_what_is_not_there_is_refused_by_name(world: World) -> None:
    with pytest.raises(ChangeRefused, match="there are ww1, ww2"):
        world.add("ww3", "wmA", "LiSi")
    with pytest.raises(ChangeRefused, match="no customer 'wmZ'"):
        world.add("ww1", "wmZ", "LiSi")
    with pytest.raises(ChangeRefused, match="no customer 'WMA'"):
        world.add("ww1", "WMA", "LiSi")
    with pytest.raises(ChangeRefused, match="no employee 'nobody'"):
        world.add("ww1", "wmA", "nobody")
    made = world.new_customer("ww1", "Carl", kind=2)
    assert world.add("ww1", made.external_userid, "LiSi").customer == made.external_userid
    with pytest.raises(ChangeRefused, match="already"):
        world.new_customer("ww1", "Anna", external_userid="wmA")
    with pytest.raises(ChangeRefused, match="type"):
        world.new_customer("ww1", "Anna", kind=3)


class _Listener:
    def __init__(self, told: list[str]) -> None:
        self._told = told

    def changing(self, corp: Any, change: str, customer: str, employee: str) -> None:
        self._told.append(change)
