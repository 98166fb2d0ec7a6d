"""The steps of a scenario that are not about a relation: employees, departments, tags, groups."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from wecom.simulator.state import ROOT, RULE_TAG, ChangeRefused, Corp
from wecom.simulator.stories import (
    Story,
    group_life,
    mass_tagging,
    moved,
    newcomer,
    resignation,
    settled_staff,
    tag_group_ended,
)
from wecom.simulator.world import Change, World

_AT_ONCE = 5
"""Stories under way in one corp."""
_BEGINS = 0.25

Begin = Callable[[World, Corp, random.Random], Story]
_STORIES: Sequence[tuple[Begin, int]] = (
    (group_life, 6),
    (mass_tagging, 2),
    (newcomer, 3),
    (resignation, 3),
    (tag_group_ended, 2),
)


class Families:
    """Begins stories, goes on with those under way, and makes single changes between them."""

    def __init__(self, world: World, *, seed: int) -> None:
        """The same for the same seed."""
        self._world = world
        self._random = random.Random(f"families {seed}")
        self._running: dict[str, list[Story]] = {}
        self._singles: Sequence[tuple[Callable[[Corp], Sequence[Change | None]], int]] = (
            (self._move, 4),
            (self._rename, 1),
            (self._departments, 4),
            (self._member_tags, 3),
            (self._tags, 6),
        )

    def step(self, corp: Corp) -> Sequence[Change]:
        """The next change of this corp; empty if there is none at the moment. May raise ``ChangeRefused``."""
        if not corp.employees:
            return ()
        if self._random.random() < 0.4:
            make, weights = zip(*self._singles, strict=True)
            single: Callable[[Corp], Sequence[Change | None]] = self._random.choices(make, weights)[0]
            return [change for change in single(corp) if change is not None]
        running = self._running.setdefault(corp.corpid, [])
        if len(running) < _AT_ONCE and (not running or self._random.random() < _BEGINS):
            begins, shares = zip(*_STORIES, strict=True)
            begin: Begin = self._random.choices(begins, shares)[0]
            running.append(begin(self._world, corp, random.Random(self._random.randrange(2**32))))
        story = self._random.choice(running)
        try:
            return next(story)
        except (StopIteration, ChangeRefused):
            running.remove(story)
            return ()

    def _move(self, corp: Corp) -> Sequence[Change | None]:
        userid = self._random.choice(list(corp.employees.values())).userid
        return (moved(self._world, corp, self._random, userid),)

    def _rename(self, corp: Corp) -> Sequence[Change | None]:
        staff = settled_staff(corp)
        if not staff:
            return ()
        employee = self._random.choice(staff)
        name = f"{employee.userid.partition('~')[0][:20]}-{self._random.randrange(10**4)}"
        return (self._world.rename_employee(corp.corpid, employee.userid, name),)

    def _departments(self, corp: Corp) -> Sequence[Change | None]:
        what, number = self._random.random(), self._random.randrange(10**4)
        others = sorted(corp.departments.keys() - {ROOT})
        if what < 0.3 or not others:
            parentid = self._random.choice(sorted(corp.departments))
            leaders = [self._random.choice(list(corp.employees.values())).userid]
            return (
                self._world.create_department(
                    corp.corpid, f"部门 {number}", parentid=parentid, name_en=f"Dept {number}", leaders=leaders
                ),
            )
        chosen = self._random.choice(others)
        if what < 0.6:
            return self._world.delete_department(corp.corpid, chosen)
        parentid = self._random.choice(sorted(corp.departments))
        if parentid == corp.departments[chosen].parentid:
            raise ChangeRefused("what pushes nothing does not happen alone")
        return (
            self._world.update_department(corp.corpid, chosen, parentid=parentid, name=f"部门 {number}", order=number),
        )

    def _member_tags(self, corp: Corp) -> Sequence[Change | None]:
        what = self._random.random()
        if not corp.member_tags or what < 0.1:
            tag = self._world.create_member_tag(corp.corpid, f"标签 {self._random.randrange(10**4)}")
        else:
            tag = self._random.choice(list(corp.member_tags.values()))
        if what > 0.93 and (tag.users or tag.parties):
            return (self._world.delete_member_tag(corp.corpid, tag.tagid),)
        staff = [employee.userid for employee in corp.employees.values()]
        come, gone = self._random.sample(staff, k=1), self._random.sample(tag.users, k=min(1, len(tag.users)))
        if come == gone or come[0] in tag.users:
            raise ChangeRefused("nobody gets the tag by that")
        party = [self._random.choice(sorted(corp.departments))] if self._random.random() < 0.3 else []
        return (
            self._world.update_member_tag(
                *(corp.corpid, tag.tagid),
                add_users=come,
                del_users=gone if self._random.random() < 0.5 else [],
                add_parties=party,
                name=f"标签 {self._random.randrange(10**4)}" if self._random.random() < 0.2 else None,
            ),
        )

    def _tags(self, corp: Corp) -> Sequence[Change | None]:
        groups = [group for group in corp.tag_groups.values() if not group.deleted]
        if not groups:
            return ()
        group, what = self._random.choice(groups), self._random.random()
        name, order = f"tag {self._random.randrange(10**5)}", self._random.randrange(10**4)
        entry = self._random.choice(group.live)
        if what < 0.25:
            return (self._world.create_tag(corp.corpid, group.group_id, name, order=order),)
        if what < 0.45:
            return (self._world.update_tag(corp.corpid, entry.tag_id, name=name),)
        if what < 0.6:
            return (self._world.update_tag_group(corp.corpid, group.group_id, name=f"{name} 组", order=order),)
        if what < 0.75:
            return (self._world.shuffle_tags(corp.corpid, group.group_id),)
        if what < 0.85:
            return (self._world.shuffle_tags(corp.corpid),)
        if group.type == RULE_TAG and len(group.live) < 2:
            raise ChangeRefused("the last tag of a rule group stays")
        return (self._world.delete_tag(corp.corpid, entry.tag_id),)
