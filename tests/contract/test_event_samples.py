"""One event of every (Event, ChangeType), as the platform sends it: which rows it leads to, on every database.

The way is the whole one: delivered, applied, read from an API on loopback, written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import update

from core.db.tables import (
    HISTORY,
    contact_event,
    metadata,
    pending_read,
)
from core.envelope import interpret
from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.metrics import Metrics
from sync.effects import KNOWN
from sync.kinds import KINDS
from sync.refresh import CorpRefresher
from tests.support.applying import ApplyBench
from tests.support.crm import crm_database_at, rows
from tests.support.loopback_api import SECRET_NAME, LoopbackApi, follower
from tests.support.vectors import sample

pytestmark = pytest.mark.asyncio

MOMENT = datetime.fromtimestamp(1403610513, UTC)
CHAT = "wrx7HUARsKwGRaQBVKPBTcEyzdHA4HrQ"
TAG, GROUP = "etjmgTCQAAYIEtCEn30FEiMU9jH_HaaA", "etjmgTCQAAYIEtCEn30FEiMU9jH_Group"
CUSTOMERS = (
    *("woAJ2GCAAAXtWyujaWJHDDGi0mAAAA", "woAJ2GCAAAXtWyujaWJHDDGi0mACAAAA"),
    *("woAJ2GCAAAXtWyujaWJHDDGi0mACHAAA", "woAJ2GCAAABiuyujaWJHDDGi0mACHAAA"),
)

Rows = Mapping[str, list[dict[str, Any]]]


class Corp:
    """What the API shows, and the product that follows it."""

    def __init__(self, bench: ApplyBench, api: LoopbackApi, refresher: CorpRefresher) -> None:
        self.bench = bench
        self.api = api
        self.refresher = refresher

    async def happens(self, name: str, at: datetime = MOMENT) -> None:
        """The event of this sample comes in, and everything that it asks for is read."""
        times = (b"<CreateTime>%d<" % moment.timestamp() for moment in (MOMENT, at))
        await self.bench.deliver(sample(name).replace(*times))
        await self.bench.apply()
        assert await self.bench.rows(contact_event)
        stopping = asyncio.Event()
        for _ in range(20):
            async with self.bench.database.write() as conn:
                # What waits for its time is due now; a wait is another test's subject.
                now = await self.bench.database.clock(conn)
                await conn.execute(
                    update(pending_read)
                    .where(pending_read.c.stage == "first")
                    .values(due_at=now - timedelta(seconds=1), leased_until=None)
                )
            if await self.refresher._round(stopping):
                return
        raise AssertionError("there is always something left to read")

    async def rows(self, name: str, *columns: str) -> list[dict[str, Any]]:
        return await rows(self.bench.database, metadata.tables[name], *columns)


@pytest_asyncio.fixture
async def corp(migrated_url: str, tmp_path: Path) -> AsyncIterator[Corp]:
    api, metrics = LoopbackApi(), Metrics()
    shown(api)
    async with (
        crm_database_at(migrated_url) as database,
        await EmbeddedLog.open(tmp_path / "log.sqlite") as log,
        api.served(),
        api.client(database, metrics) as client,
    ):
        health = Health().component("corp:ww1")
        refresher = CorpRefresher("ww1", SECRET_NAME, "me", database, client, KINDS, metrics, health)
        yield Corp(ApplyBench(database, log), api, refresher)


def shown(api: LoopbackApi) -> None:
    """Everything that the samples name, as the API tells it."""
    for userid in CUSTOMERS:
        api.show(userid, follower(tags=[{"type": 1, "tag_id": TAG, "group_name": "Level", "tag_name": "key"}]))
    member = {"name": "Zhang", "department": [1, 2], "is_leader_in_dept": [1, 0], "order": [3, 4], "status": 1}
    for userid in ("ZhangSan", "ZhangSan001"):
        api.objects["user/get", userid.lower()] = {"userid": userid, "main_department": 1} | member
    api.objects["department/get", "2"] = {"department": {"id": 2, "name": "Sales", "parentid": 1, "order": 5}}
    people = [{"userid": "ZhangSan", "name": "Zhang"}, {"userid": "LiSi", "name": "Li"}]
    api.objects["tag/get", "1"] = {"tagname": "tea", "userlist": people, "partylist": [2]}
    one = {"id": TAG, "name": "key", "create_time": 1403610000, "order": 7}
    group = {"group_id": GROUP, "group_name": "Level", "create_time": 1403610000, "order": 2, "tag": [one]}
    for wanted in (TAG, GROUP, ""):
        api.objects["externalcontact/get_corp_tag_list", wanted] = {"tag_group": [group]}
    members = [
        {"userid": "ZhangSan", "type": 1, "join_time": 1403610001, "join_scene": 1},
        {"userid": CUSTOMERS[0], "type": 2, "join_time": 1403610002, "join_scene": 3, "name": "Lin"},
    ]
    api.objects["externalcontact/groupchat/get", CHAT] = {
        "group_chat": {"chat_id": CHAT, "name": "Tea", "owner": "ZhangSan", "create_time": 1403610000}
        | {"member_list": members, "admin_list": [{"userid": "LiSi"}], "member_version": "v1", "notice": "Be kind"}
    }
    api.missing |= {"user/get": 60111, "department/get": 60003, "externalcontact/groupchat/get": 49008}


# What stands after the event. The columns that are not named are other tests' subjects.
GROUP_CHAT = {
    "group_chat": [{"chat_id": CHAT, "name": "Tea", "owner": "zhangsan", "notice": "Be kind", "member_version": "v1"}],
    "group_chat_member": [
        {"type": 1, "userid": "zhangsan", "join_time": 1403610001, "join_scene": 1},
        {"type": 2, "userid": CUSTOMERS[0], "join_time": 1403610002, "join_scene": 3},
    ],
}
STANDING = {"name": "Tea", "dismissed_at": None, "gone_at": None}
CORP_TAG = {
    "tag": [{"tag_id": TAG, "group_id": GROUP, "tag_name": "key", "type": 1, "sort_order": 7, "deleted_at": None}],
    "tag_group": [{"group_id": GROUP, "group_name": "Level", "sort_order": 2, "deleted_at": None}],
}
EMPLOYEE = {
    "employee": [{"userid": "zhangsan", "userid_shown": "ZhangSan", "name": "Zhang", "status": 1, "left_at": None}],
    "employee_department": [
        {"userid": "zhangsan", "department_id": 1, "is_leader": 1, "sort_order": 3},
        {"userid": "zhangsan", "department_id": 2, "is_leader": 0, "sort_order": 4},
    ],
}
DEPARTMENT = {"department": [{"department_id": 2, "name": "Sales", "parentid": 1, "sort_order": 5, "deleted_at": None}]}


def versions(last: str, current: str) -> dict[str, list[dict[str, Any]]]:
    return {"group_chat_version": [{"last_mem_ver": last, "cur_mem_ver": current, "happened_at": MOMENT}]}


def relation(userid: str, **columns: Any) -> dict[str, list[dict[str, Any]]]:
    tags = [{"userid": userid, "follow_userid": "zhangsan", "tag_id": TAG, "tag_name": "key"}]
    values = {"userid": userid, "follow_userid": "zhangsan", "lost_at": None, "lost_by": None} | columns
    return {"customer": [{"userid": userid, "name": "Lin"}], "customer_follow": [values], "customer_follow_tag": tags}


OLD, NEW = "9c3f97c2ada667dfb5f6d03308d963e1", "71217227bbd112ecfe3a49c482195cb4"
EXPECTED: Mapping[str, Rows] = {
    "add_external_contact": relation(CUSTOMERS[0], last_add_at=MOMENT, remark="Lin from the fair"),
    "add_half_external_contact": relation(CUSTOMERS[1], last_add_at=MOMENT),
    "edit_external_contact": relation(CUSTOMERS[0], last_add_at=None, remark="Lin from the fair"),
    "del_external_contact": relation(CUSTOMERS[1], last_loss_at=MOMENT, last_loss_by="transfer"),
    "del_by_employee": relation(CUSTOMERS[1], last_loss_at=MOMENT, last_loss_by="employee"),
    "del_follow_user": relation(CUSTOMERS[2], last_loss_at=MOMENT, last_loss_by="customer"),
    "transfer_fail": relation(CUSTOMERS[0], last_add_at=None),
    "msg_audit_approved": relation(CUSTOMERS[3], last_add_at=None),
    "chat_create": {**GROUP_CHAT, "group_chat": [STANDING | {"last_create_at": MOMENT}]},
    "chat_update": {**GROUP_CHAT, **versions(OLD, NEW)},
    "chat_members_join_by_code": {**GROUP_CHAT, **versions(NEW, "0f3f97c2ada667dfb5f6d03308d963e2")},
    "chat_members_leave": {**GROUP_CHAT, **versions(NEW, "5a3f97c2ada667dfb5f6d03308d963e1")},
    "chat_rename": {**GROUP_CHAT, "group_chat_version": []},
    "chat_owner": GROUP_CHAT,
    "chat_notice": GROUP_CHAT,
    "chat_update_of_old": GROUP_CHAT,
    "tag_create": CORP_TAG,
    "tag_update": CORP_TAG,
    "tag_group_create": CORP_TAG,
    "tag_group_update": CORP_TAG,
    "tag_shuffle": CORP_TAG,
    "tag_shuffle_groups": CORP_TAG,
    "create_user": EMPLOYEE,
    "create_user_thin": EMPLOYEE,
    "update_user_thin": EMPLOYEE,
    "create_party": DEPARTMENT,
    "update_party": DEPARTMENT,
    "update_tag": {
        "employee_tag": [{"tagid": 1, "tagname": "tea"}],
        "employee_tag_member": [
            {"member_type": "party", "member_id": "2"},
            {"member_type": "user", "member_id": "lisi"},
            {"member_type": "user", "member_id": "zhangsan"},
        ],
    },
    "update_user": {
        "employee_alias": [{"userid": "zhangsan", "new_userid": "zhangsan001", "happened_at": MOMENT}],
        "employee": [{"userid": "zhangsan001", "userid_shown": "ZhangSan001", "name": "Zhang"}],
    },
}


async def holds(corp: Corp, expected: Rows) -> None:
    for name, wanted in expected.items():
        columns = list(wanted[0]) if wanted else []
        assert await corp.rows(name, *columns) == wanted, name


@pytest.mark.parametrize("name", EXPECTED)
async def test_an_event_leads_to_these_rows(corp: Corp, name: str) -> None:
    await corp.happens(name)
    await holds(corp, EXPECTED[name])
    (event,) = await rows(corp.bench.database, contact_event)
    assert (event["outcome"], event["happened_at"]) == ("applied", MOMENT)
    # Every row that has a history has one open version, which says which event led to it.
    for table in (name for name in EXPECTED[name] if name in HISTORY):
        open_ones = [row for row in await corp.rows(f"{table}_history") if row["valid_to"] is None]
        assert len(open_ones) == len(await corp.rows(table))
        assert {(row["event_id"], row["source"]) for row in open_ones} == {(event["event_id"], "event")}
    # And nothing comes of the same event a second time.
    before = {table.name: await corp.rows(table.name) for table in HISTORY.values()}
    await corp.happens(name)
    assert {table.name: await corp.rows(table.name) for table in HISTORY.values()} == before


@pytest.fixture
def today() -> datetime:
    """Now: a listing more than a day after the end of something says that it is there again."""
    return datetime.now(UTC).replace(microsecond=0)


async def test_a_group_that_was_dismissed(corp: Corp, today: datetime) -> None:
    await corp.happens("chat_create")
    del corp.api.objects["externalcontact/groupchat/get", CHAT]
    await corp.happens("chat_dismiss", at=today)
    (group,) = await corp.rows("group_chat")
    assert (group["name"], group["dismissed_at"]) == ("Tea", today)
    assert group["gone_at"] is not None


async def test_a_tag_that_was_deleted_leaves_every_relation(corp: Corp, today: datetime) -> None:
    await corp.happens("tag_create")
    await corp.happens("add_external_contact")
    assert len(await corp.rows("customer_follow_tag")) == 1
    corp.api.objects["externalcontact/get_corp_tag_list", TAG] = {"tag_group": []}
    await corp.happens("tag_delete", at=today)
    assert await corp.rows("tag", "tag_id", "deleted_at") == [{"tag_id": TAG, "deleted_at": today}]
    assert await corp.rows("customer_follow_tag") == []
    (version,) = await corp.rows("customer_follow_tag_history")
    assert version["valid_to"] is not None


async def test_a_group_of_tags_that_was_deleted_takes_its_tags_along(corp: Corp, today: datetime) -> None:
    await corp.happens("tag_create")
    await corp.happens("add_external_contact")
    for wanted in (TAG, GROUP, ""):
        corp.api.objects["externalcontact/get_corp_tag_list", wanted] = {"tag_group": []}
    await corp.happens("tag_group_delete", at=today)
    assert await corp.rows("tag_group", "deleted_at") == [{"deleted_at": today}]
    assert await corp.rows("tag", "deleted_at") == [{"deleted_at": today}]
    assert await corp.rows("customer_follow_tag") == []


async def test_an_employee_who_left(corp: Corp, today: datetime) -> None:
    await corp.happens("create_user")
    del corp.api.objects["user/get", "zhangsan"]
    await corp.happens("delete_user", at=today)
    (row,) = await corp.rows("employee", "name", "left_at", "gone_at")
    assert (row["name"], row["left_at"]) == ("Zhang", today)
    assert row["gone_at"] is not None


async def test_a_department_that_was_deleted(corp: Corp, today: datetime) -> None:
    await corp.happens("create_party")
    del corp.api.objects["department/get", "2"]
    await corp.happens("delete_party", at=today)
    (row,) = await corp.rows("department", "name", "deleted_at", "gone_at")
    assert (row["name"], row["deleted_at"]) == ("Sales", today)
    assert row["gone_at"] is not None


async def test_every_pair_that_is_known_is_here() -> None:
    named = {*EXPECTED, "chat_dismiss", "tag_delete", "tag_group_delete", "delete_user", "delete_party"}
    events = [interpret("ww1", "contacts", 1403610599000, sample(name)) for name in named]
    assert {(event.event, event.change) for event in events} == KNOWN
