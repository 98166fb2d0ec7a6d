"""What each event does: one sample of every (Event, ChangeType), and what is wrong with the others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.envelope import Envelope, interpret
from sync.effects import KNOWN, Alias, Effect, EventUnusable, MemberVersions, effect_of, fold_existence
from sync.facts import Existence, Facts
from sync.objects.base import Cause

SAMPLES = Path(__file__).parents[1] / "samples" / "events"
MOMENT = datetime.fromtimestamp(1403610513, UTC)
CHAT = ("chat", "wrx7HUARsKwGRaQBVKPBTcEyzdHA4HrQ")
TAG, GROUP = ("tag", "etjmgTCQAAYIEtCEn30FEiMU9jH_HaaA"), ("tag_group", "etjmgTCQAAYIEtCEn30FEiMU9jH_Group")
MEMBER, PARTY = ("member", "zhangsan"), ("party", "2")
MADE, GONE = Existence(created_at=MOMENT), Existence(deleted_at=MOMENT)


def envelope(sample: str, **changed: str | None) -> Envelope:
    """The sample, with elements replaced, or left out."""
    document = (SAMPLES / f"{sample}.xml").read_text(encoding="utf-8")
    for name, text in changed.items():
        begin, end = document.index(f"<{name}>"), document.index(f"</{name}>") + len(name) + 3
        document = document[:begin] + ("" if text is None else f"<{name}>{text}</{name}>") + document[end:]
    return interpret("ww1", "contacts", 1403610599000, document.encode())


def made(effect: Effect) -> tuple[object, ...]:
    return effect.wishes, effect.exists, effect.detail


OBJECTS = {
    "chat_create": ((CHAT,), (CHAT, MADE), None),
    "chat_update": ((CHAT,), None, "add_member"),
    "chat_members_join_by_code": ((CHAT,), None, "add_member"),
    "chat_members_leave": ((CHAT,), None, "del_member"),
    "chat_rename": ((CHAT,), None, "change_name"),
    "chat_owner": ((CHAT,), None, "change_owner"),
    "chat_notice": ((CHAT,), None, "change_notice"),
    "chat_update_of_old": ((CHAT,), None, None),
    "chat_dismiss": ((CHAT,), (CHAT, GONE), None),
    "tag_create": ((TAG,), (TAG, MADE), "tag"),
    "tag_update": ((TAG,), None, "tag"),
    "tag_delete": ((TAG,), (TAG, GONE), "tag"),
    "tag_group_create": ((GROUP,), (GROUP, MADE), "tag_group"),
    "tag_group_update": ((GROUP,), None, "tag_group"),
    "tag_group_delete": ((GROUP,), (GROUP, GONE), "tag_group"),
    "tag_shuffle": ((GROUP,), None, None),
    "tag_shuffle_groups": ((("tag_group", "*"),), None, None),
    "create_user": ((MEMBER,), (MEMBER, MADE), None),
    "create_user_thin": ((MEMBER,), (MEMBER, MADE), None),
    "update_user_thin": ((MEMBER,), None, None),
    "delete_user": ((MEMBER, ("departure", "zhangsan")), (MEMBER, GONE), None),
    "create_party": ((PARTY,), (PARTY, MADE), None),
    "update_party": ((PARTY,), None, None),
    "delete_party": ((PARTY,), (PARTY, GONE), None),
    "update_tag": ((("member_tag", "1"),), None, None),
    "update_user": ((("alias", "zhangsan"), ("member", "zhangsan001")), None, "zhangsan001"),
}


@pytest.mark.parametrize("sample", OBJECTS)
def test_what_an_event_makes_us_look_at(sample: str) -> None:
    event = envelope(sample)
    effect = effect_of(event)
    assert effect.known
    assert made(effect) == OBJECTS[sample]
    assert effect.facts is None
    assert effect.cause == Cause("event", event.event_id, MOMENT)


RELATIONS = {
    "add_external_contact": (Facts(add_at=MOMENT), False, None),
    "add_half_external_contact": (Facts(add_at=MOMENT), False, None),
    "edit_external_contact": (None, False, None),
    "del_external_contact": (Facts(loss_at=MOMENT, loss_by="transfer"), True, "DELETE_BY_TRANSFER"),
    "del_by_employee": (Facts(loss_at=MOMENT, loss_by="employee"), False, None),
    "del_follow_user": (Facts(loss_at=MOMENT, loss_by="customer"), False, None),
    "transfer_fail": (None, False, "customer_refused"),
    "msg_audit_approved": (None, False, None),
}


@pytest.mark.parametrize("sample", RELATIONS)
def test_what_an_event_tells_of_a_relation(sample: str) -> None:
    effect = effect_of(envelope(sample))
    assert effect.known
    assert (effect.facts, effect.transferred, effect.detail) == RELATIONS[sample]
    assert effect.customer is not None
    assert effect.employee is not None
    assert effect.wishes == (("customer", effect.customer),)
    if effect.facts is not None:
        assert effect.facts.cause == effect.cause


def test_every_pair_that_is_known_has_a_sample() -> None:
    seen = {(event.event, event.change) for event in map(envelope, [*OBJECTS, *RELATIONS])}
    assert seen == KNOWN


@pytest.mark.parametrize("sample", ["unknown_event", "unknown_change", "text_message"])
def test_the_others_do_nothing(sample: str) -> None:
    assert effect_of(envelope(sample)) == Effect(known=False)


def test_a_new_id_is_an_alias_and_another_spelling_is_not() -> None:
    assert effect_of(envelope("update_user")).alias == Alias("zhangsan", "zhangsan001", MOMENT)
    again = effect_of(envelope("update_user", NewUserID="zhangSAN"))
    assert (again.alias, again.wishes, again.detail) == (None, (MEMBER,), None)


def test_versions_are_a_link_only_where_members_changed() -> None:
    joined = effect_of(envelope("chat_update")).versions
    link = ("9c3f97c2ada667dfb5f6d03308d963e1", "71217227bbd112ecfe3a49c482195cb4")
    assert joined == MemberVersions(CHAT[1], *link, MOMENT)
    # A real rename carries versions, too.
    assert effect_of(envelope("chat_rename")).versions is None
    assert effect_of(envelope("chat_update", LastMemVer=None)).versions is None
    assert effect_of(envelope("chat_update", LastMemVer=link[1])).versions is None
    assert effect_of(envelope("chat_update", LastMemVer="0" * 65)).versions is None


def test_a_tag_event_that_does_not_say_which_one_looks_at_all() -> None:
    everything = (("tag_group", "*"),)
    for effect in (
        effect_of(envelope("tag_delete", TagType=None)),
        effect_of(envelope("tag_delete", TagType="strategy")),
        effect_of(envelope("tag_update", Id=None)),
    ):
        assert (effect.wishes, effect.exists) == (everything, None)


@pytest.mark.parametrize(
    ("sample", "changed", "words"),
    [
        ("chat_update", {"ChatId": None}, "names no group"),
        ("delete_user", {"UserID": ""}, "names no member"),
        ("create_party", {"Id": "two"}, "not a number"),
        ("create_party", {"Id": "²"}, "not a number"),
        ("create_party", {"Id": "9" * 30}, "not a number"),
        ("update_tag", {"TagId": None}, "not a number"),
        ("update_user", {"NewUserID": "n" * 129}, "more than 128"),
        ("chat_create", {"ChatId": "c" * 129}, "more than 128"),
    ],
)
def test_a_known_event_that_lacks_what_it_needs(sample: str, changed: dict[str, str | None], words: str) -> None:
    with pytest.raises(EventUnusable, match=words):
        effect_of(envelope(sample, **changed))


def test_what_was_deleted_in_the_second_of_its_making_is_no_more() -> None:
    later = datetime.fromtimestamp(1403610514, UTC)
    assert (MADE | GONE).ended_at == MOMENT
    assert (MADE | GONE | Existence(created_at=later)).ended_at is None
    assert (GONE | Existence(created_at=later) | Existence(deleted_at=later)).ended_at == later


def test_the_latest_event_of_an_object_is_the_cause() -> None:
    early = Effect(True, exists=(CHAT, Existence(created_at=MOMENT, cause=Cause("event", "a", MOMENT))))
    later = datetime.fromtimestamp(1403610600, UTC)
    late = Effect(True, exists=(CHAT, Existence(deleted_at=later, cause=Cause("event", "b", later))))
    for order in ((early, late), (late, early)):
        told = fold_existence(order)[CHAT]
        assert told == Existence(MOMENT, later)
        assert told.cause == Cause("event", "b", later)
