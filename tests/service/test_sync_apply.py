"""From the event log into the database: in every order, repeated, half done, and with what can't be applied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.db.engine import Database
from core.db.tables import contact_event, customer, customer_follow, dead_letter, log_position, pending_read
from core.eventlog.base import PartitionLost
from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.metrics import Metrics
from sync import apply as apply_module
from sync.apply import Applier, DatabasePositions, decode_delivery
from sync.dead_letters import TooManyDeadLetters
from tests.support.crm import contact_change, crm_database, day, rows

pytestmark = pytest.mark.asyncio


class Bench:
    """A log, a database and what applies the one to the other."""

    def __init__(self, database: Database, log: EmbeddedLog) -> None:
        self.database = database
        self.log = log
        self.metrics = Metrics()
        self.woken: list[set[str]] = []
        self.health = Health().component("apply")
        self.applier = Applier(
            database, decode_delivery, self.metrics, self.health, applied=lambda ids: self.woken.append(set(ids))
        )

    async def deliver(self, *documents: bytes, corpid: str = "ww1") -> None:
        for document in documents:
            await self.log.append(corpid, document, {"callback": "contacts"})

    async def apply(self, deadline: float = 20.0) -> None:
        """Run the applier until everything in the log is applied."""
        stopping = asyncio.Event()
        async with self.log.reader("crm-sync", DatabasePositions(self.database)) as reader:
            task = asyncio.create_task(self.applier.run(reader, stopping))

            async def drained() -> None:
                while not task.done() and sum((await reader.lag()).values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)

            try:
                async with asyncio.timeout(deadline):
                    await drained()
            finally:
                stopping.set()
                async with asyncio.timeout(deadline):
                    await task

    async def rows(self, table: Any, *columns: str) -> list[dict[str, Any]]:
        return await rows(self.database, table, *columns)


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with crm_database(tmp_path) as database:
        log = await EmbeddedLog.open(tmp_path / "log.sqlite")
        yield Bench(database, log)
        await log.close()


async def test_an_event_becomes_ledger_fact_wish_and_position(bench: Bench) -> None:
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
async def test_six_orders_end_in_one_row(bench: Bench, order: tuple[int, ...], loss: str) -> None:
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
async def test_a_late_edit_never_resurrects(bench: Bench, change: str, more: dict[str, str], by: str) -> None:
    await bench.deliver(
        contact_change("add_external_contact", day(10)),
        contact_change(change, day(10, 5), **more),
        contact_change("edit_external_contact", day(10, 4)),
        contact_change("edit_external_contact", day(11)),
    )
    await bench.apply()
    (relation,) = await bench.rows(customer_follow)
    assert (relation["lost_at"], relation["lost_by"]) == (day(10, 5), by)


async def test_repeated_deliveries_are_one_ledger_row_and_one_wish(bench: Bench) -> None:
    document = contact_change("edit_external_contact", day(10))
    await bench.deliver(*[document] * 5)
    await bench.apply()
    assert len(await bench.rows(contact_event)) == 1
    (wish,) = await bench.rows(pending_read, "events")
    assert wish == {"events": 5}


async def test_a_batch_applied_behind_our_back_is_abandoned_and_not_doubled(bench: Bench) -> None:
    await bench.deliver(contact_change("edit_external_contact", day(10)))
    async with bench.log.reader("crm-sync", DatabasePositions(bench.database)) as reader:
        batch = await reader.read(10, 1.0)
        await bench.applier._apply(batch, reader.log_id)
        with pytest.raises(PartitionLost):
            await bench.applier._apply(batch, reader.log_id)
    (wish,) = await bench.rows(pending_read, "events", "version")
    assert wish == {"events": 1, "version": 1}


async def test_a_database_set_back_to_a_backup_catches_up_by_itself(bench: Bench) -> None:
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
async def test_what_cannot_be_applied_is_set_aside_with_its_bytes(bench: Bench, document: bytes, reason: str) -> None:
    await bench.deliver(document, contact_change("edit_external_contact", day(10)))
    await bench.apply()
    (letter,) = await bench.rows(dead_letter)
    assert letter["payload"] == document
    assert reason in letter["reason"]
    assert letter["corpid"] == "ww1"
    assert [row["object_id"] for row in await bench.rows(pending_read)] == ["wmA"]


async def test_an_unknown_event_is_kept_in_the_ledger(bench: Bench) -> None:
    await bench.deliver(b"<xml><MsgType>event</MsgType><Event>something_new</Event><CreateTime>1</CreateTime></xml>")
    await bench.apply()
    (event,) = await bench.rows(contact_event)
    assert (event["event"], event["outcome"]) == ("something_new", "unknown")
    assert await bench.rows(dead_letter) == []
    assert await bench.rows(pending_read) == []


def break_customer(monkeypatch: pytest.MonkeyPatch, broken: Callable[[str], bool]) -> None:
    """Make every batch that touches one of these customers fail, as a handler with a bug would."""
    real: Callable[..., Awaitable[None]] = apply_module.want

    async def want(conn: Any, dialect: str, corpid: str, effects: Any, now: Any) -> None:
        effects = list(effects)
        if any(effect.customer and broken(effect.customer) for effect in effects):
            raise LookupError("a bug")
        await real(conn, dialect, corpid, effects, now)

    monkeypatch.setattr(apply_module, "want", want)


async def test_a_key_that_keeps_failing_is_set_aside_and_the_rest_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_customer(monkeypatch, lambda name: name == "wmBad")
    await bench.deliver(*(contact_change("edit_external_contact", day(10), customer=f"wm{i}") for i in range(30)))
    await bench.deliver(contact_change("edit_external_contact", day(10), customer="wmBad"))
    await bench.deliver(contact_change("edit_external_contact", day(10), customer="wmLast"))
    await bench.apply()
    (letter,) = await bench.rows(dead_letter, "reason")
    assert letter == {"reason": "can't be applied: LookupError"}
    assert len(await bench.rows(pending_read)) == 31


async def test_when_everything_fails_the_consumer_stops_with_its_position_unmoved(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_customer(monkeypatch, lambda _name: True)
    await bench.deliver(*(contact_change("edit_external_contact", day(10), customer=f"wm{i}") for i in range(150)))
    with pytest.raises(TooManyDeadLetters):
        await bench.apply()
    assert await bench.rows(dead_letter) == []
    assert await bench.rows(log_position) == []
