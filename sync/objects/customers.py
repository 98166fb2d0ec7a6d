"""Customers, with their relations and the tags of those: facts of events and answers of the API, each behind a guard.

Every writer inserts missing customers, locks all it touches in key order, reads what stands there, decides the winners
in memory and writes those only, with their history. So two writers that meet wait for one another and neither can
deadlock: who inserts a customer holds no lock yet, and who writes a relation holds its customer's.
An answer carries ``fetched_at``, the moment its API call began by the database's clock; an older one never overwrites a
newer one. What the answer leaves empty is cleared here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.bulk import as_dicts, for_each, lists, put
from core.db.tables import customer, customer_follow
from core.db.wishes import CUSTOMER
from sync.facts import Facts
from sync.history import Version, differs, record
from sync.objects.base import Answer, Cause, Row, Written, gone_since, newer
from sync.objects.names import resolve
from sync.objects.relations import (
    Relation,
    TagChanges,
    changed_columns,
    is_listed,
    new_follow,
    read_follows,
    read_known_tags,
    read_tags,
    with_answer,
    with_facts,
    write_follows,
)
from sync.objects.strangers import looks_at
from wecom.client import WeComClient
from wecom.customers import Customer, Follow, read_customer

_READ_COLUMNS = (
    *("name", "type", "gender", "avatar", "unionid", "position"),
    *("corp_name", "corp_full_name", "external_profile"),
)


class Customers:
    """The kind ``customer``: ids are external_userids, what is found is a ``Customer``."""

    name = CUSTOMER

    async def read(self, client: WeComClient, corpid: str, secret_name: str, object_id: str) -> Customer:
        """See ``Kind``."""
        return await read_customer(client, corpid, secret_name, object_id)

    async def write(
        self, conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
    ) -> dict[str, Written]:
        """See ``Kind``; ``unseen`` has the employees whose relation should be listed."""
        return await write_answers(conn, dialect, corpid, answers, now)


async def write_facts(
    conn: AsyncConnection, dialect: str, corpid: str, facts: Mapping[Relation, Facts], now: datetime
) -> None:
    """Raise the facts of these (customer, employee) relations, making rows that are missing.

    Employees are named by the ids that they have now.
    """
    if not facts:
        return
    userids = sorted({userid for userid, _ in facts})
    customers, made = await hold(conn, dialect, corpid, userids, now)
    follows = await read_follows(conn, corpid, userids)
    firsts: dict[str, Version] = {}
    rows: list[tuple[Row, Row]] = []
    versions: list[Version] = []
    for relation, told in sorted(facts.items()):
        cause = told.cause or Cause("event")
        if relation[0] in made:
            firsts[relation[0]] = _version(customers[relation[0]], cause, made=True)
        old = follows.get(relation, new_follow(relation))
        new = with_facts(old, told)
        if new != old or relation not in follows:
            rows.append((new, old))
        if differs(customer_follow, new, old) or relation not in follows:
            versions.append(_version(new, cause))
    await write_follows(conn, corpid, rows)
    await record(conn, customer, corpid, list(firsts.values()), now)
    await record(conn, customer_follow, corpid, versions, now)


async def write_answers(
    conn: AsyncConnection, dialect: str, corpid: str, answers: Sequence[Answer], now: datetime
) -> dict[str, Written]:
    """Write the answers that are newer than what stands; one per customer. Returns what each of them did.

    ``wishes`` has the employees whom nothing else may ever name, and those who had left before.
    """
    answers = sorted(answers, key=lambda answer: answer.object_id)
    userids = [answer.object_id for answer in answers]
    customers, made = await hold(conn, dialect, corpid, userids, now)
    follows = await read_follows(conn, corpid, userids)
    shown: list[Customer] = [answer.found for answer in answers if answer.found is not None]
    members = {member for _, member in follows} | {follow.userid for one in shown for follow in one.follows}
    newest = await resolve(conn, corpid, sorted(members))
    standing: dict[str, dict[str, Row]] = {userid: {} for userid in userids}
    moving: dict[str, dict[str, Row]] = {userid: {} for userid in userids}
    for (userid, member), row in follows.items():
        # Rows of an id that somebody had before are on their way to the new one, and not written.
        if member in newest:
            moving[userid][newest[member]] = row
        else:
            standing[userid][member] = row

    tags = TagChanges(await read_tags(conn, corpid, userids), await read_known_tags(conn, corpid, shown))
    new_customers: list[tuple[Row, Row]] = []
    new_follows: list[tuple[Row, Row]] = []
    customer_versions: list[Version] = []
    follow_versions: list[Version] = []
    named: dict[str, datetime] = {}
    namers: list[tuple[Written, str]] = []
    done: dict[str, Written] = {}
    for answer in answers:
        old = customers[answer.object_id]
        result = done[answer.object_id] = Written(fetched_at=answer.fetched_at, previous_fetch=old["fetched_at"])
        new = _customer_row(answer, old) if newer(answer.fetched_at, old["fetched_at"]) else old
        if new != old:
            new_customers.append((new, old))
        result.changed, result.unproven = differs(customer, new, old), answer.object_id in made
        if result.changed or answer.object_id in made:
            customer_versions.append(_version(new, answer.cause, made=not result.changed))
        rows, listed = standing[answer.object_id], _by_member(answer.found, newest)
        for member in sorted(rows.keys() | listed.keys()):
            relation = (answer.object_id, member)
            stands = rows.get(member, new_follow(relation))
            if not newer(answer.fetched_at, stands["fetched_at"]):
                continue
            row = with_answer(stands, listed.get(member), answer.fetched_at, _last_word(old))
            if row["unseen_since"] is not None:
                result.unseen[member] = row["unseen_since"]
            if member in listed or row["lost_at"] is None:
                named[member] = answer.fetched_at
                namers.append((result, member))
            if row != stands:
                new_follows.append((row, stands))
                result.changed |= row["unseen_since"] != stands["unseen_since"]
            if member not in rows or differs(customer_follow, row, stands):
                follow_versions.append(_version(row, answer.cause))
                result.changed = True
            if member in listed:
                result.changed |= tags.take(relation, listed[member], answer)
        for member, row in moving[answer.object_id].items():
            if member not in rows and member not in listed and is_listed(row):
                # It is looked for like any other, and will be there under the new id by then.
                result.unseen[member] = answer.fetched_at

    await _write_customers(conn, corpid, new_customers)
    await write_follows(conn, corpid, new_follows)
    await tags.write(conn, corpid, now)
    await record(conn, customer, corpid, customer_versions, now)
    await record(conn, customer_follow, corpid, follow_versions, now)
    looks = await looks_at(conn, corpid, named)
    for result, member in namers:
        # Once, whatever number of relations they have.
        result.wishes += looks.pop(member, ())
    return done


async def hold(
    conn: AsyncConnection, dialect: str, corpid: str, userids: Sequence[str], now: datetime
) -> tuple[dict[str, Row], set[str]]:
    """Insert the customers that are missing and lock all of these, in key order; on SQLite the transaction is the lock.

    Returns their rows, with every column but corpid, and whose row was missing: made here, or by another writer who was
    faster (``Version.made``).
    """
    values = lists(dialect, userid=userids) | {"corpid": corpid}
    present = set((await conn.execute(_present(dialect), values)).scalars())
    missing = [userid for userid in userids if userid not in present]
    await put(conn, customer, [{"corpid": corpid, "userid": userid, "first_seen_at": now} for userid in missing])
    found = as_dicts(await conn.execute(_locked(dialect), values))
    return {row["userid"]: row for row in found}, set(missing)


def _version(row: Row, cause: Cause, *, made: bool = False) -> Version:
    return Version(row, row, cause, made)


def _customer_row(answer: Answer, old: Row) -> Row:
    gone_at = gone_since(old["gone_at"], answer.fetched_at, shown=answer.found is not None)
    if answer.found is None:
        # Nothing is known about the customer's own record, so it stays as it was read last.
        return {**old, "gone_at": gone_at}
    values = {name: getattr(answer.found, name) for name in _READ_COLUMNS}
    return {**old, **values, "gone_at": gone_at, "fetched_at": answer.fetched_at}


def _last_word(row: Row) -> datetime | None:
    """When the call began that brought the newest answer about the customer, one that showed nobody included."""
    return max((moment for moment in (row["fetched_at"], row["gone_at"]) if moment is not None), default=None)


def _by_member(found: Customer | None, newest: Mapping[str, str]) -> dict[str, Follow]:
    """The relations that an answer lists, by the ids that the employees have now; what it says of those counts more."""
    listed: dict[str, Follow] = {}
    for follow in found.follows if found else ():
        member = newest.get(follow.userid, follow.userid)
        if member == follow.userid or member not in listed:
            listed[member] = follow
    return listed


async def _write_customers(conn: AsyncConnection, corpid: str, rows: Sequence[tuple[Row, Row]]) -> None:
    change = changed_columns(rows, ("fetched_at",), (*_READ_COLUMNS, "gone_at", "fetched_at"))
    # Nobody inserts here, but a row to insert is what the database is given.
    names = ("userid", "first_seen_at", *change)
    await put(conn, customer, [{"corpid": corpid, **{name: new[name] for name in names}} for new, _ in rows], change)


@cache
def _present(dialect: str) -> Select[Any]:
    t = customer.c
    return for_each(dialect, select(t.userid).where(t.corpid == bindparam("corpid")), [t.userid])


@cache
def _locked(dialect: str) -> Select[Any]:
    t = customer.c
    columns = [t[name] for name in ("userid", "first_seen_at", *_READ_COLUMNS, "gone_at", "fetched_at")]
    rows = select(*columns).where(t.corpid == bindparam("corpid"))
    if dialect != "sqlite":
        # key_share: relations that others insert at the same time refer to the row, and need not wait.
        rows = rows.order_by(t.userid).with_for_update(key_share=True)
    return for_each(dialect, rows, [t.userid])
