"""What one employee may see of one customer, in two queries.

Access: the employee has a relation to the customer that stands, or that the *customer* ended; who let the customer go,
or handed them over, has no more business with them. What belongs to colleagues' relations (remarks, tags, events) is
not even selected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Integer, String, Text, and_, bindparam, cast, literal_column, null, select, union_all

from core.db.engine import Database, as_moment
from core.db.tables import contact_event, customer, customer_follow, customer_follow_tag
from core.db.tables import session as session_table
from core.db.types import Id, Instant
from sidebar.queries import Query, Row, as_list
from sidebar.session import Caller, Session, checked, named, session_query

MOST_EVENTS = 20
MOST_COLLEAGUES = 200
MOST_TAGS = 500

_CUSTOMER = ("name", "avatar", "type", "gender", "position", "corp_name", "corp_full_name")
_RELATION = (
    *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way", "state", "oper_userid"),
    *("createtime", "last_add_at", "last_loss_at", "lost_at", "lost_by", "unseen_since"),
)
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
        self._first = Query(database, _first(database))
        self._rest = Query(database, _rest())

    async def find(self, caller: Caller, external_userid: str) -> Found:
        """The caller's session and what it may see of this customer. Raises a ``Refusal`` without a session."""
        async with self._database.look() as conn:
            values = named(caller.place, caller.digest)
            row = await self._first.row(conn, external_userid=external_userid, **values) or {}
            session = checked(caller, row or None)
            relation = None if row["r_follow_userid"] is None else _relation(row)
            moments = (row["c_fetched_at"], row["r_fetched_at"])
            found = Found(
                session=session,
                now=as_moment(row["now"]),
                customer={name: row[f"c_{name}"] for name in _CUSTOMER},
                relation=relation,
                fetched_at=None if None in moments else min(as_moment(moment) for moment in moments),
            )
            if not found.allowed or found.fetched_at is None:
                return found
            rest = await self._rest.rows(
                conn, corpid=caller.place.corpid, external_userid=external_userid, viewer=session.userid
            )
        for row in rest:
            if row["moment"] is not None:
                row["moment"] = as_moment(row["moment"])
        parts = {name: [row for row in rest if row["part"] == name] for name in ("tag", "event", "colleague")}
        return replace(found, tags=parts["tag"], events=parts["event"], colleagues=parts["colleague"])


def _relation(row: Row) -> Row:
    relation = {name: row[f"r_{name}"] for name in _RELATION}
    for name in _MOMENTS:
        relation[name] = None if relation[name] is None else as_moment(relation[name])
    relation["remark_mobiles"] = as_list(relation["remark_mobiles"])
    return relation


def _first(database: Database) -> Any:
    s, c, r = session_table.c, customer.c, customer_follow.c
    columns = [
        *(c[name].label(f"c_{name}") for name in (*_CUSTOMER, "fetched_at")),
        *(r[name].label(f"r_{name}") for name in (*_RELATION, "follow_userid", "fetched_at")),
    ]
    wanted = bindparam("external_userid", type_=Id())
    joined = session_table.outerjoin(customer, and_(c.corpid == s.corpid, c.userid == wanted)).outerjoin(
        customer_follow, and_(r.corpid == s.corpid, r.userid == wanted, r.follow_userid == s.userid)
    )
    return session_query(database).add_columns(*columns).select_from(joined)


def _rest() -> Any:
    corpid, external_userid, viewer = (bindparam(name, type_=Id()) for name in ("corpid", "external_userid", "viewer"))
    t, e, f = customer_follow_tag.c, contact_event.c, customer_follow.c
    # One column never mixes ids and texts: they have different collations.
    tags = (
        select(
            literal_column("'tag'").label("part"),
            t.type.label("number"),
            t.group_name.label("group_name"),
            t.tag_name.label("word"),
            cast(null(), String(128)).label("userid"),
            cast(null(), Instant()).label("moment"),
            cast(null(), BigInteger).label("createtime"),
        )
        .where(t.corpid == corpid, t.userid == external_userid, t.follow_userid == viewer)
        .limit(MOST_TAGS)
    )
    events = (
        select(
            literal_column("'event'").label("part"),
            cast(null(), Integer).label("number"),
            cast(null(), Text).label("group_name"),
            e.change.label("word"),
            cast(null(), String(128)).label("userid"),
            e.happened_at.label("moment"),
            cast(null(), BigInteger).label("createtime"),
        )
        .where(
            *(e.corpid == corpid, e.kind == "customer", e.object_id == external_userid),
            *(e.userid == viewer, e.outcome == "applied"),
        )
        .order_by(e.happened_at.desc(), e.recorded_at.desc())
        .limit(MOST_EVENTS)
    )
    colleagues = (
        select(
            literal_column("'colleague'").label("part"),
            cast(null(), Integer).label("number"),
            cast(null(), Text).label("group_name"),
            cast(null(), Text).label("word"),
            f.follow_userid.label("userid"),
            f.last_add_at.label("moment"),
            f.createtime.label("createtime"),
        )
        .where(f.corpid == corpid, f.userid == external_userid, f.follow_userid != viewer, f.lost_at.is_(None))
        .order_by(f.follow_userid)
        .limit(MOST_COLLEAGUES)
    )
    # SQLite takes ORDER BY and LIMIT in a member of a union only inside a query of its own.
    return union_all(*(select(part.subquery()) for part in (tags, events, colleagues)))
