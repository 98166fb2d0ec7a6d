"""Every kind of object that is read."""

from __future__ import annotations

from collections.abc import Mapping

from sync.objects.aliases import Aliases
from sync.objects.base import Kind
from sync.objects.chats import Chats
from sync.objects.customers import Customers
from sync.objects.departments import Departments
from sync.objects.departures import Departures
from sync.objects.member_tags import MemberTags
from sync.objects.members import Members
from sync.objects.tag_groups import TagGroups
from sync.objects.tags import Tags

_ALL: tuple[Kind, ...] = (
    *(Aliases(), Chats(), Customers(), Departments(), Departures()),
    *(Members(), MemberTags(), Tags(), TagGroups()),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
"""By the name that ``pending_read`` has for them."""
