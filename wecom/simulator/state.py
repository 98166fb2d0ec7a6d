"""What the small WeCom knows: corps, employees, customers, relations, tags. Plain data, changed by ``world`` only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CORP_TAG, PERSONAL_TAG, RULE_TAG = 1, 2, 3
WECHAT, WECOM = 1, 2
"""Types of customers (document 92114)."""


class ChangeRefused(Exception):
    """The change can't happen in this world; the message says in a sentence why."""


@dataclass(slots=True)
class Agent:
    """One app of a corp. Without ``customer_data`` its token is refused customers with 48002.

    ``trusted_domain`` is the host (with its port, if it names one) that logins may come back to; None: any.
    ``visible`` are the userids, in lower case, in its visible range; None: everybody.
    """

    agentid: int
    secret: str = field(repr=False)
    name: str = ""
    customer_data: bool = True
    trusted_domain: str | None = None
    visible: frozenset[str] | None = None


@dataclass(slots=True)
class Callback:
    """One callback configuration. Each gets its own copy of every event, with its own AgentID (document 96360)."""

    name: str
    token: str = field(repr=False)
    encoding_aes_key: str = field(repr=False)
    agentid: int | None = None


@dataclass(slots=True)
class Employee:
    """``userid`` is in the spelling of its creation; the platform compares without letter case (document 98728)."""

    userid: str
    name: str


@dataclass(slots=True)
class Customer:
    """A customer's own record (document 92114). What only one type has is None for the other."""

    external_userid: str
    name: str
    type: int = WECHAT
    gender: int = 0
    avatar: str = ""
    unionid: str | None = None
    position: str | None = None
    corp_name: str | None = None
    corp_full_name: str | None = None
    external_profile: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of a corp or a rule group, or a personal one, which has no id."""

    type: int
    group_name: str
    tag_name: str
    tag_id: str | None = None


@dataclass(slots=True)
class Relation:
    """One employee has one customer, or had.

    ``listed``: the API shows it; it goes on doing so when the customer ended it. ``lost_at`` is the CreateTime of the
    last loss event, in Unix seconds, while the relation has ended; ``lost_by`` is employee, customer or transfer.
    ``began`` and ``ended`` are the CreateTimes of the last events that began and ended it.
    """

    employee: str
    external_userid: str
    createtime: int
    add_way: int = 1
    oper_userid: str = ""
    state: str | None = None
    remark: str = ""
    description: str = ""
    remark_corp_name: str | None = None
    remark_mobiles: tuple[str, ...] = ()
    wechat_channels: dict[str, Any] | None = None
    tags: list[Tag] = field(default_factory=list)
    half: bool = False
    listed: bool = True
    lost_at: int | None = None
    lost_by: str | None = None
    began: int = 0
    ended: int = 0

    @property
    def stands(self) -> bool:
        """Neither side has ended it."""
        return self.listed and self.lost_at is None


@dataclass(slots=True)
class Corp:
    """One corp with everything that belongs to it."""

    corpid: str
    name: str
    agents: list[Agent]
    callbacks: list[Callback]
    employees: dict[str, Employee] = field(default_factory=dict)
    """By userid in lower case."""
    customers: dict[str, Customer] = field(default_factory=dict)
    relations: dict[str, dict[str, Relation]] = field(default_factory=dict)
    """By external_userid, then by the employee's userid in lower case; ended ones stay."""
    made: list[Relation] = field(default_factory=list)
    """The same relations in the order in which they were first made."""
    tags: list[Tag] = field(default_factory=list)
    """What employees choose from: corp tags and rule tags."""

    def employee(self, userid: str) -> Employee:
        """Raises ``ChangeRefused``."""
        found = self.employees.get(userid.lower())
        if found is None:
            raise ChangeRefused(f"corp {self.corpid} has no employee {userid!r}")
        return found

    def customer(self, external_userid: str) -> Customer:
        """Raises ``ChangeRefused``."""
        found = self.customers.get(external_userid)
        if found is None:
            raise ChangeRefused(f"corp {self.corpid} has no customer {external_userid!r}")
        return found

    def find(self, external_userid: str, userid: str) -> Relation | None:
        """The relation of the two, ended or not."""
        return self.relations.get(external_userid, {}).get(userid.lower())

    def listed(self, external_userid: str) -> Iterator[Relation]:
        """Relations of a customer that the API shows, in the order in which they were first made."""
        return (relation for relation in self.relations.get(external_userid, {}).values() if relation.listed)

    def tag(self, wanted: str) -> Tag:
        """A corp or rule tag by id, by name, or by ``group/name``. Raises ``ChangeRefused``."""
        for tag in self.tags:
            if wanted in {tag.tag_id, tag.tag_name, f"{tag.group_name}/{tag.tag_name}"}:
                return tag
        raise ChangeRefused(f"corp {self.corpid} has no tag {wanted!r}")
