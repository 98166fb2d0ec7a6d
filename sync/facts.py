"""What an event alone can tell, and when a relation counts as lost. Pure functions.

Events arrive in any order and more than once, so a fact is a *maximum of CreateTime*: the latest add and the latest
loss of a relation. Two things are known from events only: that the customer dropped the employee (the API still lists
the relation, document 92130), and for a while that the employee dropped the customer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.db.types import ID_LENGTH
from core.envelope import Envelope

FAMILY = "change_external_contact"

_ADDS = frozenset({"add_external_contact", "add_half_external_contact"})
_EMPLOYEE_LOSS = "del_external_contact"
_CUSTOMER_LOSS = "del_follow_user"
_TRANSFER_SOURCE = "DELETE_BY_TRANSFER"
# These say nothing by themselves; the answer of the API does.
_LOOK = frozenset({"edit_external_contact", "transfer_fail", "msg_audit_approved"})

# An employee who drops a customer stays in the API's answer for a while. Listed more than a day later, the relation
# must have begun again without an add event reaching us.
REFUTED_AFTER = timedelta(hours=24)


class EventUnusable(Exception):
    """An event that can be read and still can't be applied; the message says why and carries no personal data."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the events of one relation tell: each the largest CreateTime seen."""

    add_at: datetime | None = None
    loss_at: datetime | None = None
    loss_by: str | None = None

    def __or__(self, other: Facts) -> Facts:
        """Both together, whatever the order. Two losses in one second: the customer's, which nothing refutes."""
        losses = [(f.loss_at, f.loss_by == "customer", f.loss_by or "") for f in (self, other) if f.loss_at is not None]
        loss_at, _, loss_by = max(losses) if losses else (None, False, "")
        return Facts(_latest(self.add_at, other.add_at), loss_at, loss_by or None)


@dataclass(frozen=True, slots=True)
class Effect:
    """What one event does: facts about one relation, and an object to look at."""

    known: bool
    customer: str | None = None
    employee: str | None = None
    facts: Facts | None = None
    transferred: bool = False


def effect_of(event: Envelope) -> Effect:
    """Raises ``EventUnusable`` for an event that no row can hold, or one of our family that lacks what it needs."""
    for name, value in (("object", event.object_id), ("member", event.userid), ("corp", event.corpid)):
        if value is not None and len(value) > ID_LENGTH:
            raise EventUnusable(f"the {name} id has more than {ID_LENGTH} characters")
    try:
        moment = datetime.fromtimestamp(event.create_time, UTC)
        datetime.fromtimestamp(event.received_at / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise EventUnusable("the time is no date") from None
    changes = _ADDS | _LOOK | {_EMPLOYEE_LOSS, _CUSTOMER_LOSS}
    if event.event != FAMILY or event.change not in changes:
        return Effect(known=False)
    if not event.object_id:
        raise EventUnusable(f"{event.change} names no customer")
    facts: Facts | None = None
    transferred = event.change == _EMPLOYEE_LOSS and event.leaf("Source") == _TRANSFER_SOURCE
    if event.change in _ADDS:
        facts = Facts(add_at=moment)
    elif event.change == _EMPLOYEE_LOSS:
        facts = Facts(loss_at=moment, loss_by="transfer" if transferred else "employee")
    elif event.change == _CUSTOMER_LOSS:
        facts = Facts(loss_at=moment, loss_by="customer")
    if facts is not None and not event.userid:
        raise EventUnusable(f"{event.change} names no member")
    return Effect(True, event.object_id, event.userid, facts, transferred)


def lost(
    facts: Facts, createtime: int | None, fetched_at: datetime | None
) -> tuple[datetime, str | None] | tuple[None, None]:
    """Since when and by whom the relation has ended, or (None, None) while it stands.

    ``createtime`` is the platform's own, from the last listing that had the relation; ``fetched_at`` is when the call
    for that listing began.
    """
    if facts.loss_at is None:
        return None, None
    began = _latest(facts.add_at, None if createtime is None else datetime.fromtimestamp(createtime, UTC))
    if began is not None and facts.loss_at < began:
        return None, None
    if facts.loss_by != "customer" and fetched_at is not None and fetched_at > facts.loss_at + REFUTED_AFTER:
        return None, None
    return facts.loss_at, facts.loss_by


def fold(effects: Iterable[Effect]) -> dict[tuple[str, str], Facts]:
    """The facts of many events, one entry per (customer, employee)."""
    together: dict[tuple[str, str], Facts] = {}
    for effect in effects:
        if effect.facts is not None and effect.customer and effect.employee:
            key = (effect.customer, effect.employee)
            together[key] = together.get(key, Facts()) | effect.facts
    return together


def _latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)
