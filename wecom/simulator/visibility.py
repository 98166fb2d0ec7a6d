"""What the API shows at the moment, which may lag the true state: a moment late, or without the newest follower.

Groups always lag: the platform brings their details up to date about two seconds after it told of the change (document
92130).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, TypeVar

from wecom.simulator.faults import Faults
from wecom.simulator.shown import Shown, chat_of, department_of, member_of, member_tag_of
from wecom.simulator.state import CHAT, MEMBER, MEMBER_TAG, PARTY, Corp
from wecom.simulator.truth import contact_of, followers_of
from wecom.simulator.world import ADDS

Key = TypeVar("Key")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View:
    """One customer as the API shows it. ``early``: something is there that is not shown yet."""

    contact: dict[str, Any]
    followers: list[dict[str, Any]]
    early: bool = False


class Visibility:
    """Keeps earlier views for as long as the faults say. An observer of the world, and of its objects."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: dict[tuple[str, str], deque[tuple[float, View]]] = {}
        self._unseen: dict[tuple[str, str], dict[str, int]] = {}
        self._objects: dict[tuple[str, str, str], deque[tuple[float, Shown | None]]] = {}

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
        if held := self._still_held(self._held, key):
            return held[0][1]
        followers = [follow for follow in followers_of(corp, customer) if follow["userid"] not in hidden]
        return View(contact_of(corp.customers[customer]), followers, early=bool(hidden))

    def object_changing(self, corp: Corp, kind: str, object_id: str) -> None:
        """Decide how long the API goes on showing this object as it is now."""
        switches = self._faults.now
        seconds = switches.chat_lag_seconds if kind == CHAT else 0.0
        if self._faults.chance(switches.lag_share):
            seconds = max(seconds, switches.lag_seconds)
        if seconds:
            held = self._objects.setdefault((corp.corpid, kind, object_id), deque())
            held.append((self._faults.clock() + seconds, _shown(corp, kind, object_id)))

    def shown(self, corp: Corp, kind: str, object_id: str) -> Shown | None:
        """An employee (by the id in lower case), department, employee tag or group as the API shows it now.

        None for one that it does not. A group is shown with names; one that is dissolved is shown as empty.
        """
        key = (corp.corpid, kind, object_id)
        if held := self._still_held(self._objects, key):
            return held[0][1]
        return _shown(corp, kind, object_id)

    def _still_held(self, held: dict[Key, deque[tuple[float, T]]], key: Key) -> deque[tuple[float, T]]:
        """Earlier views whose time is not over; the first of them is what is shown."""
        views = held.get(key, deque())
        now = self._faults.clock()
        while views and views[0][0] <= now:
            views.popleft()
        if not views:
            held.pop(key, None)
        return views


def _shown(corp: Corp, kind: str, object_id: str) -> Shown | None:
    if kind == MEMBER:
        return member_of(corp.employees[object_id]) if object_id in corp.employees else None
    if kind == CHAT:
        chat = corp.chats.get(object_id)
        return None if chat is None else {} if chat.dismissed else chat_of(chat, need_name=True)
    number = int(object_id)
    if kind == PARTY:
        return department_of(corp.departments[number]) if number in corp.departments else None
    if kind == MEMBER_TAG:
        return member_tag_of(corp, corp.member_tags[number]) if number in corp.member_tags else None
    raise ValueError(f"nobody reads a {kind} alone")
