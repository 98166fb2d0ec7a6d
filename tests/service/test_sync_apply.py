"""From the event log into the database: in every order, repeated, half done, and with what can't be applied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import event, update

from core.db.engine import Database
from core.db.tables import contact_event, customer, customer_follow, dead_letter, employee, log_position, pending_read
from core.eventlog.base import PartitionLost
from core.eventlog.embedded import EmbeddedLog
from sync import told as told_module
from sync.apply import CROWD, DatabasePositions
from sync.dead_letters import TooManyDeadLetters
from sync.pending import SETTLING
from tests.support.applying import ApplyBench
from tests.support.crm import contact_change, crm_database, day
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ApplyBench]:
    async with crm_database(tmp_path) as database:
        log = await EmbeddedLog.open(tmp_path / "log.sqlite")
        yield ApplyBench(database, log)
        await log.close()


async def test_an_event_becomes_ledger_fact_wish_and_position(bench: ApplyBench) -> None:
    await bench.deliver(contact_change("add_external_contact", day(10), State="shop 7", WelcomeCode="secret"))
    await bench.apply()
    (event,) = await bench.rows(contact_event)
    assert (event["event"], event["change"], event["object_id"], event["userid"], event["outcome"]) == (
        *("change_external_contact", "add_external_contact", "wmA", "zhangsan"),
        "applied",
    )
    assert event["happened_at"] == day(10)
    assert ["State", "shop 7"] in event["leaves"]
    assert "secret" not in str(event)
    (relation,) = await bench.rows(customer_follow, "corpid", "userid", "follow_userid", "last_add_at", "lost_at")
    assert relation == {
        "corpid": "ww1",
        "userid": "wmA",
        "follow_userid": "zhangsan",
        "last_add_at": day(10),
        "lost_at": None,
    }
    (wish,) = await bench.rows(pending_read, "kind", "object_id", "stage", "events")
    assert wish == {"kind": "customer", "object_id": "wmA", "stage": "first", "events": 1}
    (position,) = await bench.rows(log_position)
    assert (position["log_id"], position["partition"]) == (bench.log.log_id, 0)
    assert bench.woken == [{"ww1"}]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("loss", ["del_follow_user", "del_external_contact"])
async def test_six_orders_end_in_one_row(bench: ApplyBench, order: tuple[int, ...], loss: str) -> None:
    events = [
        contact_change("add_external_contact", day(10)),
        contact_change(loss, day(10, 5)),
        contact_change("add_external_contact", day(10, 9)),
    ]
    for index in order:
        await bench.deliver(events[index])
        await bench.apply()
    (relation,) = await bench.rows(customer_follow)
    assert (relation["last_add_at"], relation["last_loss_at"]) == (day(10, 9), day(10, 5))
    assert (relation["lost_at"], relation["lost_by"]) == (None, None)


@pytest.mark.parametrize(
    ("change", "more", "by"),
    [
        ("del_follow_user", {}, "customer"),
        ("del_external_contact", {}, "employee"),
        ("del_external_contact", {"Source": "DELETE_BY_TRANSFER"}, "transfer"),
    ],
)
async def test_a_late_edit_never_resurrects(bench: ApplyBench, change: str, more: dict[str, str], by: str) -> None:
    await bench.deliver(
        contact_change("add_external_contact", day(10)),
        contact_change(change, day(10, 5), **more),
        contact_change("edit_external_contact", day(10, 4)),
        contact_change("edit_external_contact", day(11)),
    )
    await bench.apply()
    (relation,) = await bench.rows(customer_follow)
    assert (relation["lost_at"], relation["lost_by"]) == (day(10, 5), by)


async def test_repeated_deliveries_are_one_ledger_row_and_one_wish(bench: ApplyBench) -> None:
    document = contact_change("edit_external_contact", day(10))
    await bench.deliver(*[document] * 5)
    await bench.apply()
    assert len(await bench.rows(contact_event)) == 1
    (wish,) = await bench.rows(pending_read, "events")
    assert wish == {"events": 5}


@pytest.mark.parametrize(("events", "woken"), [(CROWD, 2), (CROWD - 1, 1)])
async def test_the_end_of_a_crowd_is_told_once(bench: ApplyBench, events: int, woken: int) -> None:
    await bench.deliver(*(contact_change("edit_external_contact", day(10), f"wm{number}") for number in range(events)))
    await bench.apply()
    assert bench.woken == [{"ww1"}] * woken
    wishes = [row for row in await bench.rows(pending_read) if row["kind"] == "customer"]
    assert {row["due_at"] - row["wanted_at"] for row in wishes} == {SETTLING if events == CROWD else timedelta()}


async def test_an_employee_of_whom_nothing_is_known_is_looked_at_once(bench: ApplyBench) -> None:
    await bench.deliver(contact_change("add_external_contact", day(10), member="Stranger"))
    await bench.deliver(contact_change("add_external_contact", day(10, 1)))
    await bench.apply()
    later = day(10) + timedelta(days=365 * 50)
    async with bench.database.write() as conn:
        # As after an answer that the app may not read employees.
        await conn.execute(update(pending_read).where(pending_read.c.kind == "member").values(due_at=later))
    await bench.deliver(contact_change("edit_external_contact", day(11), member="Stranger"))
    await bench.deliver(contact_change("del_follow_user", day(12), member="Stranger"))
    await bench.apply()
    wishes = [row for row in await bench.rows(pending_read) if row["kind"] == "member"]
    assert [(row["object_id"], row["version"], row["due_at"]) for row in wishes] == [("stranger", 1, later)]


async def test_the_departure_is_carried_out_again_whenever_an_event_names_who_left(bench: ApplyBench) -> None:
    async with bench.database.write() as conn:
        await conn.execute(update(employee).where(employee.c.userid == "lisi").values(left_at=day(9)))
    for number in range(2):
        await bench.deliver(contact_change("add_external_contact", day(8, number), member="LiSi"))
        await bench.apply()
    wishes = [row for row in await bench.rows(pending_read) if row["kind"] != "customer"]
    assert [(row["kind"], row["object_id"], row["version"]) for row in wishes] == [("departure", "lisi", 2)]


async def test_a_batch_applied_behind_our_back_is_abandoned_and_not_doubled(bench: ApplyBench) -> None:
    await bench.deliver(contact_change("edit_external_contact", day(10)))
    async with bench.log.reader("crm-sync", DatabasePositions(bench.database)) as reader:
        batch = await reader.read(10, 1.0)
        await bench.applier._apply(batch, reader.log_id)
        with pytest.raises(PartitionLost):
            await bench.applier._apply(batch, reader.log_id)
    (wish,) = await bench.rows(pending_read, "events", "version")
    assert wish == {"events": 1, "version": 1}


async def test_a_database_set_back_to_a_backup_catches_up_by_itself(bench: ApplyBench) -> None:
    await bench.deliver(contact_change("add_external_contact", day(10)))
    await bench.apply()
    async with bench.database.write() as conn:
        for table in (pending_read, contact_event, customer_follow, customer, log_position):
            await conn.execute(table.delete())
    await bench.deliver(contact_change("add_external_contact", day(11), customer="wmB"))
    await bench.apply()
    assert [row["userid"] for row in await bench.rows(customer)] == ["wmA", "wmB"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        pytest.param(b"no document at all", "undecodable", id="nonsense"),
        pytest.param(b"<!DOCTYPE a><xml><Event>e</Event></xml>", "undecodable", id="DOCTYPE"),
        pytest.param(b"\xff\xfe\x00", "undecodable", id="bytes"),
        pytest.param(contact_change("add_external_contact", day(10), customer=""), "names no customer", id="no id"),
        pytest.param(contact_change("edit_external_contact", day(10), customer="w" * 200), "more than", id="long id"),
    ],
)
async def test_what_cannot_be_applied_is_set_aside_with_its_bytes(
    bench: ApplyBench, document: bytes, reason: str
) -> None:
    await bench.deliver(document, contact_change("edit_external_contact", day(10)))
    await bench.apply()
    (letter,) = await bench.rows(dead_letter)
    assert letter["payload"] == document
    assert reason in letter["reason"]
    assert letter["corpid"] == "ww1"
    assert [row["object_id"] for row in await bench.rows(pending_read)] == ["wmA"]


async def test_an_unknown_event_is_kept_in_the_ledger(bench: ApplyBench) -> None:
    await bench.deliver(b"<xml><MsgType>event</MsgType><Event>something_new</Event><CreateTime>1</CreateTime></xml>")
    await bench.apply()
    (event,) = await bench.rows(contact_event)
    assert (event["event"], event["outcome"]) == ("something_new", "unknown")
    assert await bench.rows(dead_letter) == []
    assert await bench.rows(pending_read) == []


def break_customer(monkeypatch: pytest.MonkeyPatch, broken: Callable[[str], bool]) -> None:
    """Make every batch that touches one of these customers fail, as a handler with a bug would."""
    real: Callable[..., Awaitable[None]] = told_module.want

    async def want(conn: Any, dialect: str, corpid: str, effects: Any, now: Any, **more: Any) -> None:
        effects = list(effects)
        if any(effect.customer and broken(effect.customer) for effect in effects):
            raise LookupError("a bug")
        await real(conn, dialect, corpid, effects, now, **more)

    monkeypatch.setattr(told_module, "want", want)


async def test_a_key_that_keeps_failing_is_set_aside_and_the_rest_goes_on(
    bench: ApplyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_customer(monkeypatch, lambda name: name == "wmBad")
    await bench.deliver(*(contact_change("edit_external_contact", day(10), customer=f"wm{i}") for i in range(30)))
    await bench.deliver(contact_change("edit_external_contact", day(10), customer="wmBad"))
    await bench.deliver(contact_change("edit_external_contact", day(10), customer="wmLast"))
    await bench.apply()
    (letter,) = await bench.rows(dead_letter, "reason")
    assert letter == {"reason": "can't be applied: LookupError"}
    assert len(await bench.rows(pending_read)) == 31


async def test_a_database_that_is_away_is_waited_for_and_said(bench: ApplyBench, tmp_path: Path) -> None:
    """Locked by another process for too long is as good as away."""

    def impatient(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 20")

    event.listen(bench.database.engine.sync_engine, "connect", impatient)
    await bench.database.close()
    await bench.deliver(contact_change("edit_external_contact", day(10)))
    other = Database(f"sqlite+aiosqlite:///{tmp_path / 'crm.sqlite'}")
    async with other.write():
        applying = asyncio.create_task(bench.apply())
        await until(lambda: bench.health.reason == "database: OperationalError")
        assert bench.health.state == "waiting"
    await other.close()
    await applying
    assert bench.health.state == "ok"
    assert len(await bench.rows(pending_read)) == 1
    assert await bench.rows(dead_letter) == []


async def test_when_everything_fails_the_consumer_stops_with_its_position_unmoved(
    bench: ApplyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_customer(monkeypatch, lambda _name: True)
    await bench.deliver(*(contact_change("edit_external_contact", day(10), customer=f"wm{i}") for i in range(150)))
    with pytest.raises(TooManyDeadLetters):
        await bench.apply()
    assert await bench.rows(dead_letter) == []
    assert await bench.rows(log_position) == []
