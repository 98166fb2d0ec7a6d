"""Writes of the CRM tables: facts of events and snapshots of the API, each behind its own guard.

Every writer inserts missing parents, locks the customers it touches in key order, reads what stands there, decides
the winners in memory and writes those only. So two writers that meet wait for one another and neither can deadlock.
A snapshot carries ``fetched_at``, the moment its API call began by the database's clock; an older one never
overwrites a newer one. What the answer leaves empty is cleared here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.tables import customer, customer_follow, customer_follow_tag
from core.db.upsert import insert_ignore
from sync.facts import Facts, lost
from wecom.customers import Customer, Follow, FollowTag

Row = dict[str, Any]

_CUSTOMER_COLUMNS = (
    *("name", "type", "gender", "avatar", "unionid", "position"),
    *("corp_name", "corp_full_name", "external_profile"),
)
_FOLLOW_COLUMNS = (
    *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way"),
    *("state", "oper_userid", "wechat_channels", "createtime"),
)
_TAG_COLUMNS = ("type", "tag_id", "group_name", "tag_name")
_DERIVED = ("last_add_at", "last_loss_at", "last_loss_by", "lost_at", "lost_by", "unseen_since", "fetched_at")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the platform said about one customer: the record, or that it shows nobody (``customer`` is None)."""

    userid: str
    fetched_at: datetime
    customer: Customer | None


@dataclass(slots=True)
class Written:
    """What an answer did: whether it was news, and which standing relations it did not list."""

    changed: bool = False
    fetched_at: datetime | None = None
    previous_fetch: datetime | None = None
    unseen: dict[str, datetime] = field(default_factory=dict)
    """Employee to since when."""


async def write_facts(
    conn: AsyncConnection, dialect: str, corpid: str, facts: Mapping[tuple[str, str], Facts], now: datetime
) -> None:
    """Raise the facts of these (customer, employee) relations, making rows that are missing."""
    if not facts:
        return
    userids = sorted({userid for userid, _ in facts})
    await _lock(conn, dialect, corpid, userids, sorted(facts), now)
    changes: list[Row] = []
    for key, row in (await _follows(conn, corpid, userids)).items():
        if key not in facts:
            continue
        merged = _facts(row) | facts[key]
        if merged == _facts(row):
            continue
        if merged.add_at != row["last_add_at"]:
            # A relation that begins anew is looked for anew, however long the one before was out of sight.
            row["unseen_since"] = None
        row |= {"last_add_at": merged.add_at, "last_loss_at": merged.loss_at, "last_loss_by": merged.loss_by}
        changes.append(_derive(row))
    await _update_follows(conn, corpid, changes, _DERIVED)


async def write_answers(
    conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
) -> dict[str, Written]:
    """Write the answers that are newer than what stands; one per customer. Returns what each of them did."""
    answers = sorted(answers, key=lambda answer: answer.userid)
    userids = [answer.userid for answer in answers]
    listed = sorted((a.userid, f.userid) for a in answers if a.customer for f in a.customer.follows)
    await _lock(conn, dialect, corpid, userids, listed, now)
    customers = await _customers(conn, corpid, userids)
    follows = await _follows(conn, corpid, userids)
    tags = await _tags(conn, corpid, userids)

    done = {
        answer.userid: Written(fetched_at=answer.fetched_at, previous_fetch=customers[answer.userid]["fetched_at"])
        for answer in answers
    }
    new_customers: list[Row] = []
    new_follows: list[Row] = []
    new_tags: dict[tuple[str, str], list[Row]] = {}
    for answer in answers:
        result = done[answer.userid]
        if _newer(answer.fetched_at, customers[answer.userid]["fetched_at"]):
            row = _customer_row(answer, customers[answer.userid])
            new_customers.append(row)
            result.changed |= _differ(row, customers[answer.userid], (*_CUSTOMER_COLUMNS, "gone_at"))
        relations = {follow.userid: follow for follow in answer.customer.follows} if answer.customer else {}
        for key, old in follows.items():
            if key[0] != answer.userid or not _newer(answer.fetched_at, old["fetched_at"]):
                continue
            follow = relations.get(key[1])
            row = _derive(_follow_row(old, follow, answer.fetched_at, _last_word(customers[answer.userid])))
            result.changed |= _differ(row, old, (*_FOLLOW_COLUMNS, "lost_at", "unseen_since"))
            if row["unseen_since"] is not None:
                result.unseen[key[1]] = row["unseen_since"]
            if row != old:
                new_follows.append(row)
            if follow is not None and (wanted := _tag_rows(key, follow)) != tags.get(key, {}):
                new_tags[key] = list(wanted.values())
                result.changed = True

    await _update_customers(conn, corpid, new_customers)
    await _update_follows(conn, corpid, new_follows, (*_FOLLOW_COLUMNS, *_DERIVED))
    await _replace_tags(conn, corpid, new_tags)
    return done


def _customer_row(answer: Answer, old: Row) -> Row:
    if answer.customer is None:
        # Nothing is known about the customer's own record, so it stays as it was read last.
        return {**old, "gone_at": old["gone_at"] or answer.fetched_at, "fetched_at": old["fetched_at"]}
    values = {column: getattr(answer.customer, column) for column in _CUSTOMER_COLUMNS}
    # A call that began later and was shown nobody is the newer word on that.
    gone_at = None if old["gone_at"] is None or old["gone_at"] <= answer.fetched_at else old["gone_at"]
    return {"userid": answer.userid, **values, "gone_at": gone_at, "fetched_at": answer.fetched_at}


def _last_word(row: Row) -> datetime | None:
    """When the call began that brought the newest answer about the customer, one that showed nobody included."""
    return max((moment for moment in (row["fetched_at"], row["gone_at"]) if moment is not None), default=None)


def _follow_row(old: Row, follow: Follow | None, fetched_at: datetime, last_word: datetime | None) -> Row:
    if follow is None:
        # Absence in one answer proves nothing: it is noted on a relation that should be listed, and ends none.
        return {**old, "unseen_since": (old["unseen_since"] or fetched_at) if _listed(old) else None}
    values = {column: getattr(follow, column) for column in _FOLLOW_COLUMNS}
    values["remark_mobiles"] = list(follow.remark_mobiles)
    # A call that began later and did not list it is the newer word on that, whether the row was there then or not.
    later = [moment for moment in (old["unseen_since"], last_word) if moment is not None and moment > fetched_at]
    unseen_since = min(later, default=None)
    return {**old, **values, "unseen_since": unseen_since, "fetched_at": fetched_at}


def _derive(row: Row) -> Row:
    """Set what follows from facts and snapshot together."""
    row["lost_at"], row["lost_by"] = lost(_facts(row), row["createtime"], row["fetched_at"])
    if not _listed(row):
        row["unseen_since"] = None
    return row


def _listed(row: Row) -> bool:
    """Whether the platform should list the relation, as far as that matters here.

    One that the customer ended it goes on listing (document 92130): if its details were never read, they can be still.
    """
    return row["lost_at"] is None or (row["lost_by"] == "customer" and row["fetched_at"] is None)


def _facts(row: Row) -> Facts:
    return Facts(row["last_add_at"], row["last_loss_at"], row["last_loss_by"])


def _tag_rows(key: tuple[str, str], follow: Follow) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for tag in follow.tags:
        values = {column: getattr(tag, column) for column in _TAG_COLUMNS}
        rows[tag_key(tag)] = {"userid": key[0], "follow_userid": key[1], "tag_key": tag_key(tag), **values}
    return rows


def tag_key(tag: FollowTag) -> str:
    """The tag's id, or for a personal tag, which has none, a digest of its group and name (document 92114)."""
    if tag.tag_id:
        return tag.tag_id
    return "personal:" + hashlib.sha256(f"{tag.group_name or ''}\0{tag.tag_name or ''}".encode()).hexdigest()


def _newer(fetched_at: datetime, stands: datetime | None) -> bool:
    return stands is None or fetched_at > stands


def _differ(new: Row, old: Row, columns: Iterable[str]) -> bool:
    return any(new[column] != old[column] for column in columns)


async def _lock(
    conn: AsyncConnection,
    dialect: str,
    corpid: str,
    userids: Sequence[str],
    relations: Sequence[tuple[str, str]],
    now: datetime,
) -> None:
    """Make the rows that are missing and lock the customers; on SQLite the transaction is the lock."""
    await conn.execute(
        insert_ignore(dialect, customer),
        [{"corpid": corpid, "userid": userid, "first_seen_at": now} for userid in userids],
    )
    if relations:
        await conn.execute(
            insert_ignore(dialect, customer_follow),
            [{"corpid": corpid, "userid": userid, "follow_userid": member} for userid, member in relations],
        )
    if dialect != "sqlite":
        rows = select(customer.c.userid).where(customer.c.corpid == corpid, customer.c.userid.in_(userids))
        await conn.execute(rows.order_by(customer.c.userid).with_for_update())


async def _customers(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> dict[str, Row]:
    columns = [customer.c[name] for name in ("userid", *_CUSTOMER_COLUMNS, "fetched_at", "gone_at")]
    rows = await conn.execute(select(*columns).where(customer.c.corpid == corpid, customer.c.userid.in_(userids)))
    return {row.userid: dict(row._mapping) for row in rows}


async def _follows(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> dict[tuple[str, str], Row]:
    t = customer_follow.c
    columns = [t[name] for name in ("userid", "follow_userid", *_FOLLOW_COLUMNS, *_DERIVED)]
    rows = await conn.execute(select(*columns).where(t.corpid == corpid, t.userid.in_(userids)))
    found = {(row.userid, row.follow_userid): dict(row._mapping) for row in rows}
    return dict(sorted(found.items()))


async def _tags(conn: AsyncConnection, corpid: str, userids: Sequence[str]) -> dict[tuple[str, str], dict[str, Row]]:
    t = customer_follow_tag.c
    columns = [t[name] for name in ("userid", "follow_userid", "tag_key", *_TAG_COLUMNS)]
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in await conn.execute(select(*columns).where(t.corpid == corpid, t.userid.in_(userids))):
        found.setdefault((row.userid, row.follow_userid), {})[row.tag_key] = dict(row._mapping)
    return found


async def _update_customers(conn: AsyncConnection, corpid: str, rows: Sequence[Row]) -> None:
    columns = (*_CUSTOMER_COLUMNS, "fetched_at", "gone_at")
    if rows:
        statement = (
            update(customer)
            .where(customer.c.corpid == corpid, customer.c.userid == bindparam("k_userid"))
            .values({name: bindparam(f"v_{name}") for name in columns})
        )
        await conn.execute(
            statement, [{"k_userid": row["userid"], **{f"v_{name}": row[name] for name in columns}} for row in rows]
        )


async def _update_follows(conn: AsyncConnection, corpid: str, rows: Sequence[Row], columns: Sequence[str]) -> None:
    if rows:
        t = customer_follow.c
        statement = (
            update(customer_follow)
            .where(t.corpid == corpid, t.userid == bindparam("k_userid"), t.follow_userid == bindparam("k_member"))
            .values({name: bindparam(f"v_{name}") for name in columns})
        )
        keys = [{"k_userid": row["userid"], "k_member": row["follow_userid"]} for row in rows]
        values = [{f"v_{name}": row[name] for name in columns} for row in rows]
        await conn.execute(statement, [key | value for key, value in zip(keys, values, strict=True)])


async def _replace_tags(conn: AsyncConnection, corpid: str, relations: Mapping[tuple[str, str], Sequence[Row]]) -> None:
    if not relations:
        return
    t = customer_follow_tag.c
    # One by one in key order: a list of pairs may grow beyond what a statement can carry.
    await conn.execute(
        delete(customer_follow_tag).where(
            t.corpid == corpid, t.userid == bindparam("k_userid"), t.follow_userid == bindparam("k_member")
        ),
        [{"k_userid": userid, "k_member": member} for userid, member in sorted(relations)],
    )
    rows = [{"corpid": corpid, **row} for key in sorted(relations) for row in relations[key]]
    if rows:
        await conn.execute(insert(customer_follow_tag), rows)
