"""A CRM database on a temporary file, deliveries to feed it, and its rows as plain dictionaries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert, select

from core.db.engine import Database
from core.db.tables import corp, employee
from core.schema import CURRENT, revision
from tests.support.migrated import migrate_file
from wecom.customers import Customer, Follow, FollowTag
from wecom_crm.migrate import migrate

KNOWN = tuple((corpid, userid) for corpid in ("ww1", "ww2", "ww3", "ww9") for userid in ("zhangsan", "lisi", "wangwu"))
"""Employees whom the tests' events name."""


@asynccontextmanager
async def crm_database(
    folder: Path, corpids: Sequence[str] = ("ww1",), employees: Sequence[tuple[str, str]] = KNOWN
) -> AsyncIterator[Database]:
    """A database with every table of this release, these corps and employees, of whom nobody has to be read."""
    async with crm_database_at(await migrate_file(folder / "crm.sqlite"), corpids) as database:
        async with database.write() as conn:
            for corpid, userid in employees:
                await conn.execute(insert(employee).values(corpid=corpid, userid=userid, first_seen_at=day(0)))
        yield database


@asynccontextmanager
async def crm_database_at(url: str, corpids: Sequence[str] = ("ww1",)) -> AsyncIterator[Database]:
    """The same in the database at this address, which is migrated if it is empty, and without employees."""
    database = Database(url)
    try:
        if await revision(database) != CURRENT:
            await migrate(database)
        if corpids:
            async with database.write() as conn:
                await conn.execute(insert(corp), [{"corpid": corpid, "name": corpid} for corpid in corpids])
        yield database
    finally:
        await database.close()


async def rows(database: Database, table: Table, *columns: str) -> list[dict[str, Any]]:
    """Every row in key order, with these columns (all without any)."""
    wanted = [table.c[name] for name in columns] or [table]
    async with database.read() as conn:
        found = await conn.execute(select(*wanted).order_by(*table.primary_key))
        return [dict(row) for row in found.mappings()]


def contact_change(
    change: str, moment: datetime, customer: str = "wmA", member: str = "ZhangSan", **more: str
) -> bytes:
    """The inner document of a change_external_contact delivery (document 92130)."""
    leaves = {
        "ToUserName": "ww1",
        "FromUserName": "sys",
        "CreateTime": str(int(moment.timestamp())),
        "MsgType": "event",
        "Event": "change_external_contact",
        "ChangeType": change,
        "UserID": member,
        "ExternalUserID": customer,
    } | more
    inside = "".join(f"<{name}><![CDATA[{text}]]></{name}>" for name, text in leaves.items())
    return f"<xml>{inside}</xml>".encode()


def day(hour: int, minute: int = 0, second: int = 0) -> datetime:
    """A moment of one fixed past day."""
    return datetime(2026, 3, 2, hour, minute, second, tzinfo=UTC)


def a_customer(*follows: Follow, userid: str = "wmA", **columns: Any) -> Customer:
    """A customer as the API tells it."""
    values: dict[str, Any] = dict.fromkeys(
        ("gender", "avatar", "unionid", "position", "corp_name", "corp_full_name", "external_profile")
    )
    values |= {"external_userid": userid, "name": "Lin", "type": 1, "follows": follows}
    return Customer(**(values | columns))


def a_follow(userid: str = "zhangsan", *, since: datetime | None = None, **columns: Any) -> Follow:
    """One employee's relation to the customer; ``since`` is its createtime."""
    values: dict[str, Any] = {
        "userid": userid,
        "remark": "Lin from the fair",
        "description": "",
        "createtime": int((since or day(10)).timestamp()),
        "tags": (),
        "remark_corp_name": None,
        "remark_mobiles": (),
        "oper_userid": userid,
        "add_way": 1,
        "state": None,
        "wechat_channels": None,
    }
    return Follow(**(values | columns))


def corp_tag(tag_id: str, name: str = "VIP", group: str = "Level") -> FollowTag:
    """A tag of the corp."""
    return FollowTag(group, name, 1, tag_id)


def personal_tag(name: str, group: str = "Mine") -> FollowTag:
    """A tag of the employee's own, which has no id."""
    return FollowTag(group, name, 2, None)
