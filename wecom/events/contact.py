"""``change_contact``: the address book changed (documents 90970, 90971, 90972)."""

from __future__ import annotations

from dataclasses import dataclass

from wecom.events.base import Event, Leaves, Texts, head, member

# Ids and structure. Of everything else (names, phones, addresses) only that it changed may be kept.
_KEPT = frozenset(
    {
        *("ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "ChangeType"),
        *("InfoType", "SuiteId", "AuthCorpId", "TimeStamp"),
        *("UserID", "NewUserID", "Department", "MainDepartment", "IsLeaderInDept", "DirectLeader", "Status"),
        *("Id", "ParentId", "Order", "TagId"),
        *("AddUserItems", "DelUserItems", "AddPartyItems", "DelPartyItems"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactChange(Event):
    """``new_userid`` is set when the member's id itself changed."""

    new_userid: str | None

    @property
    def kept_leaves(self) -> Leaves:
        """Ids, and the names of the changed fields without their values."""
        return tuple((path, text if path in _KEPT else "") for path, text in self.leaves)


def parse_contact(texts: Texts, leaves: Leaves) -> Event:
    """ChangeTypes create_user, update_user, delete_user; create_party, update_party, delete_party; update_tag."""
    event, change, create_time = head(texts)
    kind: str | None = None
    object_id: str | None = None
    if change.endswith("_user"):
        kind, object_id = "member", member(texts)
    elif change.endswith("_party"):
        kind, object_id = "party", texts.get("Id") or None
    elif change.endswith("_tag"):
        kind, object_id = "member_tag", texts.get("TagId") or None
    return ContactChange(
        event=event,
        change=change,
        create_time=create_time,
        leaves=leaves,
        kind=kind,
        object_id=object_id,
        userid=member(texts),
        new_userid=member(texts, "NewUserID"),
    )
