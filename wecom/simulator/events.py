"""What every change stands on: the corps, a clock, and events with their documents (document 90930)."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wecom.simulator.beginnings import plant
from wecom.simulator.state import ChangeRefused, Corp

EXTERNAL_CONTACT, EXTERNAL_CHAT = "change_external_contact", "change_external_chat"
EXTERNAL_TAG, CONTACT = "change_external_tag", "change_contact"

LETTERS = string.ascii_letters + string.digits
Leaves = Sequence[tuple[str, str]]


class TooSoon(ChangeRefused):
    """The opposite of this happened to the same object in the same second."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event. ``change`` is its ChangeType; ``leaves`` is the inner document, the platform's secrets included.

    ``customer`` and ``employee`` are empty where the event is not about one; ``object_id`` is what it is about: a
    customer, an employee, a department, a tag or its group, a customer group.
    """

    corpid: str
    change: str
    customer: str
    employee: str
    create_time: int
    leaves: tuple[tuple[str, str], ...] = field(repr=False)
    event: str = EXTERNAL_CONTACT
    object_id: str = ""


class Observer(Protocol):
    """Told about every change of a relation that is pushed, just before it happens, while the state is as it was."""

    def changing(self, corp: Corp, change: str, customer: str, employee: str) -> None:
        """``change`` is the ChangeType to come."""
        ...


class ObjectObserver(Protocol):
    """Told likewise about changes of employees, departments, employee tags and groups."""

    def object_changing(self, corp: Corp, kind: str, object_id: str) -> None:
        """``kind`` as in ``state``; what the API shows under this id is about to change."""
        ...


class EventSource:
    """Corps that change, and what is pushed for it."""

    def __init__(self, corps: Iterable[Corp], *, seed: int = 1, clock: Callable[[], float] = time.time) -> None:
        """``clock`` gives Unix seconds; ``seed`` decides what is made up along the way."""
        self.corps = {corp.corpid: corp for corp in corps}
        self.clock = clock
        self.observers: list[Observer] = []
        self.object_observers: list[ObjectObserver] = []
        self._random = random.Random(seed)
        for corp in self.corps.values():
            plant(corp)

    def corp(self, corpid: str) -> Corp:
        """Raises ``ChangeRefused``."""
        found = self.corps.get(corpid)
        if found is None:
            raise ChangeRefused(f"there is no corp {corpid!r}; there are {', '.join(sorted(self.corps))}")
        return found

    def _tell(self, corp: Corp, kind: str, customer: str, employee: str) -> None:
        for observer in self.observers:
            observer.changing(corp, kind, customer, employee)

    def _tell_of(self, corp: Corp, kind: str, object_id: object) -> None:
        for observer in self.object_observers:
            observer.object_changing(corp, kind, str(object_id))

    def _now(self) -> int:
        return int(self.clock())

    def _id(self, prefix: str) -> str:
        return prefix + "".join(self._random.choices(LETTERS, k=30))

    def _event(
        self,
        corp: Corp,
        event: str,
        change: str,
        leaves: Leaves,
        moment: int,
        *,
        object_id: str,
        customer: str = "",
        employee: str = "",
    ) -> Change:
        """``leaves`` are those behind Event, ChangeType included where the platform puts it."""
        envelope = [
            *(("ToUserName", corp.corpid), ("FromUserName", "sys"), ("CreateTime", str(moment)), ("MsgType", "event")),
            ("Event", event),
        ]
        return Change(corp.corpid, change, customer, employee, moment, (*envelope, *leaves), event, object_id)
