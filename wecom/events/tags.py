"""``change_external_tag``: a corp tag or a group of them changed (document 92130)."""

from __future__ import annotations

from wecom.events.base import Event, Leaves, Texts, head


def parse_external_tag(texts: Texts, leaves: Leaves) -> Event:
    """ChangeTypes create, update, delete, shuffle; ``Id`` is empty when the order of the groups changed."""
    event, change, create_time = head(texts)
    kind = "tag" if texts.get("TagType") == "tag" else "tag_group"
    return Event(
        event=event,
        change=change,
        create_time=create_time,
        leaves=leaves,
        kind=kind,
        object_id=texts.get("Id") or None,
    )
