"""Changes by hand: names and fields as people write them, to changes of the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wecom.simulator.actions_objects import ACTIONS as OBJECT_ACTIONS
from wecom.simulator.actions_objects import Perform
from wecom.simulator.fields import Fields, number, required, text, texts
from wecom.simulator.state import PERSONAL_TAG, WECHAT, ChangeRefused, Corp, Tag
from wecom.simulator.world import FAIL_REASONS, Change, World

_PAIR = ("customer", "employee")
_NOTES = ("remark", "description")


def perform(world: World, corp: Corp, action: str, fields: Fields) -> list[Change]:
    """Do it, and return what has to be pushed for it. Raises ``ChangeRefused``, and then nothing has happened."""
    if action not in ACTIONS:
        raise ChangeRefused(f"there is no action {action!r}; there are {', '.join(ACTIONS)}")
    names, make = ACTIONS[action]
    if unknown := sorted(set(fields) - set(names)):
        raise ChangeRefused(f"{action} takes {', '.join(names)}, and not {', '.join(unknown)}")
    return [change for change in make(world, corp, fields) if change is not None]


def _add(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    return (_added(world, corp, fields, half=False),)


def _half_add(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    return (_added(world, corp, fields, half=True),)


def _added(world: World, corp: Corp, fields: Fields, *, half: bool) -> Change:
    employee = corp.employee(required(fields, "employee")).userid
    way = _number_or(fields, "add_way", 1)
    remark, description = (text(fields, name) or "" for name in _NOTES)
    state = text(fields, "state") or None
    customer = text(fields, "customer")
    if customer not in corp.customers:
        # Somebody new. An id that is nobody's is a mistake unless there is a name to go with it.
        name = text(fields, "name")
        if customer and not name:
            raise ChangeRefused(f"corp {corp.corpid} has no customer {customer!r}; give a name to make one")
        kind = _number_or(fields, "type", WECHAT)
        customer = world.new_customer(
            corp.corpid, name or "new customer", kind=kind, external_userid=customer or None
        ).external_userid
    return world.add(
        *(corp.corpid, customer or "", employee),
        half=half,
        add_way=way,
        state=state,
        remark=remark,
        description=description,
    )


def _edit(world: World, corp: Corp, fields: Fields) -> Sequence[Change | None]:
    change = world.edit(
        *(corp.corpid, *_pair(fields)),
        remark=text(fields, "remark"),
        description=text(fields, "description"),
        remark_corp_name=text(fields, "remark_corp_name"),
        remark_mobiles=texts(fields, "remark_mobiles"),
    )
    return (change,)


def _tag(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    return (world.mark(corp.corpid, *_pair(fields), add=[_tag_of(corp, fields)]),)


def _untag(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    return (world.mark(corp.corpid, *_pair(fields), remove=[_tag_of(corp, fields)]),)


def _tag_of(corp: Corp, fields: Fields) -> Tag:
    if wanted := text(fields, "tag"):
        return corp.tag(wanted)
    if not fields.get("name"):
        raise ChangeRefused("a tag is named by tag (id, name or group/name), a personal one by group and name")
    return Tag(PERSONAL_TAG, text(fields, "group") or "", required(fields, "name"))


def _delete(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    return (world.delete(corp.corpid, *_pair(fields)),)


def _customer_delete(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    return (world.customer_delete(corp.corpid, *_pair(fields)),)


def _transfer(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    return world.transfer(corp.corpid, *_pair(fields), required(fields, "to"))


def _transfer_fail(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    return (world.transfer_fail(corp.corpid, *_pair(fields), text(fields, "reason") or FAIL_REASONS[0]),)


def _approve_archive(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    return (world.approve_archive(corp.corpid, *_pair(fields)),)


def _profile(world: World, corp: Corp, fields: Fields) -> Sequence[Change]:
    wanted: dict[str, Any] = {name: text(fields, name) for name in _PROFILE if name in fields and name != "gender"}
    if "gender" in fields:
        wanted["gender"] = _number_or(fields, "gender", 0)
    if wanted.get("name", "x") is None:
        raise ChangeRefused("name must be a text")
    world.set_profile(corp.corpid, required(fields, "customer"), **wanted)
    return ()


_PROFILE = ("name", "gender", "avatar", "position", "corp_name", "corp_full_name")

ACTIONS: Mapping[str, tuple[Sequence[str], Perform]] = {
    "add": (("employee", "customer", "name", "type", "add_way", "state", *_NOTES), _add),
    "half-add": (("employee", "customer", "name", "type", "add_way", "state", *_NOTES), _half_add),
    "edit": ((*_PAIR, *_NOTES, "remark_corp_name", "remark_mobiles"), _edit),
    "tag": ((*_PAIR, "tag", "group", "name"), _tag),
    "untag": ((*_PAIR, "tag", "group", "name"), _untag),
    "delete": (_PAIR, _delete),
    "customer-delete": (_PAIR, _customer_delete),
    "transfer": ((*_PAIR, "to"), _transfer),
    "transfer-fail": ((*_PAIR, "reason"), _transfer_fail),
    "approve-archive": (_PAIR, _approve_archive),
    "profile": (("customer", *_PROFILE), _profile),
    **OBJECT_ACTIONS,
}
"""Action to its fields and what it does. An ended relation returns by ``add``; ``profile`` is the customer's doing."""


def _pair(fields: Fields) -> tuple[str, str]:
    return required(fields, "customer"), required(fields, "employee")


def _number_or(fields: Fields, name: str, default: int) -> int:
    value = number(fields, name)
    return default if value is None else value
