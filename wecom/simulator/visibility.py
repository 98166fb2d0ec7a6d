"""What the API shows at the moment, which may lag the true state: a moment late, or without the newest follower."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from wecom.simulator.faults import Faults
from wecom.simulator.state import Corp
from wecom.simulator.truth import contact_of, followers_of
from wecom.simulator.world import ADDS


@dataclass(frozen=True, slots=True)
class View:
    """One customer as the API shows it. ``early``: something is there that is not shown yet."""

    contact: dict[str, Any]
    followers: list[dict[str, Any]]
    early: bool = False


class Visibility:
    """Keeps earlier views for as long as the faults say. An observer of the world."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: dict[tuple[str, str], deque[tuple[float, View]]] = {}
        self._unseen: dict[tuple[str, str], dict[str, int]] = {}

    def changing(self, corp: Corp, change: str, customer: str, employee: str) -> None:
        """Decide whether the API shows this change late, and keep what it shows until then."""
        switches = self._faults.now
        key = (corp.corpid, customer)
        if self._faults.chance(switches.lag_share):
            # A change that lags hides what comes behind it as well, as a replica that is behind does.
            view = View(contact_of(corp.customers[customer]), followers_of(corp, customer), early=True)
            until = self._faults.clock() + switches.lag_seconds
            self._held.setdefault(key, deque()).append((until, view))
        elif change in ADDS and self._faults.chance(switches.unseen_share):
            self._unseen.setdefault(key, {})[employee] = switches.unseen_reads

    def view(self, corp: Corp, customer: str, *, first_page: bool = True) -> View:
        """What a read of this customer shows now; its first page counts as one read."""
        key = (corp.corpid, customer)
        hidden = self._unseen.pop(key, {}) if first_page else {}
        if left := {employee: reads - 1 for employee, reads in hidden.items() if reads > 1}:
            self._unseen[key] = left
        held = self._held.get(key)
        if held is not None:
            now = self._faults.clock()
            while held and held[0][0] <= now:
                held.popleft()
            if held:
                return held[0][1]
            del self._held[key]
        followers = [follow for follow in followers_of(corp, customer) if follow["userid"] not in hidden]
        return View(contact_of(corp.customers[customer]), followers, early=bool(hidden))
