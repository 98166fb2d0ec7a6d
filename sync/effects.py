"""What each event does: facts that it alone can tell, and objects to look at. Pure functions, a table per family.

An event whose (Event, ChangeType) no family knows does nothing; it stays in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from core.db.types import ID_LENGTH
from core.db.wishes import CHAT, CUSTOMER
from core.envelope import Envelope
from sync.facts import Existence, Facts
from sync.objects.base import Cause

MEMBER, PARTY, MEMBER_TAG = "member", "party", "member_tag"
TAG, TAG_GROUP = "tag", "tag_group"
ALIAS, DEPARTURE = "alias", "departure"
EVERYTHING = "*"
"""In place of a tag group's id: the order of all groups changed."""

_DETAIL_LENGTH = 64
_LARGEST_NUMBER = 2**63 - 1
_TRANSFER_SOURCE = "DELETE_BY_TRANSFER"

Object = tuple[str, str]
"""Kind and id."""


class EventUnusable(Exception):
    """An event that can be read and still can't be applied; the message says why and carries no personal data."""


@dataclass(frozen=True, slots=True)
class Alias:
    """An employee's id changed; both in lower case."""

    userid: str
    new_userid: str
    happened_at: datetime


@dataclass(frozen=True, slots=True)
class MemberVersions:
    """A link of the chain of versions of a group's list of members (document 92130)."""

    chat_id: str
    last: str
    current: str
    happened_at: datetime


@dataclass(frozen=True, slots=True)
class Effect:
    """What one event does. ``customer`` and ``employee`` name the relation that ``facts`` are about.

    ``wishes`` are the objects to look at, ``exists`` what it tells of one that is made or deleted.
    """

    known: bool
    customer: str | None = None
    employee: str | None = None
    facts: Facts | None = None
    transferred: bool = False
    wishes: tuple[Object, ...] = ()
    exists: tuple[Object, Existence] | None = None
    alias: Alias | None = None
    versions: MemberVersions | None = None
    detail: str | None = None
    cause: Cause = field(default=Cause("event"), compare=False)


def effect_of(event: Envelope) -> Effect:
    """Raises ``EventUnusable`` for an event that no row can hold, or a known one that lacks what it needs."""
    for name, value in (("object", event.object_id), ("member", event.userid), ("corp", event.corpid)):
        if value is not None and len(value) > ID_LENGTH:
            raise EventUnusable(f"the {name} id has more than {ID_LENGTH} characters")
    try:
        moment = datetime.fromtimestamp(event.create_time, UTC)
        datetime.fromtimestamp(event.received_at / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise EventUnusable("the time is no date") from None
    make = _FAMILIES.get(event.event, {}).get(event.change)
    if make is None:
        return Effect(known=False)
    return make(event, moment, Cause("event", event.event_id, moment))


def fold_facts(effects: Iterable[Effect]) -> dict[tuple[str, str], Facts]:
    """The facts of many events, one entry per (customer, employee)."""
    together: dict[tuple[str, str], Facts] = {}
    for effect in effects:
        if effect.facts is not None and effect.customer and effect.employee:
            key = (effect.customer, effect.employee)
            together[key] = together.get(key, Facts()) | effect.facts
    return together


def fold_existence(effects: Iterable[Effect]) -> dict[Object, Existence]:
    """What many events tell of objects that are made and deleted, one entry per object."""
    together: dict[Object, Existence] = {}
    for effect in effects:
        if effect.exists is not None:
            key, told = effect.exists
            together[key] = together.get(key, Existence()) | told
    return together


def _customer(event: Envelope) -> str:
    if not event.object_id:
        raise EventUnusable(f"{event.change} names no customer")
    return event.object_id


def _relation(
    event: Envelope, cause: Cause, facts: Facts, *, transferred: bool = False, detail: str | None = None
) -> Effect:
    customer = _customer(event)
    if not event.userid:
        raise EventUnusable(f"{event.change} names no member")
    return Effect(
        *(True, customer, event.userid, facts, transferred),
        wishes=((CUSTOMER, customer),),
        detail=_detail(detail),
        cause=cause,
    )


def _detail(text: str | None) -> str | None:
    return text[:_DETAIL_LENGTH] if text else None


def _added(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    return _relation(event, cause, Facts(add_at=moment, cause=cause))


def _deleted_by_employee(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    source = event.leaf("Source")
    transferred = source == _TRANSFER_SOURCE
    facts = Facts(loss_at=moment, loss_by="transfer" if transferred else "employee", cause=cause)
    return _relation(event, cause, facts, transferred=transferred, detail=source)


def _deleted_by_customer(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    return _relation(event, cause, Facts(loss_at=moment, loss_by="customer", cause=cause))


def _look_at_customer(event: Envelope, _moment: datetime, cause: Cause) -> Effect:
    # It says nothing by itself; the answer of the API does.
    customer = _customer(event)
    detail = _detail(event.leaf("FailReason"))
    return Effect(True, customer, event.userid, wishes=((CUSTOMER, customer),), detail=detail, cause=cause)


def _look_at(this: Object, cause: Cause, told: Existence | None = None, detail: str | None = None) -> Effect:
    exists = None if told is None else (this, told)
    return Effect(True, wishes=(this,), exists=exists, detail=_detail(detail), cause=cause)


def _chat(event: Envelope) -> Object:
    if not event.object_id:
        raise EventUnusable(f"{event.change} names no group")
    return CHAT, event.object_id


def _chat_made(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    return _look_at(_chat(event), cause, Existence(created_at=moment, cause=cause))


def _chat_dismissed(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    return _look_at(_chat(event), cause, Existence(deleted_at=moment, cause=cause))


def _chat_changed(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    this, detail = _chat(event), event.leaf("UpdateDetail")
    last, current = event.leaf("LastMemVer"), event.leaf("CurMemVer")
    versions: MemberVersions | None = None
    # Real messages about other changes carry versions as well: what changed decides.
    told = detail in {"add_member", "del_member"} and last != current
    if told and last and current and max(len(last), len(current)) <= _DETAIL_LENGTH:
        versions = MemberVersions(this[1], last, current, moment)
    return Effect(True, wishes=(this,), versions=versions, detail=_detail(detail), cause=cause)


def _tag_object(event: Envelope) -> Object:
    kind = event.leaf("TagType")
    # What does not say which one it is about is answered by reading all of them.
    return (kind, event.object_id) if kind in {TAG, TAG_GROUP} and event.object_id else (TAG_GROUP, EVERYTHING)


def _tag_made(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    return _tag_effect(_tag_object(event), cause, Existence(created_at=moment, cause=cause))


def _tag_changed(event: Envelope, _moment: datetime, cause: Cause) -> Effect:
    return _tag_effect(_tag_object(event), cause, None)


def _tag_deleted(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    return _tag_effect(_tag_object(event), cause, Existence(deleted_at=moment, cause=cause))


def _tag_effect(this: Object, cause: Cause, told: Existence | None) -> Effect:
    return _look_at(this, cause, None if this[1] == EVERYTHING else told, this[0])


def _tags_shuffled(event: Envelope, _moment: datetime, cause: Cause) -> Effect:
    # The id of the group whose tags were put in another order; empty if that were the groups themselves.
    return _look_at((TAG_GROUP, event.object_id or EVERYTHING), cause)


def _member(event: Envelope) -> Object:
    if not event.object_id:
        raise EventUnusable(f"{event.change} names no member")
    return MEMBER, event.object_id


def _member_made(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    return _look_at(_member(event), cause, Existence(created_at=moment, cause=cause))


def _member_changed(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    this = _member(event)
    new = (event.leaf("NewUserID") or "").lower()
    # Another spelling of the same id is no other id (document 98728).
    if not new or new == this[1]:
        return _look_at(this, cause)
    if len(new) > ID_LENGTH:
        raise EventUnusable(f"the new member id has more than {ID_LENGTH} characters")
    wishes = ((ALIAS, this[1]), (MEMBER, new))
    return Effect(True, wishes=wishes, alias=Alias(this[1], new, moment), detail=_detail(new), cause=cause)


def _member_deleted(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    this = _member(event)
    told = (this, Existence(deleted_at=moment, cause=cause))
    return Effect(True, wishes=(this, (DEPARTURE, this[1])), exists=told, cause=cause)


def _numbered(kind: str, event: Envelope) -> Object:
    number = event.object_id or ""
    if not (number.isascii() and number.isdecimal()) or int(number) > _LARGEST_NUMBER:
        raise EventUnusable(f"{event.change} names no {kind}: its id is not a number")
    return kind, str(int(number))


def _party_made(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    return _look_at(_numbered(PARTY, event), cause, Existence(created_at=moment, cause=cause))


def _party_changed(event: Envelope, _moment: datetime, cause: Cause) -> Effect:
    return _look_at(_numbered(PARTY, event), cause)


def _party_deleted(event: Envelope, moment: datetime, cause: Cause) -> Effect:
    return _look_at(_numbered(PARTY, event), cause, Existence(deleted_at=moment, cause=cause))


def _member_tag_changed(event: Envelope, _moment: datetime, cause: Cause) -> Effect:
    return _look_at(_numbered(MEMBER_TAG, event), cause)


_Make = Callable[[Envelope, datetime, Cause], Effect]
_FAMILIES: Mapping[str, Mapping[str, _Make]] = {
    "change_external_contact": {
        "add_external_contact": _added,
        "add_half_external_contact": _added,
        "edit_external_contact": _look_at_customer,
        "del_external_contact": _deleted_by_employee,
        "del_follow_user": _deleted_by_customer,
        "transfer_fail": _look_at_customer,
        "msg_audit_approved": _look_at_customer,
    },
    "change_external_chat": {"create": _chat_made, "update": _chat_changed, "dismiss": _chat_dismissed},
    "change_external_tag": {
        "create": _tag_made,
        "update": _tag_changed,
        "delete": _tag_deleted,
        "shuffle": _tags_shuffled,
    },
    "change_contact": {
        "create_user": _member_made,
        "update_user": _member_changed,
        "delete_user": _member_deleted,
        "create_party": _party_made,
        "update_party": _party_changed,
        "delete_party": _party_deleted,
        "update_tag": _member_tag_changed,
    },
}

KNOWN = frozenset((event, change) for event, changes in _FAMILIES.items() for change in changes)
"""Every (Event, ChangeType) that does something."""
