"""Things that happen in more than one step: a campaign, a resignation, the life of a group, the end of a group of tags.

Each is a generator that makes one step after the other, whenever it is asked for the next; between two of them
anything else may happen. A step is everything that is pushed for one thing that happened; none at all means: not yet,
ask again later. One that has nothing to begin with ends at once, or
raises ``ChangeRefused``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from wecom.simulator.chats import BY_CODE, BY_LINK, INVITED
from wecom.simulator.state import RULE_TAG, ChangeRefused, Chat, Corp, Employee, Place, Relation
from wecom.simulator.world import FAIL_REASONS, Change, TooSoon, World

Story = Iterator[Sequence[Change]]

SETTLED_SECONDS = 15
"""Between the last that happens to somebody's relations and the day that this employee leaves."""
_KEPT = 2
"""So many employees stay what they are: guides and the chat client name them."""
_CAMPAIGNS = ("春节活动", "Spring sale", "回访计划", "会员日", "Trade fair")
_RESULTS = ("已联系", "interested", "拒绝", "later")
_CHATS = ("老客户交流群", "Tea lovers", "售后服务群", "VIP 🍵", "")


def mass_tagging(world: World, corp: Corp, source: random.Random) -> Story:
    """An employee gives many customers a tag of a group that was made for it."""
    held = _held(corp)
    if not held:
        return
    chosen = held[source.choice(sorted(held))]
    name = f"{source.choice(_CAMPAIGNS)} {source.randrange(10**4)}"
    made = world.create_tag_group(corp.corpid, name, source.sample(_RESULTS, k=3), order=source.randrange(100))
    yield made
    group = corp.tag_groups[made[0].object_id]
    for relation in source.sample(chosen, k=min(len(chosen), source.randrange(5, 25))):
        ids = {entry.tag_id for entry in group.live}
        tags = [tag for tag in corp.tags if tag.tag_id in ids]
        if tags and relation.stands:
            tag = source.choice(tags)
            yield from _do(world.mark, corp.corpid, relation.external_userid, relation.employee, add=[tag])


def tag_group_ended(world: World, corp: Corp, source: random.Random) -> Story:
    """A group of tags is tidied up, and then deleted with everything that is left in it."""
    groups = [group for group in corp.tag_groups.values() if not group.deleted and group.type != RULE_TAG]
    if len(groups) < 3:
        return
    group = source.choice(groups)
    first = group.live[0]
    yield from _do(world.update_tag, corp.corpid, first.tag_id, name=f"old {source.randrange(10**4)}")
    yield from _do(world.shuffle_tags, corp.corpid, group.group_id)
    yield from _do(world.delete_tag_group, corp.corpid, group.group_id)


def resignation(world: World, corp: Corp, source: random.Random) -> Story:
    """An employee leaves: successors get the customers and the groups, and then the account is deleted.

    Now and then a transfer fails, and a customer stays behind without anybody.
    """
    leaving = _may_leave(corp, source)
    if leaving is None:
        return
    corp.leaving.add(leaving.userid.lower())
    yield from _hand_over(world, corp, source, leaving)
    while world.clock() < _last_turn(corp, leaving) + SETTLED_SECONDS:
        yield ()
    yield from _do(world.delete_employee, corp.corpid, leaving.userid)
    corp.leaving.discard(leaving.userid.lower())


def _hand_over(world: World, corp: Corp, source: random.Random, leaving: Employee) -> Story:
    for relation in [one for one in corp.made if one.employee == leaving.userid and one.stands]:
        taker = _colleague(corp, source)
        if source.random() < 0.1:
            reason = source.choice(FAIL_REASONS)
            yield from _do(world.transfer_fail, corp.corpid, relation.external_userid, taker, reason)
        else:
            yield from _do(world.transfer, corp.corpid, relation.external_userid, relation.employee, taker)
    for chat in [one for one in corp.chats.values() if not one.dismissed]:
        if chat.owner == leaving.userid:
            heir = _colleague(corp, source)
            if chat.member(heir) is None:
                yield from _do(world.join_chat, corp.corpid, chat.chat_id, [heir])
            yield from _do(world.set_chat_owner, corp.corpid, chat.chat_id, heir)
        if chat.member(leaving.userid) is not None:
            yield from _do(world.leave_chat, corp.corpid, chat.chat_id, [leaving.userid])


def newcomer(world: World, corp: Corp, source: random.Random) -> Story:
    """Somebody joins, gets an employee tag, and a while later another department and the id that was meant."""
    number = source.randrange(10**6)
    made = world.create_employee(
        *(corp.corpid, f"New{number}", f"新人 {number}"),
        departments=[Place(source.choice(sorted(corp.departments)), source.randrange(100))],
        leaders=[_colleague(corp, source)],
    )
    yield (made,)
    if corp.member_tags:
        tagid = source.choice(sorted(corp.member_tags))
        yield from _do(world.update_member_tag, corp.corpid, tagid, add_users=[made.object_id])
    yield from _do(moved, world, corp, source, made.object_id)
    if made.object_id.lower() not in corp.leaving:
        yield from _do(world.rename_employee, corp.corpid, made.object_id, f"Staff.{number}")


def moved(world: World, corp: Corp, source: random.Random, userid: str) -> Change | None:
    """The employee works elsewhere, under another title: departments are pushed, and the title is read with them."""
    numbers = source.sample(sorted(corp.departments), k=min(len(corp.departments), source.choice((1, 2))))
    places = [Place(number, source.randrange(100), source.random() < 0.2) for number in numbers]
    before = {place.department_id for place in corp.employee(userid).places}
    if before == set(numbers):
        raise ChangeRefused(f"{userid} works there already")
    return world.update_employee(
        *(corp.corpid, userid),
        departments=places,
        position=f"title {source.randrange(10**4)}",
        alias=source.choice(("", f"alias {source.randrange(100)}")),
        leaders=[_colleague(corp, source)] if source.random() < 0.5 else [],
    )


def group_life(world: World, corp: Corp, source: random.Random) -> Story:
    """A group is made, people come by all ways and go, it gets names, notices and owners, and some are dismissed."""
    first = _outsiders(corp, source, None, 3)
    if not first:
        return
    made = world.create_chat(corp.corpid, _colleague(corp, source), members=first, name=source.choice(_CHATS))
    yield (made,)
    chat = corp.chats[made.object_id]
    for _ in range(source.randrange(4, 14)):
        yield from _do(_turn, world, corp, source, chat)
    if source.random() < 0.4:
        yield from _do(world.dismiss_chat, corp.corpid, chat.chat_id)


def _turn(world: World, corp: Corp, source: random.Random, chat: Chat) -> Change:
    what = source.random()
    others = [member.userid for member in chat.members if member.userid != chat.owner]
    if what < 0.45:
        come = _outsiders(corp, source, chat, source.choice((1, 1, 2, 5)))
        scene = source.choice((INVITED, BY_LINK, BY_CODE, BY_CODE))
        state = f"channel-{source.randrange(9)}" if scene == BY_CODE else None
        return world.join_chat(corp.corpid, chat.chat_id, come, scene=scene, state=state)
    if what < 0.55:
        return world.join_chat(corp.corpid, chat.chat_id, [_colleague(corp, source)])
    if what < 0.75 and others:
        gone = source.sample(others, k=min(len(others), source.choice((1, 1, 2))))
        return world.leave_chat(corp.corpid, chat.chat_id, gone, removed=source.random() < 0.3)
    if what < 0.85:
        return world.set_chat_name(corp.corpid, chat.chat_id, f"{source.choice(_CHATS)} {source.randrange(100)}")
    if what < 0.95:
        return world.set_chat_notice(corp.corpid, chat.chat_id, source.choice(("", f"notice {source.randrange(100)}")))
    staff = [userid for userid in others if userid.lower() in corp.employees.keys() - corp.leaving]
    if not staff:
        raise ChangeRefused("nobody in the group could own it")
    return world.set_chat_owner(corp.corpid, chat.chat_id, source.choice(staff))


def _do(make: Callable[..., Change | Sequence[Change] | None], *args: Any, **kwargs: Any) -> Story:
    """Make this change as soon as it can happen; one that can't happen at all is left out."""
    while True:
        try:
            made = make(*args, **kwargs)
        except TooSoon:
            yield ()
        except ChangeRefused:
            return
        else:
            if made is not None:
                yield (made,) if isinstance(made, Change) else made
            return


def _held(corp: Corp) -> dict[str, list[Relation]]:
    """Relations that stand, by employee, of those who have some."""
    found: dict[str, list[Relation]] = {}
    for relation in corp.made:
        if relation.stands and relation.employee.lower() not in corp.leaving:
            found.setdefault(relation.employee, []).append(relation)
    return {employee: relations for employee, relations in found.items() if len(relations) > 4}


def _outsiders(corp: Corp, source: random.Random, chat: Chat | None, most: int) -> Sequence[str]:
    """Customers who are not in the group."""
    customers = sorted({relation.external_userid for relation in corp.made if relation.stands})
    free = [one for one in customers if chat is None or chat.member(one) is None]
    return source.sample(free, k=min(most, len(free)))


def _colleague(corp: Corp, source: random.Random) -> str:
    """Somebody who is not about to leave."""
    staff = [employee.userid for key, employee in corp.employees.items() if key not in corp.leaving]
    return source.choice(staff)


def settled_staff(corp: Corp) -> list[Employee]:
    """Employees who may get another id or leave: not the first two, nor one who is about to leave already."""
    return [employee for key, employee in list(corp.employees.items())[_KEPT:] if key not in corp.leaving]


def _may_leave(corp: Corp, source: random.Random) -> Employee | None:
    """Somebody whom others can stand in for."""
    staff = settled_staff(corp)
    return source.choice(staff) if len(staff) > 2 else None


def _last_turn(corp: Corp, employee: Employee) -> float:
    had = (relation for relation in corp.made if relation.employee == employee.userid)
    return max([employee.began, *(max(relation.began, relation.ended) for relation in had)])
