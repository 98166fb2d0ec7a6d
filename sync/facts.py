"""What an event alone can tell, and when a relation counts as lost. Pure functions.

Events arrive in any order and more than once, so a fact is a *maximum of CreateTime*: the latest add and the latest
loss of a relation. Two things are known from events only: that the customer dropped the employee (the API still lists
the relation, document 92130), and for a while that the employee dropped the customer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sync.objects.base import Cause

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)

LEFT = "left"
"""Who ended it, if the employee left the corporation and no event said anything of the relation."""

# An employee who drops a customer stays in the API's answer for a while. Listed more than a day later, the relation
# must have begun again without an add event reaching us.
REFUTED_AFTER = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the events of one relation tell: each the largest CreateTime seen."""

    add_at: datetime | None = None
    loss_at: datetime | None = None
    loss_by: str | None = None
    cause: Cause | None = field(default=None, compare=False)
    """The latest event of them."""
    began: datetime | None = field(default=None, compare=False)
    """No event's: since when the relation stands at the latest, as reading tells."""

    def __or__(self, other: Facts) -> Facts:
        """Both together, whatever the order. Two losses in one second: the customer's, which nothing refutes.

        That the employee left says nothing about a relation that had ended before. There alone the order counts: a
        return told after both stands, until the departure is carried out again (``sync.objects.strangers``).
        """
        add_at = latest(self.add_at, other.add_at)
        losses = [(f.loss_at, f.loss_by == "customer", f.loss_by or "") for f in (self, other) if f.loss_at is not None]
        began, created = latest(add_at, self.began, other.began), latest(self.began, other.began)
        told = [loss for loss in losses if loss[2] != LEFT and (began is None or loss[0] >= began)]
        loss_at, _, loss_by = max(told or losses) if losses else (None, False, "")
        return Facts(add_at, loss_at, loss_by or None, newest_cause(self.cause, other.cause), created)


@dataclass(frozen=True, slots=True)
class Existence:
    """What events tell of an object that is made and deleted: each the largest CreateTime seen."""

    created_at: datetime | None = None
    deleted_at: datetime | None = None
    cause: Cause | None = field(default=None, compare=False)

    def __or__(self, other: Existence) -> Existence:
        """Both together, whatever the order."""
        return Existence(
            latest(self.created_at, other.created_at),
            latest(self.deleted_at, other.deleted_at),
            newest_cause(self.cause, other.cause),
        )

    @property
    def ended_at(self) -> datetime | None:
        """Since when it is no more; None while it is. Deleted and made in one second: deleted."""
        if self.deleted_at is None or (self.created_at is not None and self.created_at > self.deleted_at):
            return None
        return self.deleted_at


def lost(
    facts: Facts, createtime: int | None, fetched_at: datetime | None
) -> tuple[datetime, str | None] | tuple[None, None]:
    """Since when and by whom the relation has ended, or (None, None) while it stands.

    ``createtime`` is the platform's own, from the last listing that had the relation; ``fetched_at`` is when the call
    for that listing began.
    """
    if facts.loss_at is None:
        return None, None
    began = latest(facts.add_at, None if createtime is None else datetime.fromtimestamp(createtime, UTC))
    if began is not None and facts.loss_at < began:
        return None, None
    if refuted(facts.loss_at, facts.loss_by, fetched_at):
        return None, None
    return facts.loss_at, facts.loss_by


def refuted(loss_at: datetime, loss_by: str | None, fetched_at: datetime | None) -> bool:
    """Whether a call that began at ``fetched_at`` and listed the relation is the better word on that loss."""
    return loss_by != "customer" and is_later_word(fetched_at, loss_at)


def is_later_word(fetched_at: datetime | None, ended_at: datetime) -> bool:
    """Whether a call that shows it began so long after its end that it must be there again."""
    return fetched_at is not None and fetched_at > ended_at + REFUTED_AFTER


def newest_cause(one: Cause | None, other: Cause | None) -> Cause | None:
    """Of two events the later one."""
    if one is None or other is None:
        return one or other
    return max((one, other), key=lambda cause: (cause.happened_at or _BEGINNING, cause.event_id or ""))


def latest(*moments: datetime | None) -> datetime | None:
    """The last of these moments; None if there is none."""
    return max((moment for moment in moments if moment is not None), default=None)
