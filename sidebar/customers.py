"""What one employee may see of one customer, in one query: a second one would cost as much again as all the rest.

Access: the employee has a relation to the customer that stands, or that the *customer* ended; who let the customer go,
or handed them over, has no more business with them. What belongs to colleagues' relations (remarks, tags, events) is
not even selected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, bindparam, exists, func, or_, select

from core.db.engine import Database, as_moment
from core.db.looks import Row
from core.db.tables import contact_event, customer, customer_follow, customer_follow_tag, employee_alias
from core.db.tables import session as session_table
from core.db.types import Id
from sidebar.queries import Query, as_list
from sidebar.session import Caller, Session, checked, named, session_query

MOST_EVENTS = 20
MOST_COLLEAGUES = 200
MOST_TAGS = 500

_CUSTOMER = ("name", "avatar", "type", "gender", "position", "corp_name", "corp_full_name")
_RELATION = (
    *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way", "state", "oper_userid"),
    *("createtime", "last_add_at", "last_loss_at", "lost_at", "lost_by", "unseen_since"),
)
_TAG = ("number", "group_name", "word")
_EVENT = ("word", "moment")
_COLLEAGUE = ("userid", "moment", "createtime")
_JSON = {
    "postgresql": ("json_agg", "json_build_array"),
    "mysql": ("json_arrayagg", "json_array"),
    "sqlite": ("json_group_array", "json_array"),
}
"""A list of every row, and a list of columns, in each database's words."""
_MOMENTS = ("last_add_at", "last_loss_at", "lost_at", "unseen_since")


@dataclass(frozen=True, slots=True)
class Found:
    """What the tables have. ``relation`` is the employee's own, None if there is no row; ``fetched_at`` is when the
    older of customer and relation was read, None if one of them was not yet."""

    session: Session
    now: datetime
    customer: Row
    relation: Row | None
    fetched_at: datetime | None
    tags: Sequence[Row] = ()
    events: Sequence[Row] = ()
    colleagues: Sequence[Row] = ()

    @property
    def allowed(self) -> bool:
        """Whether the employee may see the customer."""
        return self.relation is not None and may_see(self.relation["lost_at"], self.relation["lost_by"])


def may_see(lost_at: datetime | None, lost_by: str | None) -> bool:
    """The rule of access, of the employee's own relation."""
    return lost_at is None or lost_by == "customer"


class Customers:
    """Finds customers for callers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._query = Query(database, _query(database))

    async def find(self, caller: Caller, external_userid: str) -> Found:
        """The caller's session and what it may see of this customer. Raises a ``Refusal`` without a session."""
        values = named(caller.place, caller.digest) | {"external_userid": external_userid}
        row = await self._database.look(lambda ask: self._query.row(ask, **values))
        session = checked(caller, row)
        row = row or {}
        relation = None if row["r_follow_userid"] is None else _relation(row)
        moments = (row["c_fetched_at"], row["r_fetched_at"])
        fetched_at = None if None in moments else min(as_moment(moment) for moment in moments)
        known = fetched_at is not None and relation is not None and may_see(relation["lost_at"], relation["lost_by"])
        return Found(
            session=session,
            now=as_moment(row["now"]),
            customer={name: row[f"c_{name}"] for name in _CUSTOMER},
            relation=relation,
            fetched_at=fetched_at,
            tags=_members(row["tags"], _TAG) if known else (),
            events=_members(row["events"], _EVENT) if known else (),
            colleagues=_members(row["colleagues"], _COLLEAGUE) if known else (),
        )


def _relation(row: Row) -> Row:
    relation = {name: row[f"r_{name}"] for name in _RELATION}
    for name in _MOMENTS:
        relation[name] = None if relation[name] is None else as_moment(relation[name])
    relation["remark_mobiles"] = as_list(relation["remark_mobiles"])
    return relation


def _members(found: Any, columns: Sequence[str]) -> list[Row]:
    members = [dict(zip(columns, one, strict=True)) for one in as_list(found)]
    for member in members:
        if member.get("moment") is not None:
            member["moment"] = as_moment(member["moment"])
    return members


def _query(database: Database) -> Any:
    s, c, r = session_table.c, customer.c, customer_follow.c
    columns = [
        *(c[name].label(f"c_{name}") for name in (*_CUSTOMER, "fetched_at")),
        *(r[name].label(f"r_{name}") for name in (*_RELATION, "follow_userid", "fetched_at")),
    ]
    wanted = bindparam("external_userid", type_=Id())
    joined = session_table.outerjoin(customer, and_(c.corpid == s.corpid, c.userid == wanted)).outerjoin(
        customer_follow, and_(r.corpid == s.corpid, r.userid == wanted, r.follow_userid == s.userid)
    )
    me = session_table.alias("me")
    corpid = bindparam("corpid", type_=Id())
    viewer = (
        select(me.c.userid)
        .where(me.c.digest == bindparam("digest"), me.c.corpid == corpid, me.c.agentid == bindparam("agentid"))
        .scalar_subquery()
    )
    parts = {
        "tags": _tags(corpid, wanted, viewer),
        "events": _events(corpid, wanted, viewer),
        "colleagues": _colleagues(corpid, wanted, viewer),
    }
    lists = [_as_one(database.dialect, part).label(name) for name, part in parts.items()]
    return session_query(database).add_columns(*columns, *lists).select_from(joined)


def _as_one(dialect: str, part: Select[Any]) -> Any:
    """The rows as one value: a JSON list of lists."""
    of_rows, of_columns = _JSON[dialect]
    rows = part.subquery()
    return select(getattr(func, of_rows)(getattr(func, of_columns)(*rows.c))).scalar_subquery()


def _tags(corpid: Any, external_userid: Any, viewer: Any) -> Select[Any]:
    t = customer_follow_tag.c
    return (
        select(t.type, t.group_name, t.tag_name)
        .where(t.corpid == corpid, t.userid == external_userid, t.follow_userid == viewer)
        .limit(MOST_TAGS)
    )


def _events(corpid: Any, external_userid: Any, viewer: Any) -> Select[Any]:
    before = employee_alias.alias("before")
    e, a, b = contact_event.c, employee_alias.c, before.c
    # Somebody else had the id then, and was renamed before it was given to whoever has it, or had it next.
    others = exists().where(b.corpid == corpid, b.userid == e.userid, b.given_at > e.happened_at)
    others = others.correlate_except(before)
    mine = and_(e.userid == viewer, ~others)
    # Of the time when the employee had another id.
    as_before = exists().where(
        *(a.corpid == corpid, a.userid == e.userid, a.new_userid == viewer, e.happened_at <= a.happened_at),
        ~others.where(b.happened_at < a.happened_at),
    )
    return (
        select(e.change, e.happened_at)
        .where(
            *(e.corpid == corpid, e.kind == "customer", e.object_id == external_userid),
            *(or_(mine, as_before), e.outcome == "applied"),
        )
        .order_by(e.happened_at.desc(), e.recorded_at.desc())
        .limit(MOST_EVENTS)
    )


def _colleagues(corpid: Any, external_userid: Any, viewer: Any) -> Select[Any]:
    f = customer_follow.c
    return (
        select(f.follow_userid, f.last_add_at, f.createtime)
        .where(f.corpid == corpid, f.userid == external_userid, f.follow_userid != viewer, f.lost_at.is_(None))
        .order_by(f.follow_userid)
        .limit(MOST_COLLEAGUES)
    )
