"""The tags that a corp begins with, put into their groups; and its root department."""

from __future__ import annotations

import hashlib

from wecom.simulator.state import ROOT, RULE_TAG, Corp, Department, TagEntry, TagGroup

FOUNDED = 1_600_000_000
"""Unix time of what was there before the first event."""
STRATEGY = 1


def plant(corp: Corp) -> None:
    """Make groups for the tags that are in none, and the department that everybody is in."""
    corp.departments.setdefault(ROOT, Department(ROOT, corp.name, parentid=0))
    known = {entry.tag_id for group in corp.tag_groups.values() for entry in group.tags}
    for tag in corp.tags:
        if tag.tag_id is None or tag.tag_id in known:
            continue
        group_id = _group_id(tag.type, tag.group_name)
        group = corp.tag_groups.get(group_id)
        if group is None:
            strategy = STRATEGY if tag.type == RULE_TAG else None
            order = 1000 - len(corp.tag_groups)
            group = TagGroup(group_id, tag.group_name, tag.type, order, FOUNDED, strategy)
            corp.tag_groups[group_id] = group
        group.tags.append(TagEntry(tag.tag_id, tag.tag_name, 1000 - len(group.tags), FOUNDED))


def _group_id(kind: int, name: str) -> str:
    prefix = "st" if kind == RULE_TAG else "et"
    return prefix + hashlib.blake2b(f"{kind}/{name}".encode(), digest_size=15).hexdigest()
