"""What tables can hold when some events were never told and everything was read again afterwards.

Reading tells how things are. It does not tell:

- that somebody's id became another one: the old id is somebody who is no more, with relations of their own;
- that the customer ended a relation: the platform goes on listing it, so it stands;
- when and by whom a relation ended that it lists no more: it ended as was last told of it, unless it was told or shown
  to have begun again since. Then it stands without being seen, which makes it doubtful. Where it was told that the
  employee left, it ended with that.
- which versions the list of a group's members had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from wecom.simulator.events import Change
from wecom.simulator.people import DELETE_USER
from wecom.simulator.truth import Row, Truth, truth_of
from wecom.simulator.truth_objects import Key
from wecom.simulator.world import ADDS, CUSTOMER_DELETE, DELETE, World

Shown = dict[Key, int]
"""(corpid, external_userid, userid as it was then) to the latest createtime that an answer told."""
Ending = tuple[int | None, str | None]


@dataclass(frozen=True, slots=True)
class Names:
    """Ids that employees had before, as far as that was told."""

    new: Mapping[tuple[str, str], str]

    def today(self, corpid: str, userid: str) -> str:
        """The id that the employee has now who had this one, in lower case."""
        userid = userid.lower()
        while (new := self.new.get((corpid, userid))) is not None:
            userid = new
        return userid


@dataclass(frozen=True, slots=True)
class Known:
    """``doubtful`` are the relations that stand without being seen."""

    truth: Truth
    doubtful: set[Key]
    names: Names


@dataclass(slots=True)
class _Said:
    """What was told and shown of one relation: when it began last, and since when and by whom it may have ended."""

    began: int = 0
    losses: list[tuple[int, str]] = field(default_factory=list)

    def ending(self, left_at: int | None) -> Ending:
        since = [loss for loss in self.losses if loss[0] >= self.began]
        if since:
            return max(since)
        return (left_at, "left") if left_at is not None and left_at >= self.began else (None, None)


def renamed(change: Change) -> str | None:
    """The new id, in lower case, of the employee of whom this tells one."""
    return next((text.lower() for name, text in change.leaves if name == "NewUserID" and text), None)


def ends_a_person(change: Change) -> bool:
    """Whether an id is nobody's from then on."""
    return change.change == DELETE_USER or renamed(change) is not None


def known_of(world: World, told: Iterable[Change], dropped: Iterable[Change], shown: Shown) -> Known:
    """The state as it can be known once all that was not told of was read again."""
    truth = truth_of(world)
    names = Names(_renamings(told))
    unknown = _renamings(dropped)
    said, left = _said(names, told, shown)
    listed = {key for key, row in truth.relations.items() if row is not None}
    relations: dict[Key, Row | None] = {}
    endings: dict[Key, Ending] = {}
    for key in said.keys() | listed:
        relations[key] = truth.relations.get(key)
        endings[key] = said.get(key, _Said()).ending(left.get((key[0], key[2])))
    _check(truth, endings, dropped)
    lost = {text for change in dropped for name, text in change.leaves if name == "CurMemVer"}
    truth = replace(
        truth,
        relations=relations,
        endings=endings,
        employees={**truth.employees, **dict.fromkeys(unknown)},
        employee_aliases={key: row for key, row in truth.employee_aliases.items() if key not in unknown},
        group_chat_versions={key: row for key, row in truth.group_chat_versions.items() if key[2] not in lost},
    )
    return Known(truth, {key for key, ending in endings.items() if ending[0] is None} - listed, names)


def _renamings(changes: Iterable[Change]) -> dict[tuple[str, str], str]:
    return {(one.corpid, one.object_id.lower()): new for one in changes if (new := renamed(one)) is not None}


def _said(names: Names, told: Iterable[Change], shown: Shown) -> tuple[dict[Key, _Said], dict[Key, int]]:
    """By relation, and of the employees whose end was told, when that was."""
    said: dict[Key, _Said] = {}
    left: dict[Key, int] = {}
    for change in told:
        employee = names.today(change.corpid, change.employee)
        if change.change == DELETE_USER:
            left[change.corpid, employee] = max(left.get((change.corpid, employee), 0), change.create_time)
        if change.change in {*ADDS, DELETE, CUSTOMER_DELETE}:
            one = said.setdefault((change.corpid, change.customer, employee), _Said())
            if change.change in ADDS:
                one.began = max(one.began, change.create_time)
            else:
                one.losses.append((change.create_time, _by(change)))
    for (corpid, customer, userid), createtime in shown.items():
        one = said.setdefault((corpid, customer, names.today(corpid, userid)), _Said())
        one.began = max(one.began, createtime)
    return said, left


def _by(change: Change) -> str:
    if change.change == CUSTOMER_DELETE:
        return "customer"
    return "transfer" if ("Source", "DELETE_BY_TRANSFER") in change.leaves else "employee"


def _check(truth: Truth, endings: Mapping[Key, Ending], dropped: Iterable[Change]) -> None:
    """Where nothing was left out, what can be known is the truth."""
    customers = {(change.corpid, change.customer) for change in dropped}
    corps = {change.corpid for change in dropped if ends_a_person(change)}
    for key, ending in truth.endings.items():
        if key[0] not in corps and key[:2] not in customers and endings[key] != ending:
            raise AssertionError(f"the rule says {endings[key]} of {key}, and the truth {ending}")
