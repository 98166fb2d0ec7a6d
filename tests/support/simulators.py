"""A tiny world for the tests of the simulator: two corps with the same ids, and a clock that stands still."""

from __future__ import annotations

from typing import Any

from wecom.simulator.state import (
    CORP_TAG,
    RULE_TAG,
    WECHAT,
    WECOM,
    Agent,
    Callback,
    Corp,
    Customer,
    Employee,
    Tag,
)
from wecom.simulator.world import Change, World

AGENTID = 1000002
TOKEN, KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
STAGE, RULE = Tag(CORP_TAG, "Stage", "lead", "etLead"), Tag(RULE_TAG, "Rules", "spring", "stSpring")


class Clock:
    """Unix seconds that pass when told to."""

    def __init__(self, now: float = 1_770_000_000.25) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds


def tiny_corp(corpid: str) -> Corp:
    """Three employees, two customers, nobody has anybody. wmOnly-<corpid> exists in this corp alone."""
    corp = Corp(
        corpid,
        f"Corp {corpid}",
        [Agent(AGENTID, f"secret-{corpid}"), Agent(1000003, f"blind-{corpid}", customer_data=False)],
        [Callback("contacts", TOKEN, KEY, AGENTID)],
    )
    corp.employees = {name.lower(): Employee(name, name) for name in ("ZhangSan", "LiSi", "wangwu")}
    people = (
        Customer("wmA", f"Anna of {corpid}", WECHAT, 2, "https://a", unionid="oA"),
        Customer("woB", f"Bob of {corpid}", WECOM, 1, "https://b", position="Buyer", corp_name="Blue"),
        Customer(f"wmOnly-{corpid}", f"Only of {corpid}"),
    )
    corp.customers = {customer.external_userid: customer for customer in people}
    corp.tags = [STAGE, RULE]
    return corp


def tiny_world(clock: Clock, *corpids: str) -> World:
    """Corps ``ww1`` and ``ww2`` unless others are named."""
    return World([tiny_corp(corpid) for corpid in corpids or ("ww1", "ww2")], clock=clock)


def leaves(change: Change) -> dict[str, str]:
    """The elements of the event without the envelope that all events have."""
    return {name: text for name, text in change.leaves if name not in _ENVELOPE}


def listed(shown: list[dict[str, Any]]) -> list[str]:
    """Who has the customer, of a ``follow_user``."""
    return [follow["userid"] for follow in shown]


_ENVELOPE = {"ToUserName", "FromUserName", "CreateTime", "MsgType", "Event"}
