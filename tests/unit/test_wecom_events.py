"""Typed events of each family, from documents as the platform sends them."""

from __future__ import annotations

from typing import Any

import pytest

from core.envelope import encode, interpret
from tests.support.vectors import SAMPLES, sample
from wecom.callback import read_event
from wecom.errors import EventUnreadable
from wecom.events.base import Event
from wecom.events.contact import ContactChange
from wecom.events.external import ExternalContactChange

MOMENT = 1403610513
ADDED = "woAJ2GCAAAXtWyujaWJHDDGi0mAAAA"
HALF = "woAJ2GCAAAXtWyujaWJHDDGi0mACAAAA"
CHAT = "wrx7HUARsKwGRaQBVKPBTcEyzdHA4HrQ"
TAG, GROUP = "etjmgTCQAAYIEtCEn30FEiMU9jH_HaaA", "etjmgTCQAAYIEtCEn30FEiMU9jH_Group"

# What each sample says: change, object and what the family adds. The member is zhangsan in all of them.
EXTERNAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "add_external_contact": (
        "add_external_contact",
        ADDED,
        {"state": "teststate", "welcome_code": "WELCOMECODE"},
    ),
    "add_without_state": ("add_external_contact", ADDED, {}),
    "add_with_empty_elements": ("add_external_contact", ADDED, {}),
    "edit_external_contact": ("edit_external_contact", ADDED, {"state": "teststate"}),
    "add_half_external_contact": (
        "add_half_external_contact",
        HALF,
        {"state": "teststate", "welcome_code": "WELCOMECODE"},
    ),
    "del_external_contact": ("del_external_contact", HALF, {"source": "DELETE_BY_TRANSFER"}),
    "del_by_employee": ("del_external_contact", HALF, {}),
    "del_follow_user": ("del_follow_user", "woAJ2GCAAAXtWyujaWJHDDGi0mACHAAA", {"state": "channel 7"}),
    "transfer_fail": ("transfer_fail", ADDED, {"fail_reason": "customer_refused"}),
    "msg_audit_approved": (
        "msg_audit_approved",
        "woAJ2GCAAABiuyujaWJHDDGi0mACHAAA",
        {"welcome_code": "WELCOMECODE"},
    ),
    "unknown_change": ("customer_acquisition_permit_change", "wmAJ2GCAAAXtWyujaWJHDDGi0mAAAA", {}),
    "suite_del_follow_user": ("del_follow_user", "woAJ2GCAAAXtWyujaWJHDDGi0mACH71w", {}),
}
OPTIONAL = ("state", "welcome_code", "source", "fail_reason")


@pytest.mark.parametrize("name", EXTERNAL)
def test_customers(name: str) -> None:
    change, customer, more = EXTERNAL[name]
    event = read_event(sample(name))
    assert isinstance(event, ExternalContactChange)
    assert (event.event, event.change, event.kind) == ("change_external_contact", change, "customer")
    assert (event.object_id, event.userid, event.create_time) == (customer, "zhangsan", MOMENT)
    assert {field: getattr(event, field) for field in OPTIONAL} == dict.fromkeys(OPTIONAL) | more


# What each sample says: family, change, kind, object, member, the member's new id.
OTHERS: dict[str, tuple[str, str, str, str | None, str | None, str | None]] = {
    "chat_create": ("change_external_chat", "create", "chat", CHAT, None, None),
    "chat_update": ("change_external_chat", "update", "chat", CHAT, None, None),
    "chat_rename": ("change_external_chat", "update", "chat", CHAT, None, None),
    "tag_create": ("change_external_tag", "create", "tag", TAG, None, None),
    "tag_group_delete": (
        "change_external_tag",
        "delete",
        "tag_group",
        GROUP,
        None,
        None,
    ),
    "tag_shuffle_groups": ("change_external_tag", "shuffle", "tag_group", None, None, None),
    "create_user": ("change_contact", "create_user", "member", "zhangsan", "zhangsan", None),
    "update_user": ("change_contact", "update_user", "member", "zhangsan", "zhangsan", "zhangsan001"),
    "delete_user": ("change_contact", "delete_user", "member", "zhangsan", "zhangsan", None),
    "create_party": ("change_contact", "create_party", "party", "2", None, None),
    "update_tag": ("change_contact", "update_tag", "member_tag", "1", None, None),
    "create_user_thin": ("change_contact", "create_user", "member", "zhangsan", "zhangsan", None),
    "update_user_thin": ("change_contact", "update_user", "member", "zhangsan", "zhangsan", None),
    "update_party": ("change_contact", "update_party", "party", "2", None, None),
    "delete_party": ("change_contact", "delete_party", "party", "2", None, None),
    "chat_dismiss": ("change_external_chat", "dismiss", "chat", CHAT, None, None),
    "chat_members_join_by_code": ("change_external_chat", "update", "chat", CHAT, None, None),
    "chat_members_leave": ("change_external_chat", "update", "chat", CHAT, None, None),
    "chat_owner": ("change_external_chat", "update", "chat", CHAT, None, None),
    "chat_notice": ("change_external_chat", "update", "chat", CHAT, None, None),
    "chat_update_of_old": ("change_external_chat", "update", "chat", CHAT, None, None),
    "tag_update": ("change_external_tag", "update", "tag", TAG, None, None),
    "tag_delete": ("change_external_tag", "delete", "tag", TAG, None, None),
    "tag_group_create": ("change_external_tag", "create", "tag_group", GROUP, None, None),
    "tag_group_update": ("change_external_tag", "update", "tag_group", GROUP, None, None),
    "tag_shuffle": ("change_external_tag", "shuffle", "tag_group", GROUP, None, None),
}


@pytest.mark.parametrize("name", OTHERS)
def test_groups_tags_and_the_address_book(name: str) -> None:
    family, change, kind, object_id, userid, new_userid = OTHERS[name]
    event = read_event(sample(name))
    assert (event.event, event.change, event.kind, event.object_id) == (family, change, kind, object_id)
    assert (event.userid, event.create_time) == (userid, MOMENT)
    if family == "change_contact":
        assert isinstance(event, ContactChange)
        assert event.new_userid == new_userid


def test_what_no_release_knows_is_kept_as_it_is() -> None:
    event = read_event(sample("unknown_event"))
    assert type(event) is Event
    assert (event.event, event.change, event.create_time) == ("sys_approval_change", "", MOMENT)
    assert (event.kind, event.object_id, event.userid) == (None, None, None)
    assert ("ApprovalInfo/SpRecord/Details/Step", "2") in event.leaves
    assert event.kept_leaves == event.leaves


def test_a_message_is_an_event_of_its_type() -> None:
    event = read_event(sample("text_message"))
    assert (event.event, event.change, event.kind) == ("text", "", None)
    assert ("MsgId", "CAIQg/PKxgYY2sC9tpuAgAMg9/zKaw==") in event.leaves


def test_every_sample_is_looked_at() -> None:
    on_disk = {path.stem for path in (SAMPLES / "events").glob("*.xml")}
    assert on_disk == {*EXTERNAL, *OTHERS, "unknown_event", "text_message", "add_in_milliseconds"}


def test_all_items_of_a_list_are_there() -> None:
    update = read_event(sample("chat_update"))
    assert [text for path, text in update.leaves if path == "MemChangeList/Item"] == ["Jack", "Rose"]
    rename = dict(read_event(sample("chat_rename")).leaves)
    assert rename["UpdateDetail"] == "change_name"
    assert "MemChangeList/Item" not in rename
    assert "QuitScene" not in rename


PERSONAL = (
    "张三",
    "13800000000",
    "zhangsan@",
    "020-123456",
    "广州",
    "avatar",
    "jackzhang",
    "产品经理",
    "旅游",
    "企业微信",
)


@pytest.mark.parametrize("name", ["create_user", "update_user", "create_party"])
def test_of_the_address_book_only_ids_are_kept(name: str) -> None:
    event = read_event(sample(name))
    kept = dict(event.kept_leaves)
    assert [path for path, _ in event.kept_leaves] == [path for path, _ in event.leaves], "what changed, by name"
    assert not [word for word in PERSONAL if word in str(event.kept_leaves)]
    assert kept["Name"] == ""
    assert kept["ChangeType"] == name
    if name != "create_party":
        assert (kept["UserID"], kept["Department"], kept["Mobile"]) == ("ZhangSan", "1,2,3", "")
        assert kept["ExtAttr/Item/Text/Value"] == ""
    record = encode(interpret("ww1", "main", (MOMENT + 1) * 1000, sample(name))).decode()
    assert not [word for word in PERSONAL if word in record]


@pytest.mark.parametrize("name", ["add_external_contact", "add_half_external_contact", "msg_audit_approved"])
def test_a_welcome_code_is_in_the_event_and_never_in_the_record(name: str) -> None:
    event = read_event(sample(name))
    assert isinstance(event, ExternalContactChange)
    assert event.welcome_code == "WELCOMECODE"
    record = encode(interpret("ww1", "main", (MOMENT + 1) * 1000, sample(name)))
    assert b"WELCOMECODE" not in record
    assert b"WelcomeCode" not in record


def test_a_welcome_code_deeper_in_the_document_is_not_kept_either() -> None:
    document = b"<xml><Event>new</Event><Detail><WelcomeCode>CODE</WelcomeCode></Detail><State>s</State></xml>"
    record = interpret("ww1", "main", 1000, document)
    assert record.leaves == (("Event", "new"), ("State", "s"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("1403610513", 1403610513), ("1403610513000", 1403610513000), ("0", 0)),
        *(("", None), ("x", None), ("-5", None), ("1.5", None), ("1e9", None), ("١٢٣", None), ("9" * 17, None)),
    ],
)
def test_the_moment_is_taken_as_it_is_if_it_is_a_number(text: str, number: int | None) -> None:
    event = read_event(f"<xml><Event>x</Event><CreateTime>{text}</CreateTime></xml>".encode())
    assert event.create_time == number


def test_the_first_of_two_elements_counts() -> None:
    event = read_event(b"<xml><Event>a</Event><Event>b</Event><UserID>X</UserID><UserID>Y</UserID></xml>")
    assert event.event == "a"


@pytest.mark.parametrize("document", [b"<xml/>", b"<xml><Event></Event></xml>", b"<xml><Events>x</Events></xml>", b"x"])
def test_what_names_no_event_is_unreadable(document: bytes) -> None:
    with pytest.raises(EventUnreadable):
        read_event(document)
