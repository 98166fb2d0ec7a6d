"""A stream of changes as a working day brings them, the same for the same seed and clock."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

from wecom.simulator.population import company, mobile, nickname
from wecom.simulator.scenario_families import Families
from wecom.simulator.state import PERSONAL_TAG, WECHAT, ChangeRefused, Corp, Relation, Tag
from wecom.simulator.world import CHANNELS, FAIL_REASONS, Change, World

_WAYS = (0, 1, 1, 1, 2, 3, 4, 6, CHANNELS, 16, 16, 24, 201)
_REMARKS = ("重要客户", "ask again in May", "🙂 回访", "VIP", "价格敏感", 'says "no" & <maybe>', "长" * 194, "")
_PERSONAL = ("爱喝茶", "weekend only", "🎂 三月")
_FRESH_SHARE = 0.55
OTHERS_SHARE = 0.35
"""So many of the steps that bring in nobody are about employees, departments, tags and groups."""
_TRIES = 200


class Scenario:
    """Makes one change after the other in all corps of a world, in turns that chance decides.

    Customers whom nobody has come in by adds until all have; between and after that there are edits, tags, losses by
    either side, returns, transfers and half adds, and everything that happens to employees, departments, tags and
    groups (``stories``). What can't happen at the moment, for instance because its opposite
    happened in the same second, is left for something else; nothing ever waits.

    Changes that push nothing (a new nickname, only the phone numbers, another title) happen together with one of the
    same customer or employee that is pushed, so that a reader who follows every push comes to know them.
    """

    def __init__(self, world: World, *, seed: int = 1, others: float = OTHERS_SHARE) -> None:
        """The world may have relations already, and may be changed by others between two changes.

        ``others`` is a share; with 0 only relations change.
        """
        self._world = world
        self._random = random.Random(seed)
        self._queue: deque[Change] = deque()
        # With numbers of its own: what happens to relations stays as it is for a seed, as far as it can.
        self._families = Families(world, seed=seed)
        self._turn = random.Random(f"others {seed}")
        self._others = others
        self._fresh = {corp.corpid: self._strangers(corp) for corp in world.corps.values()}
        self._kinds: Sequence[tuple[Callable[[Corp], Sequence[Change]], int]] = (
            (self._edit, 26),
            (self._edit_and_more, 8),
            (self._mark, 20),
            (self._second_employee, 10),
            (self._half_add, 4),
            (self._confirm, 4),
            (self._delete, 8),
            (self._customer_delete, 8),
            (self._return, 10),
            (self._transfer, 4),
            (self._transfer_fail, 2),
            (self._approve_archive, 2),
        )

    def next_change(self) -> Change:
        """Make the next change and return it. Raises ``RuntimeError`` if nothing at all can happen in this world."""
        if self._queue:
            return self._queue.popleft()
        corps = list(self._world.corps.values())
        for _ in range(_TRIES):
            corp = self._random.choice(corps)
            try:
                made = self._step(corp)
            except ChangeRefused:
                continue
            if made:
                self._queue.extend(made)
                return self._queue.popleft()
        raise RuntimeError("nothing can happen in a world without employees, customers or corps")

    def _strangers(self, corp: Corp) -> list[str]:
        found = [key for key in corp.customers if key not in corp.relations]
        self._random.shuffle(found)
        return found

    def _step(self, corp: Corp) -> Sequence[Change]:
        fresh = self._fresh[corp.corpid]
        while fresh and fresh[-1] in corp.relations:
            fresh.pop()
        if fresh and (not corp.made or self._random.random() < _FRESH_SHARE):
            return self._add(corp, fresh[-1], half=self._random.random() < 0.1)
        if self._turn.random() < self._others:
            return self._families.step(corp)
        kinds, weights = zip(*self._kinds, strict=True)
        step: Callable[[Corp], Sequence[Change]] = self._random.choices(kinds, weights)[0]
        return step(corp) if corp.made else ()

    def _relation(self, corp: Corp) -> Relation:
        return self._random.choice(corp.made)

    def _colleague(self, corp: Corp) -> str:
        staff = [employee.userid for key, employee in corp.employees.items() if key not in corp.leaving]
        return self._random.choice(staff)

    def _add(self, corp: Corp, customer: str, employee: str | None = None, *, half: bool = False) -> Sequence[Change]:
        way = self._random.choice(_WAYS)
        change = self._world.add(
            *(corp.corpid, customer, employee or self._colleague(corp)),
            half=half,
            add_way=way,
            state=f"channel-{self._random.randrange(9)}" if way in {1, 16} and self._random.random() < 0.7 else None,
            welcome=self._random.random() < 0.8,
            oper_userid=customer if self._random.random() < 0.5 else None,
            remark=self._random.choice(_REMARKS) if self._random.random() < 0.5 else "",
        )
        return (change,)

    def _second_employee(self, corp: Corp) -> Sequence[Change]:
        return self._add(corp, self._relation(corp).external_userid)

    def _half_add(self, corp: Corp) -> Sequence[Change]:
        return self._add(corp, self._relation(corp).external_userid, half=True)

    def _confirm(self, corp: Corp) -> Sequence[Change]:
        waiting = [relation for relation in corp.made if relation.half and relation.stands]
        if not waiting:
            return ()
        relation = self._random.choice(waiting)
        return (self._world.add(corp.corpid, relation.external_userid, relation.employee),)

    def _return(self, corp: Corp) -> Sequence[Change]:
        gone = [relation for relation in corp.made if not relation.stands]
        if not gone:
            return ()
        relation = self._random.choice(gone)
        return self._add(corp, relation.external_userid, relation.employee)

    def _edit(self, corp: Corp) -> Sequence[Change]:
        # Also of relations that the customer ended: a late edit must not bring them back.
        relation = self._relation(corp)
        number = self._random.randrange(10**6)
        what = self._random.random()
        wechat = corp.customer(relation.external_userid).type == WECHAT
        change = self._world.edit(
            *(corp.corpid, relation.external_userid, relation.employee),
            remark=f"{self._random.choice(_REMARKS)}{number}" if what < 0.6 else None,
            # An empty text clears it; what was cleared in WeCom must be cleared in the tables.
            description=self._random.choice(("", f"called {number} times")) if what > 0.4 else None,
            remark_corp_name=company(self._random) if wechat and what > 0.8 else None,
        )
        return (change,) if change else ()

    def _edit_and_more(self, corp: Corp) -> Sequence[Change]:
        made = self._edit(corp)
        for change in made:
            # Whatever is refused from here on would swallow the push of the edit, so nothing may be.
            self._rename(corp, change.customer)
            relation = corp.find(change.customer, change.employee)
            mobiles = tuple(mobile(self._random) for _ in range(self._random.choice((0, 1, 1, 2))))
            if relation is not None and mobiles != relation.remark_mobiles:
                self._world.edit(corp.corpid, change.customer, change.employee, remark_mobiles=mobiles)
        return made

    def _rename(self, corp: Corp, customer: str) -> None:
        name = f"{nickname(self._random)} ({corp.name})"
        # Nicknames are whatever people type, and some of it fits into no database.
        self._world.set_profile(corp.corpid, customer, name=name + "\0" if self._random.random() < 0.1 else name)

    def _mark(self, corp: Corp) -> Sequence[Change]:
        return self._mark_this(corp, self._relation(corp))

    def _mark_this(self, corp: Corp, relation: Relation) -> Sequence[Change]:
        group = self._random.choice(("我的标签", "mine"))
        choice: list[Tag] = [*corp.tags, *(Tag(PERSONAL_TAG, group, name) for name in _PERSONAL)]
        add = self._random.sample(choice, k=self._random.choice((0, 1, 2, 3)))
        removable = [tag for tag in relation.tags if tag not in add]
        remove = self._random.sample(removable, k=1) if removable and self._random.random() < 0.4 else []
        return (self._world.mark(corp.corpid, relation.external_userid, relation.employee, add=add, remove=remove),)

    def _delete(self, corp: Corp) -> Sequence[Change]:
        relation = self._relation(corp)
        return (self._world.delete(corp.corpid, relation.external_userid, relation.employee),)

    def _customer_delete(self, corp: Corp) -> Sequence[Change]:
        relation = self._relation(corp)
        return (self._world.customer_delete(corp.corpid, relation.external_userid, relation.employee),)

    def _transfer(self, corp: Corp) -> Sequence[Change]:
        relation = self._relation(corp)
        return self._world.transfer(corp.corpid, relation.external_userid, relation.employee, self._colleague(corp))

    def _transfer_fail(self, corp: Corp) -> Sequence[Change]:
        reason = self._random.choice(FAIL_REASONS)
        customer = self._relation(corp).external_userid
        return (self._world.transfer_fail(corp.corpid, customer, self._colleague(corp), reason),)

    def _approve_archive(self, corp: Corp) -> Sequence[Change]:
        relation = self._relation(corp)
        return (self._world.approve_archive(corp.corpid, relation.external_userid, relation.employee),)
