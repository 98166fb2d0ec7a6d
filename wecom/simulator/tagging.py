"""Customers' tags change: those of the corp and of rule groups, in their groups (document 92130).

Nothing of this is a customer's event: a renamed tag has its new name in every relation, a deleted one leaves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from wecom.simulator.events import EXTERNAL_TAG, Change, EventSource, TooSoon
from wecom.simulator.state import (
    CORP_TAG,
    RULE_TAG,
    TAG,
    TAG_GROUP,
    ChangeRefused,
    Corp,
    Tag,
    TagEntry,
    TagGroup,
)

CREATE, UPDATE, DELETE, SHUFFLE = "create", "update", "delete", "shuffle"


class CorpTags(EventSource):
    """What administrators do with tags. A tag is named by id, name, or ``group/name``; a group by id or name."""

    def create_tag_group(self, corpid: str, name: str, tags: Sequence[str], *, order: int = 0) -> tuple[Change, ...]:
        """A group with its first tags, of which there is one at least; an event for the group and one for each tag."""
        corp, moment = self.corp(corpid), self._now()
        self._free_name(corp, name)
        if not tags or len(set(tags)) < len(tags):
            raise ChangeRefused("a group of tags begins with a tag at least, and has each name once")
        group = TagGroup(self._id("et"), name, CORP_TAG, order, moment)
        corp.tag_groups[group.group_id] = group
        made = [self._tag_event(corp, CREATE, moment, group)]
        return *made, *(self._new_tag(corp, group, tag, 0, moment) for tag in tags)

    def create_tag(self, corpid: str, group: str, name: str, *, order: int = 0) -> Change:
        """One more tag in a group."""
        corp = self.corp(corpid)
        found = corp.tag_group(group)
        if any(entry.name == name for entry in found.live):
            raise ChangeRefused(f"the group {found.name} has a tag {name!r} already")
        return self._new_tag(corp, found, name, order, self._now())

    def update_tag(self, corpid: str, tag: str, *, name: str | None = None, order: int | None = None) -> Change:
        """Another name or place; None leaves it as it is."""
        corp = self.corp(corpid)
        group, entry = _entry(corp, tag)
        if name != entry.name and any(one.name == name for one in group.live):
            raise ChangeRefused(f"the group {group.name} has a tag {name!r} already")
        if name in {None, entry.name} and order in {None, entry.order}:
            raise ChangeRefused(f"nothing about the tag {entry.name} is changed by that")
        entry.name = entry.name if name is None else name
        entry.order = entry.order if order is None else order
        _rewrite(corp, lambda one: replace(one, tag_name=entry.name) if one.tag_id == entry.tag_id else one)
        return self._tag_event(corp, UPDATE, self._now(), group, entry)

    def update_tag_group(self, corpid: str, group: str, *, name: str | None = None, order: int | None = None) -> Change:
        """Another name or place; None leaves it as it is."""
        corp = self.corp(corpid)
        found = corp.tag_group(group)
        if name in {None, found.name} and order in {None, found.order}:
            raise ChangeRefused(f"nothing about the group {found.name} is changed by that")
        if name is not None and name != found.name:
            self._free_name(corp, name)
        found.name = found.name if name is None else name
        found.order = found.order if order is None else order
        ids = {entry.tag_id for entry in found.tags}
        _rewrite(corp, lambda one: replace(one, group_name=found.name) if one.tag_id in ids else one)
        return self._tag_event(corp, UPDATE, self._now(), found)

    def delete_tag(self, corpid: str, tag: str) -> Change:
        """The tag leaves every relation. With its last tag the group is gone, which no event says (document 92117)."""
        corp, moment = self.corp(corpid), self._now()
        group, entry = _entry(corp, tag)
        _not_just_made(entry.name, entry.create_time, moment)
        entry.deleted = True
        group.deleted = not group.live
        _rewrite(corp, lambda one: None if one.tag_id == entry.tag_id else one)
        return self._tag_event(corp, DELETE, moment, group, entry)

    def delete_tag_group(self, corpid: str, group: str) -> Change:
        """The group with all its tags, for which no events follow."""
        corp, moment = self.corp(corpid), self._now()
        found = corp.tag_group(group)
        _not_just_made(found.name, max([found.create_time, *(entry.create_time for entry in found.live)]), moment)
        ids = {entry.tag_id for entry in found.tags}
        for entry in found.tags:
            entry.deleted = True
        found.deleted = True
        _rewrite(corp, lambda one: None if one.tag_id in ids else one)
        return self._tag_event(corp, DELETE, moment, found)

    def shuffle_tags(self, corpid: str, group: str | None = None) -> Change:
        """The tags of a group are put in another order, or without ``group`` the groups themselves."""
        corp = self.corp(corpid)
        found = None if group is None else corp.tag_group(group)
        groups = [found] if found else [one for one in corp.tag_groups.values() if not one.deleted]
        placed: list[TagEntry | TagGroup] = [*(found.live if found else groups)]
        if len(placed) < 2:
            raise ChangeRefused("there is nothing to put in another order")
        orders = list(range(len(placed)))
        self._random.shuffle(orders)
        for one, order in zip(placed, orders, strict=True):
            one.order = order
        for told in groups:
            _tell_all(corp, told)
        leaves = [("Id", found.group_id if found else ""), ("ChangeType", SHUFFLE), *_strategy(found)]
        return self._event(corp, EXTERNAL_TAG, SHUFFLE, leaves, self._now(), object_id=found.group_id if found else "")

    def _new_tag(self, corp: Corp, group: TagGroup, name: str, order: int, moment: int) -> Change:
        entry = TagEntry(self._id("st" if group.type == RULE_TAG else "et"), name, order, moment)
        group.tags.append(entry)
        corp.tags.append(Tag(group.type, group.name, name, entry.tag_id))
        return self._tag_event(corp, CREATE, moment, group, entry)

    def _tag_event(
        self, corp: Corp, change: str, moment: int, group: TagGroup, entry: TagEntry | None = None
    ) -> Change:
        kind, object_id = (TAG_GROUP, group.group_id) if entry is None else (TAG, entry.tag_id)
        if entry is None:
            _tell_all(corp, group)
        else:
            # Whoever asks for the tag is told its group as well.
            corp.told |= {(TAG, entry.tag_id), (TAG_GROUP, group.group_id)}
        leaves = [("Id", object_id), ("TagType", kind), ("ChangeType", change), *_strategy(group)]
        return self._event(corp, EXTERNAL_TAG, change, leaves, moment, object_id=object_id)

    def _free_name(self, corp: Corp, name: str) -> None:
        if not name or any(group.name == name for group in corp.tag_groups.values() if not group.deleted):
            raise ChangeRefused(f"a group of tags needs a name that no other one has, and not {name!r}")


def _entry(corp: Corp, wanted: str) -> tuple[TagGroup, TagEntry]:
    tag = corp.tag(wanted)
    for group in corp.tag_groups.values():
        for entry in group.live:
            if entry.tag_id == tag.tag_id:
                return group, entry
    raise ChangeRefused(f"corp {corp.corpid} has no group with the tag {wanted!r}")


def _rewrite(corp: Corp, change: Callable[[Tag], Tag | None]) -> None:
    """Change a tag, or remove it where ``change`` returns None, wherever the corp has it."""
    corp.tags = [new for tag in corp.tags if (new := change(tag)) is not None]
    for relation in corp.made:
        relation.tags = [new for tag in relation.tags if (new := change(tag)) is not None]


def _tell_all(corp: Corp, group: TagGroup) -> None:
    corp.told |= {(TAG_GROUP, group.group_id), *((TAG, entry.tag_id) for entry in group.tags)}


def _not_just_made(name: str, made: int, moment: int) -> None:
    if moment <= made:
        raise TooSoon(f"{name} was made in this second; wait one")


def _strategy(group: TagGroup | None) -> list[tuple[str, str]]:
    return [] if group is None or group.strategy_id is None else [("StrategyId", str(group.strategy_id))]
