"""The true state and everything that can happen to it.

Each method is one thing that people do in WeCom. It changes the state and returns the ``Change`` that the platform
pushes for it (document 92130), or None for what it pushes nothing for. What can't happen raises ``ChangeRefused``.

Events that begin and end the same relation, or make and delete the same object, are at least a second apart, because
CreateTime has whole seconds and nobody could tell which came first; one that would come earlier raises ``TooSoon``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from wecom.simulator.chats import GroupChats
from wecom.simulator.events import EXTERNAL_CONTACT, LETTERS, Change, Observer, TooSoon
from wecom.simulator.people import People
from wecom.simulator.state import MEMBER, WECHAT, WECOM, ChangeRefused, Corp, Customer, Relation, Tag
from wecom.simulator.tagging import CorpTags

__all__ = ["ADDS", "CHANNELS", "FAIL_REASONS", "WELCOME_CODE", "Change", "Observer", "TooSoon", "World"]

ADD, HALF_ADD, EDIT = "add_external_contact", "add_half_external_contact", "edit_external_contact"
DELETE, CUSTOMER_DELETE = "del_external_contact", "del_follow_user"
TRANSFER_FAIL, ARCHIVE_APPROVED = "transfer_fail", "msg_audit_approved"
ADDS = frozenset({ADD, HALF_ADD})

WELCOME_CODE = "WelcomeCanary"
"""Every WelcomeCode begins so. It is a secret that may be kept nowhere, so whoever finds this text found a leak."""
CHANNELS, ASSIGNED = 10, 202
"""Numbers of add_way that mean something here."""
FAIL_REASONS = ("customer_refused", "customer_limit_exceed")

_PROFILE = frozenset(
    {"name", "gender", "avatar", "unionid", "position", "corp_name", "corp_full_name", "external_profile"}
)


class World(People, CorpTags, GroupChats):
    """Several corps that share nothing but perhaps their ids."""

    def __init__(self, corps: Iterable[Corp], *, seed: int = 1, clock: Callable[[], float] = time.time) -> None:
        """See ``EventSource``."""
        super().__init__(corps, seed=seed, clock=clock)
        self.welcome_codes: deque[str] = deque(maxlen=100_000)

    # Relations begin and end.

    def add(
        self,
        corpid: str,
        customer: str,
        employee: str,
        *,
        half: bool = False,
        add_way: int = 1,
        oper_userid: str | None = None,
        state: str | None = None,
        welcome: bool = True,
        remark: str = "",
        description: str = "",
    ) -> Change:
        """The two become contacts: for the first time, again after an end, or after half an add.

        ``half``: the customer added an employee who needs no confirmation. ``oper_userid`` defaults to the customer
        for a half add, else to the employee. A relation that the employee's side ended begins with nothing in it; one
        that only the customer ended has kept its remark and tags.
        """
        corp, known = self._both(corpid, customer, employee)
        old = corp.find(customer, employee)
        userid = corp.employee(employee).userid
        kind = HALF_ADD if half else ADD
        moment = self._now()
        if old is not None and old.stands and not (old.half and not half):
            raise ChangeRefused(f"{userid} has customer {customer} already")
        if old is not None and moment <= old.ended:
            raise TooSoon(f"the relation of {userid} and {customer} ended in this second; wait one")
        self._tell(corp, kind, customer, userid)
        if old is not None and old.stands:
            # The employee confirms; the contact dates from the half add.
            old.half = False
            old.began = moment
        else:
            relation = old if old is not None and old.listed else self._fresh(corp, customer, userid, old)
            relation.createtime = relation.began = moment
            relation.half, relation.lost_at, relation.lost_by = half, None, None
            relation.add_way, relation.state = add_way, state
            relation.oper_userid = oper_userid or (customer if half else userid)
            relation.wechat_channels = {"nickname": "channel", "source": 1} if add_way == CHANNELS else None
            relation.remark = remark or relation.remark
            relation.description = description or relation.description
        code = None
        # Employees of other corps get no welcome: the cards are exchanged by themselves.
        if welcome and known.type == WECHAT:
            code = WELCOME_CODE + "".join(self._random.choices(LETTERS, k=30))
            self.welcome_codes.append(code)
        return self._change(corp, kind, customer, userid, moment, State=state, WelcomeCode=code)

    def half_add(self, corpid: str, customer: str, employee: str, **details: Any) -> Change:
        """``add`` with ``half``."""
        return self.add(corpid, customer, employee, half=True, **details)

    def delete(self, corpid: str, customer: str, employee: str) -> Change:
        """The employee deletes the customer; the API stops listing the relation."""
        return self._end(corpid, customer, employee, DELETE, "employee")

    def customer_delete(self, corpid: str, customer: str, employee: str) -> Change:
        """The customer deletes the employee; the API goes on listing the relation: only the event tells."""
        return self._end(corpid, customer, employee, CUSTOMER_DELETE, "customer")

    def transfer(self, corpid: str, customer: str, employee: str, to: str) -> tuple[Change, Change]:
        """The customer is handed from one employee to another: a deletion for the one, an add for the other."""
        corp = self.corp(corpid)
        given = self._standing(corp, customer, employee)
        taker = corp.find(customer, to)
        userid = corp.employee(to).userid
        moment = self._now()
        if taker is not None and taker.listed:
            raise ChangeRefused(f"{userid} has customer {customer} already")
        # Before anything happens: half a transfer can't be taken back.
        if taker is not None and moment <= taker.ended:
            raise TooSoon(f"the relation of {userid} and {customer} ended in this second; wait one")
        lost = self._end(corpid, customer, employee, DELETE, "transfer")
        gained = self.add(
            *(corpid, customer, to),
            add_way=ASSIGNED,
            oper_userid=given.employee,
            welcome=False,
            remark=given.remark,
            description=given.description,
        )
        return lost, gained

    def transfer_fail(self, corpid: str, customer: str, employee: str, reason: str = FAIL_REASONS[0]) -> Change:
        """A hand-over to this employee failed; nothing changes."""
        if reason not in FAIL_REASONS:
            raise ChangeRefused(f"a transfer fails with {' or '.join(FAIL_REASONS)}, not {reason!r}")
        corp, _ = self._both(corpid, customer, employee)
        userid = corp.employee(employee).userid
        return self._said(corp, TRANSFER_FAIL, customer, userid, self._now(), FailReason=reason)

    def approve_archive(self, corpid: str, customer: str, employee: str) -> Change:
        """The customer agrees that the chat is archived (document 92005); nothing changes here."""
        corp = self.corp(corpid)
        relation = self._standing(corp, customer, employee)
        return self._said(corp, ARCHIVE_APPROVED, customer, relation.employee, self._now())

    # What an employee writes down about a customer.

    def edit(
        self,
        corpid: str,
        customer: str,
        employee: str,
        *,
        remark: str | None = None,
        description: str | None = None,
        remark_corp_name: str | None = None,
        remark_mobiles: Iterable[str] | None = None,
    ) -> Change | None:
        """The employee edits the remarks; None leaves one as it is, an empty text clears it.

        An edit of only the phone numbers pushes nothing (document 92277) and returns None.
        """
        corp = self.corp(corpid)
        relation = self._listed(corp, customer, employee)
        if remark_corp_name and corp.customer(customer).type != WECHAT:
            raise ChangeRefused("remark_corp_name is for WeChat customers only")
        wanted = {"remark": remark, "description": description, "remark_corp_name": remark_corp_name}
        pushed = {name: text for name, text in wanted.items() if text is not None and text != getattr(relation, name)}
        mobiles = None if remark_mobiles is None else tuple(remark_mobiles)
        if not pushed and mobiles in {None, relation.remark_mobiles}:
            raise ChangeRefused("the edit changes nothing")
        if pushed:
            self._tell(corp, EDIT, customer, relation.employee)
        for name, text in pushed.items():
            setattr(relation, name, text)
        if mobiles is not None:
            relation.remark_mobiles = mobiles
        return self._change(corp, EDIT, customer, relation.employee, self._now()) if pushed else None

    def mark(
        self, corpid: str, customer: str, employee: str, *, add: Iterable[Tag] = (), remove: Iterable[Tag] = ()
    ) -> Change:
        """The employee gives and takes tags."""
        corp = self.corp(corpid)
        relation = self._listed(corp, customer, employee)
        gone = set(remove)
        tags = [tag for tag in relation.tags if tag not in gone]
        tags += [tag for tag in dict.fromkeys(add) if tag not in tags]
        if tags == relation.tags:
            raise ChangeRefused("no tag is added or removed by that")
        self._tell(corp, EDIT, customer, relation.employee)
        relation.tags = tags
        return self._change(corp, EDIT, customer, relation.employee, self._now())

    # The customer's own doing, which pushes nothing.

    def set_profile(self, corpid: str, customer: str, **fields: Any) -> None:
        """The customer changes nickname, avatar, position …: fields of ``state.Customer``. Nothing is pushed."""
        known = self.corp(corpid).customer(customer)
        if unknown := fields.keys() - _PROFILE:
            raise ChangeRefused(
                f"a customer has no {', '.join(sorted(unknown))}; there are {', '.join(sorted(_PROFILE))}"
            )
        for name, value in fields.items():
            setattr(known, name, value)

    def new_customer(
        self,
        corpid: str,
        name: str,
        *,
        kind: int = WECHAT,
        external_userid: str | None = None,
    ) -> Customer:
        """Somebody whom nobody has yet; ``kind`` is the customer's type. Nothing is pushed."""
        corp = self.corp(corpid)
        if kind not in {WECHAT, WECOM}:
            raise ChangeRefused(f"a customer's type is {WECHAT} (WeChat) or {WECOM} (WeCom), not {kind!r}")
        if external_userid in corp.customers:
            raise ChangeRefused(f"corp {corpid} has a customer {external_userid!r} already")
        key = external_userid or self._id("wm")
        corp.customers[key] = Customer(key, name, kind)
        return corp.customers[key]

    def _both(self, corpid: str, customer: str, employee: str) -> tuple[Corp, Customer]:
        corp = self.corp(corpid)
        corp.employee(employee)
        return corp, corp.customer(customer)

    def _listed(self, corp: Corp, customer: str, employee: str) -> Relation:
        corp.customer(customer)
        userid = corp.employee(employee).userid
        relation = corp.find(customer, employee)
        if relation is None or not relation.listed:
            raise ChangeRefused(f"{userid} does not have customer {customer}")
        return relation

    def _standing(self, corp: Corp, customer: str, employee: str) -> Relation:
        relation = self._listed(corp, customer, employee)
        if not relation.stands:
            raise ChangeRefused(f"customer {customer} has deleted {relation.employee}")
        return relation

    def _fresh(self, corp: Corp, customer: str, userid: str, old: Relation | None) -> Relation:
        relation = Relation(userid, customer, 0)
        if old is None:
            corp.relations.setdefault(customer, {})[userid.lower()] = relation
            corp.made.append(relation)
            return relation
        # The same object stands for the relation all its life, so whoever holds it sees the truth.
        for name in ("remark", "description", "remark_corp_name", "remark_mobiles", "tags"):
            setattr(old, name, getattr(relation, name))
        old.listed = True
        return old

    def _end(self, corpid: str, customer: str, employee: str, kind: str, by: str) -> Change:
        corp = self.corp(corpid)
        # An employee may delete a customer who deleted the employee before; it does not go the other way.
        find = self._listed if by == "employee" else self._standing
        relation = find(corp, customer, employee)
        moment = self._now()
        if moment <= max(relation.began, relation.ended):
            raise TooSoon(f"the relation of {relation.employee} and {customer} began or ended in this second; wait one")
        self._tell(corp, kind, customer, relation.employee)
        relation.lost_at, relation.lost_by, relation.ended = moment, by, moment
        relation.listed = by == "customer"
        # Documented for none of the two, but a real del_follow_user carried the state.
        state = relation.state if by == "customer" else None
        source = "DELETE_BY_TRANSFER" if by == "transfer" else None
        return self._change(corp, kind, customer, relation.employee, moment, Source=source, State=state)

    def _said(self, corp: Corp, kind: str, customer: str, employee: str, moment: int, **more: str | None) -> Change:
        self._tell(corp, kind, customer, employee)
        return self._change(corp, kind, customer, employee, moment, **more)

    def _change(self, corp: Corp, kind: str, customer: str, employee: str, moment: int, **more: str | None) -> Change:
        extra = [(name, text) for name, text in more.items() if text]
        ids = [("UserID", employee), ("ExternalUserID", customer)]
        # As published: the reason of a failed transfer stands before the ids, everything else behind them.
        leaves = [("ChangeType", kind), *([*extra, *ids] if kind == TRANSFER_FAIL else [*ids, *extra])]
        corp.told.add((MEMBER, employee.lower()))
        return self._event(
            *(corp, EXTERNAL_CONTACT, kind, leaves, moment),
            object_id=customer,
            customer=customer,
            employee=employee,
        )
