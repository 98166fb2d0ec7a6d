"""What the small WeCom knows: corps, employees, customers, relations, tags. Plain data, changed by ``world`` only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CORP_TAG, PERSONAL_TAG, RULE_TAG = 1, 2, 3
WECHAT, WECOM = 1, 2
"""Types of customers (document 92114)."""
STAFF, OUTSIDER = 1, 2
"""Types of a group's members: an employee, an external contact (document 92122)."""
ROOT = 1
"""The department above all others."""
MEMBER, PARTY, MEMBER_TAG = "member", "party", "member_tag"
TAG, TAG_GROUP, CHAT = "tag", "tag_group", "chat"
"""Kinds of objects besides customers."""


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


@dataclass(frozen=True, slots=True)
class Place:
    """A department that an employee is in. ``order``: larger first."""

    department_id: int
    order: int = 0
    is_leader: bool = False


@dataclass(slots=True)
class Employee:
    """``userid`` is in the spelling of its creation; the platform compares without letter case (document 98728).

    ``status`` is 1 active, 2 disabled, 4 not activated. ``places`` are the departments, the main one first;
    ``leaders`` the userids of superiors. ``began`` is the CreateTime of the event that made it.
    """

    userid: str
    name: str
    alias: str = ""
    position: str = ""
    status: int = 1
    places: tuple[Place, ...] = (Place(ROOT),)
    leaders: tuple[str, ...] = ()
    began: int = 0


@dataclass(slots=True)
class Department:
    """``order``: larger first; ``leaders`` are userids."""

    department_id: int
    name: str
    parentid: int = ROOT
    name_en: str = ""
    order: int = 0
    leaders: tuple[str, ...] = ()
    began: int = 0


@dataclass(slots=True)
class MemberTag:
    """A tag of employees: those who have it, in the spelling of their creation, and departments."""

    tagid: int
    name: str
    users: list[str] = field(default_factory=list)
    parties: list[int] = field(default_factory=list)


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
class TagEntry:
    """A tag with id in its group. ``order``: larger first."""

    tag_id: str
    name: str
    order: int
    create_time: int
    deleted: bool = False


@dataclass(slots=True)
class TagGroup:
    """A group of tags of the corp, or of a rule group, which has a ``strategy_id``.

    What was deleted stays, as the API goes on saying so to those who ask for the id.
    """

    group_id: str
    name: str
    type: int
    order: int
    create_time: int
    strategy_id: int | None = None
    deleted: bool = False
    tags: list[TagEntry] = field(default_factory=list)

    @property
    def live(self) -> list[TagEntry]:
        """Those that are not deleted."""
        return [entry for entry in self.tags if not entry.deleted]


@dataclass(slots=True)
class ChatMember:
    """Somebody in a group: an employee's userid, or an external_userid. ``join_scene`` 1 invited by a member, 2 by an
    invitation link, 3 by the group's QR code. ``name`` is as of the last change of the group."""

    type: int
    userid: str
    join_time: int
    join_scene: int = 1
    invitor: str | None = None
    group_nickname: str = ""
    name: str = ""
    unionid: str | None = None
    state: str | None = None


@dataclass(slots=True)
class Chat:
    """A customer group. ``version`` is the platform's of the list of members, ``versions`` each one told by an event
    with the one before it."""

    chat_id: str
    owner: str
    create_time: int
    name: str = ""
    notice: str = ""
    admins: tuple[str, ...] = ()
    members: list[ChatMember] = field(default_factory=list)
    version: str = ""
    versions: list[tuple[str, str]] = field(default_factory=list)
    dismissed: bool = False

    def member(self, userid: str) -> ChatMember | None:
        """By the id of an employee, whose letter case does not matter, or of an external contact."""
        for member in self.members:
            if member.userid == userid or (member.type == STAFF and member.userid.lower() == userid.lower()):
                return member
        return None


@dataclass(slots=True)
class Relation:
    """One employee has one customer, or had.

    ``listed``: the API shows it; it goes on doing so when the customer ended it. ``lost_at`` is the CreateTime of the
    last loss event, in Unix seconds, while the relation has ended; ``lost_by`` is employee, customer, transfer, or
    left when the employee left the corp.
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
    departments: dict[int, Department] = field(default_factory=dict)
    member_tags: dict[int, MemberTag] = field(default_factory=dict)
    dead_member_tags: set[int] = field(default_factory=set)
    tag_groups: dict[str, TagGroup] = field(default_factory=dict)
    """The same tags in their groups, with those that were deleted; by group id."""
    chats: dict[str, Chat] = field(default_factory=dict)
    """Customer groups, the dismissed ones included."""
    told: set[tuple[str, str]] = field(default_factory=set)
    """Kind and id of every object but customers that an event named, those that are no more included."""
    renamed: dict[str, str] = field(default_factory=dict)
    """An id that an employee had to the one that came next, both in lower case."""
    freed: dict[str, int] = field(default_factory=dict)
    """Ids, in lower case, that were an employee's, to the CreateTime of the event that last said so."""
    closed: dict[int, int] = field(default_factory=dict)
    """The same of departments that were deleted."""

    leaving: set[str] = field(default_factory=set)
    """Employees, in lower case, who are about to leave: nobody gives them anything to do."""

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

    def department(self, department_id: int) -> Department:
        """Raises ``ChangeRefused``."""
        found = self.departments.get(department_id)
        if found is None:
            raise ChangeRefused(f"corp {self.corpid} has no department {department_id}")
        return found

    def member_tag(self, tagid: int) -> MemberTag:
        """Raises ``ChangeRefused``."""
        found = self.member_tags.get(tagid)
        if found is None:
            raise ChangeRefused(f"corp {self.corpid} has no employee tag {tagid}")
        return found

    def tag_group(self, wanted: str) -> TagGroup:
        """A group that is not deleted, by id or name. Raises ``ChangeRefused``."""
        for group in self.tag_groups.values():
            if not group.deleted and wanted in {group.group_id, group.name}:
                return group
        raise ChangeRefused(f"corp {self.corpid} has no group of tags {wanted!r}")

    def chat(self, wanted: str) -> Chat:
        """A group that is not dismissed, by id or name. Raises ``ChangeRefused``."""
        for chat in self.chats.values():
            if not chat.dismissed and wanted in {chat.chat_id, chat.name} and wanted:
                return chat
        raise ChangeRefused(f"corp {self.corpid} has no group {wanted!r}")

    def tag(self, wanted: str) -> Tag:
        """A corp or rule tag by id, by name, or by ``group/name``. Raises ``ChangeRefused``."""
        for tag in self.tags:
            if wanted in {tag.tag_id, tag.tag_name, f"{tag.group_name}/{tag.tag_name}"}:
                return tag
        raise ChangeRefused(f"corp {self.corpid} has no tag {wanted!r}")
