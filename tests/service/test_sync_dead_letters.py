"""What can't be applied: kept with its bytes, never doubled, and never without a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.db.tables import contact_event, customer_follow, dead_letter, log_position, pending_read
from core.envelope import Envelope
from core.eventlog.base import Batch, Gap, PartitionLost, Record, Span
from core.eventlog.embedded import EmbeddedLog
from sync import apply as apply_module
from sync import told as told_module
from sync.apply import DatabasePositions
from sync.dead_letters import Ceiling, TooManyDeadLetters
from tests.support.applying import ApplyBench
from tests.support.crm import contact_change, crm_database, day

pytestmark = pytest.mark.asyncio

EDIT = "edit_external_contact"


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ApplyBench]:
    async with crm_database(tmp_path) as database, await EmbeddedLog.open(tmp_path / "log.sqlite") as log:
        yield ApplyBench(database, log)


def fail_for(monkeypatch: pytest.MonkeyPatch, broken: Callable[[str], bool]) -> list[int]:
    """Make the write of these customers fail, as a bug would; returns a list with the number of writes tried."""
    real: Callable[..., Awaitable[None]] = told_module.want
    tried = [0]

    async def want(conn: Any, dialect: str, corpid: str, effects: Any, now: Any, **more: Any) -> None:
        tried[0] += 1
        await real(conn, dialect, corpid, effects, now, **more)
        if any(broken(effect.customer) for effect in effects):
            raise LookupError("a bug")

    monkeypatch.setattr(told_module, "want", want)
    return tried


async def position(bench: ApplyBench) -> int | None:
    found = await bench.rows(log_position, "position")
    return found[0]["position"] if found else None


async def test_the_strangest_deliveries_become_rows_or_letters_and_the_next_one_is_applied(bench: ApplyBench) -> None:
    strange = [
        b"",
        b"nonsense",
        b"\xff\xfe" * 50,
        b"<xml><Event>e",
        b"<!DOCTYPE xml [<!ENTITY a 'b'>]><xml><Event>&a;</Event></xml>",
        b"<xml><CreateTime>1</CreateTime></xml>",
        contact_change("add_external_contact", day(10), customer=""),
        contact_change("add_external_contact", day(10), member=""),
        contact_change(EDIT, day(10), customer="w" * 129),
    ]
    kept = [
        contact_change("add_external_contact", day(10), State="备" * 200),
        contact_change(EDIT, day(10), State="🎉 & < ]]"),
        contact_change("something_new", day(10)),
        b"<xml><Event>brand_new</Event><CreateTime>99999999999999999999</CreateTime></xml>",
        contact_change(EDIT, day(10), CreateTime="-1"),
    ]
    for odd in strange:
        await bench.deliver(odd, *kept)
    await bench.deliver(contact_change("add_external_contact", day(10), "wmLast"))
    await bench.apply()
    assert [row["payload"] for row in await bench.rows(dead_letter)] == strange
    assert len(await bench.rows(contact_event)) == len(kept) + 1
    assert {row["object_id"] for row in await bench.rows(pending_read)} == {"wmA", "wmLast"}


async def test_the_reasons_name_no_person(bench: ApplyBench, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for(monkeypatch, lambda _name: True)
    await bench.deliver(contact_change(EDIT, day(10), State="13800000000"), b"13800000000")
    await bench.apply()
    letters = await bench.rows(dead_letter, "reason")
    assert len(letters) == 2
    assert "1380" not in str(letters)


async def test_all_events_of_a_failing_customer_are_set_aside_together(
    bench: ApplyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the failing transaction had written is gone with it."""
    fail_for(monkeypatch, lambda name: name == "wmBad")
    changes = ("add_external_contact", EDIT, "del_follow_user")
    bad = [contact_change(change, day(10), "wmBad") for change in changes]
    good = [contact_change(change, day(10), "wmGood") for change in changes]
    await bench.deliver(*[each for pair in zip(bad, good, strict=True) for each in pair])
    await bench.apply()
    assert [row["payload"] for row in await bench.rows(dead_letter)] == bad
    assert {row["object_id"] for row in await bench.rows(contact_event)} == {"wmGood"}
    (relation,) = await bench.rows(customer_follow)
    assert (relation["userid"], relation["lost_by"]) == ("wmGood", "customer")
    (wish,) = await bench.rows(pending_read, "object_id", "events")
    assert wish == {"object_id": "wmGood", "events": 3}


async def test_above_the_ceiling_what_was_committed_is_safe_to_apply_again(
    bench: ApplyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_for(patch, lambda name: name.startswith("wmBad"))
        for number in range(50):
            await bench.deliver(contact_change("add_external_contact", day(10), f"wmGood{number}"))
        for number in range(120):
            await bench.deliver(contact_change("add_external_contact", day(10), f"wmBad{number}"))
        for _ in range(2):
            with pytest.raises(TooManyDeadLetters):
                await bench.apply()
            assert await bench.rows(dead_letter) == []
            assert await position(bench) == 1
            assert len(await bench.rows(customer_follow)) == 50
    # The bug is mended, and another process reads the batch once more.
    bench.applier = bench.new_applier()
    await bench.apply()
    assert await bench.rows(dead_letter) == []
    assert len(await bench.rows(contact_event)) == 170
    assert len(await bench.rows(customer_follow)) == 170
    assert await position(bench) == 171


async def test_above_the_ceiling_of_unreadable_documents_nothing_of_the_batch_is_committed(bench: ApplyBench) -> None:
    bench.applier._undecodable = Ceiling(run=10)
    await bench.deliver(contact_change(EDIT, day(10)), *[b"nonsense"] * 11)
    for _ in range(2):
        with pytest.raises(TooManyDeadLetters):
            await bench.apply()
    assert await bench.rows(dead_letter) == []
    assert await bench.rows(pending_read) == []
    assert await position(bench) is None


async def test_the_ceiling_counts_from_batch_to_batch(bench: ApplyBench) -> None:
    bench.applier._undecodable = Ceiling(run=2)
    for _ in range(2):
        await bench.deliver(b"nonsense")
        await bench.apply()
    await bench.deliver(b"nonsense")
    with pytest.raises(TooManyDeadLetters):
        await bench.apply()
    assert len(await bench.rows(dead_letter)) == 2


async def test_unreadable_documents_among_others_are_no_reason_to_stop(bench: ApplyBench) -> None:
    bench.applier._undecodable = Ceiling(run=2)
    for _ in range(10):
        await bench.deliver(b"nonsense", b"nonsense", contact_change(EDIT, day(10)))
    await bench.apply()
    assert len(await bench.rows(dead_letter)) == 20


async def test_one_failing_customer_now_and_then_never_stops_the_rest(
    bench: ApplyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went well in between counts too, also where nothing had to be redone."""
    fail_for(monkeypatch, lambda name: name == "wmBad")
    bench.applier._failing = Ceiling(run=3)
    for _ in range(8):
        await bench.deliver(contact_change(EDIT, day(10), "wmBad"))
        await bench.apply()
        await bench.deliver(contact_change(EDIT, day(10), "wmGood"))
        await bench.apply()
    assert len(await bench.rows(dead_letter)) == 8


async def test_what_was_not_committed_does_not_count_against_the_ceiling(
    bench: ApplyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that goes away at the last moment, again and again, is no reason to stop."""
    fail_for(monkeypatch, lambda name: name == "wmBad")
    bench.applier._failing = Ceiling(run=3)
    await bench.deliver(contact_change(EDIT, day(10), "wmBad"))
    async with bench.log.reader("crm-sync", DatabasePositions(bench.database)) as reader:
        batch = await reader.read(10, 1.0)
        with monkeypatch.context() as patch:

            async def away(*_: object) -> None:
                raise ConnectionResetError

            patch.setattr(apply_module, "set_aside", away)
            for _ in range(5):
                with pytest.raises(ConnectionResetError):
                    await bench.applier._apply(batch, reader.log_id)
        await bench.applier._apply(batch, reader.log_id)
    assert len(await bench.rows(dead_letter)) == 1


async def test_a_letter_that_is_there_already_is_not_doubled_and_stops_nothing(bench: ApplyBench) -> None:
    """Somebody set the position back to have a stretch applied again."""
    await bench.deliver(b"nonsense", contact_change(EDIT, day(10)), b"more nonsense")
    await bench.apply()
    before = await bench.rows(dead_letter)
    assert len(before) == 2
    async with bench.database.write() as conn:
        await conn.execute(log_position.update().values(position=1))
    await bench.deliver(b"the last")
    await bench.apply()
    found = await bench.rows(dead_letter)
    assert found[:2] == before
    assert [row["payload"] for row in found[2:]] == [b"the last"]


async def test_a_reader_that_lost_its_partition_while_redoing_writes_nothing_more(
    bench: ApplyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_for(monkeypatch, lambda name: name == "wmBad")
    await bench.deliver(*(contact_change(EDIT, day(10), name) for name in ("wmBad", "wmA")))
    real: Callable[..., Awaitable[Any]] = bench.applier._redo

    async def overtaken(batch: Batch, log_id: str, *more: Any) -> Any:
        # Somebody else has applied the batch meanwhile.
        row = {"log_id": log_id, "partition": 0, "position": batch.spans[0].end, "updated_at": day(11)}
        async with bench.database.write() as conn:
            await conn.execute(log_position.insert(), [row])
        return await real(batch, log_id, *more)

    monkeypatch.setattr(bench.applier, "_redo", overtaken)
    async with bench.log.reader("crm-sync", DatabasePositions(bench.database)) as reader:
        batch = await reader.read(10, 1.0)
        with pytest.raises(PartitionLost):
            await bench.applier._apply(batch, reader.log_id)
    for table in (pending_read, contact_event, dead_letter):
        assert await bench.rows(table) == []


async def test_a_stretch_that_the_log_has_lost_is_passed_over(bench: ApplyBench) -> None:
    record = Record(0, 5, "ww1", contact_change(EDIT, day(10)), {}, int(day(11).timestamp() * 1000))
    await bench.applier._apply(Batch([record], {0: Span(1, 6)}, [Gap(0, 1, 5)]), "log")
    await bench.applier._apply(Batch([], {0: Span(6, 9)}, [Gap(0, 6, 9)]), "log")
    assert await position(bench) == 9
    assert len(await bench.rows(pending_read)) == 1


async def test_a_batch_is_all_or_nothing_over_its_partitions(bench: ApplyBench) -> None:
    """One of two partitions moved meanwhile: nothing of the other is written either."""

    def record(partition: int, at: int, name: str) -> Record:
        return Record(partition, at, "ww1", contact_change(EDIT, day(10), name), {}, int(day(11).timestamp() * 1000))

    first = Batch([record(0, 5, "wmA")], {0: Span(5, 6)})
    await bench.applier._apply(first, "log")
    both = Batch([record(0, 5, "wmA"), record(1, 9, "wmB")], {0: Span(5, 6), 1: Span(9, 10)})
    with pytest.raises(PartitionLost):
        await bench.applier._apply(both, "log")
    assert {row["object_id"] for row in await bench.rows(pending_read)} == {"wmA"}
    next_one = Batch([record(0, 6, "wmC"), record(1, 9, "wmB")], {0: Span(6, 7), 1: Span(9, 10)})
    await bench.applier._apply(next_one, "log")
    assert [tuple(row.values()) for row in await bench.rows(log_position, "partition", "position")] == [(0, 7), (1, 10)]


@pytest.mark.parametrize("event", ["change_external_contact", "something_new"])
@pytest.mark.parametrize("times", [(10**17, 1), (1, 10**17)])
async def test_a_record_with_an_impossible_time_is_a_letter(
    bench: ApplyBench, event: str, times: tuple[int, int]
) -> None:
    """Only a record that another program wrote can have one: ours are never later than their arrival."""
    record = Record(0, 1, "ww1", b"", {}, int(day(11).timestamp() * 1000))
    envelope = Envelope(
        event_id="e",
        corpid="ww1",
        callback="contacts",
        event=event,
        change="add_external_contact",
        object_id="wmA",
        userid="zhangsan",
        create_time=times[0],
        received_at=times[1],
    )
    bench.applier._decode = lambda _record: envelope
    await bench.applier._apply(Batch([record], {0: Span(1, 2)}), "log")
    (letter,) = await bench.rows(dead_letter, "reason")
    assert letter == {"reason": "the time is no date"}
    assert await position(bench) == 2
