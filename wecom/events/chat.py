"""``change_external_chat``: a customer group changed (document 92130)."""

from __future__ import annotations

from wecom.events.base import Event, Leaves, Texts, head


def parse_external_chat(texts: Texts, leaves: Leaves) -> Event:
    """ChangeTypes create, update, dismiss. The rest is in the leaves; ``Item`` may occur once, often or not at all."""
    event, change, create_time = head(texts)
    return Event(
        event=event,
        change=change,
        create_time=create_time,
        leaves=leaves,
        kind="chat",
        object_id=texts.get("ChatId") or None,
    )
