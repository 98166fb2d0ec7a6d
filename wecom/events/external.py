"""``change_external_contact``: a relation between an employee and a customer changed (document 92130)."""

from __future__ import annotations

from dataclasses import dataclass

from wecom.events.base import Event, Leaves, Texts, head, member


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalContactChange(Event):
    """Names of fields as the platform has them; None where the element is absent or empty.

    ``welcome_code`` is a secret that lives 20 seconds and is never stored; ``source`` is DELETE_BY_TRANSFER or None.
    """

    state: str | None
    welcome_code: str | None
    source: str | None
    fail_reason: str | None


def parse_external_contact(texts: Texts, leaves: Leaves) -> Event:
    """ChangeTypes: add_external_contact, edit_external_contact, add_half_external_contact, del_external_contact,
    del_follow_user, transfer_fail, msg_audit_approved; one that is not known is read the same way."""
    event, change, create_time = head(texts)
    return ExternalContactChange(
        event=event,
        change=change,
        create_time=create_time,
        leaves=leaves,
        kind="customer",
        object_id=texts.get("ExternalUserID") or None,
        userid=member(texts),
        state=texts.get("State") or None,
        welcome_code=texts.get("WelcomeCode") or None,
        source=texts.get("Source") or None,
        fail_reason=texts.get("FailReason") or None,
    )
