"""One suite for every event log: what its callers may rely on, and no more.

A new implementation adds a ``Backend`` to ``BACKENDS`` and passes all of it unchanged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from core.eventlog.base import EventLog, LogUnavailable
from tests.support.eventlogs import Backend, EmbeddedBackend, FixedPositions, KafkaBackend, read_all, values

pytestmark = pytest.mark.asyncio

BACKENDS = ("embedded", "kafka")
GROUP = "crm-sync"


@pytest_asyncio.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    if request.param == "kafka":
        yield KafkaBackend(request.getfixturevalue("kafka"), request.getfixturevalue("topic"))
    else:
        yield EmbeddedBackend(tmp_path)


@pytest_asyncio.fixture
async def log(backend: Backend) -> AsyncIterator[EventLog]:
    opened = await backend.open()
    yield opened
    await opened.close()


async def fill(log: EventLog, *texts: bytes, key: str = "ww1:wmA") -> None:
    for text in texts:
        await log.append(key, text, {"callback": "contacts"})


async def test_a_record_comes_back_as_it_was_appended(log: EventLog) -> None:
    before = int(time.time() * 1000)
    await log.append("ww1:客户", b"\x00\xff<xml/>", {"callback": "名", "empty": ""})
    async with log.reader(GROUP) as reader:
        (record,) = await read_all(reader, 1)
    assert (record.key, record.value, record.headers) == (
        "ww1:客户",
        b"\x00\xff<xml/>",
        {"callback": "名", "empty": ""},
    )
    assert before <= record.appended_at <= int(time.time() * 1000)


async def test_a_large_record_and_an_empty_one(log: EventLog) -> None:
    large = bytes(range(256)) * 800
    await fill(log, large, b"")
    async with log.reader(GROUP) as reader:
        assert values(await read_all(reader, 2)) == [large, b""]


async def test_order_of_one_key_is_the_order_of_its_appends(log: EventLog) -> None:
    texts = [b"%d" % number for number in range(50)]
    await fill(log, *texts)
    async with log.reader(GROUP) as reader:
        records = await read_all(reader, 50, limit=7)
    assert values(records) == texts
    positions = [record.position for record in records]
    assert positions == sorted(set(positions))


async def test_one_key_is_always_in_one_partition(log: EventLog) -> None:
    for round_number in range(3):
        await asyncio.gather(*(fill(log, b"%d" % round_number, key=f"ww1:wm{number}") for number in range(20)))
    async with log.reader(GROUP) as reader:
        records = await read_all(reader, 60)
    partitions: dict[str, set[int]] = {}
    for record in records:
        partitions.setdefault(record.key, set()).add(record.partition)
    assert len(partitions) == 20
    assert all(len(found) == 1 for found in partitions.values())


async def test_many_appends_at_once_are_all_there_and_once(log: EventLog) -> None:
    texts = {b"%d" % number for number in range(300)}
    await asyncio.gather(*(fill(log, text, key=f"ww1:{text.decode()}") for text in texts))
    async with log.reader(GROUP) as reader:
        records = await read_all(reader, 300)
        assert sorted(values(records)) == sorted(texts)
        assert not await reader.read(10, 0.05)
    assert len({(record.partition, record.position) for record in records}) == 300


async def test_an_append_whose_caller_gave_up_disturbs_nobody(log: EventLog) -> None:
    given_up = [asyncio.create_task(fill(log, b"gave up")) for _ in range(20)]
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    await fill(log, b"stayed")
    async with log.reader(GROUP) as reader:
        while b"stayed" not in (found := values(await read_all(reader, 1))):
            assert set(found) == {b"gave up"}


async def test_nothing_to_read_is_an_empty_batch_after_the_wait(log: EventLog) -> None:
    async with log.reader(GROUP) as reader:
        batch = await reader.read(10, 0.05)
    assert not batch
    assert (batch.records, batch.spans, batch.gaps, batch.damaged) == ((), {}, (), 0)


async def test_a_waiting_reader_is_woken_by_an_append(log: EventLog) -> None:
    async with log.reader(GROUP) as reader:
        assert not await reader.read(10, 0.01)
        waiting = asyncio.create_task(reader.read(10, 30.0))
        await asyncio.sleep(0)
        await fill(log, b"news")
        async with asyncio.timeout(10):
            assert values((await waiting).records) == [b"news"]


async def test_no_batch_has_more_than_its_limit_and_spans_join(log: EventLog) -> None:
    await fill(log, *(b"%d" % number for number in range(10)))
    async with log.reader(GROUP) as reader:
        ends: dict[int, int] = {}
        count = 0
        while count < 10:
            batch = await reader.read(3, 1.0)
            assert len(batch.records) <= 3
            count += len(batch.records)
            for partition, span in batch.spans.items():
                assert span.begin == ends.get(partition, span.begin)
                assert span.end > span.begin
                ends[partition] = span.end
            for record in batch.records:
                assert batch.spans[record.partition].begin <= record.position < batch.spans[record.partition].end


async def test_reading_goes_on_without_a_report_and_rewind_goes_back(log: EventLog) -> None:
    await fill(log, b"1", b"2", b"3")
    async with log.reader(GROUP) as reader:
        assert values(await read_all(reader, 1, limit=1, report=True)) == [b"1"]
        assert values(await read_all(reader, 2, limit=1)) == [b"2", b"3"]
        await reader.rewind()
        assert values(await read_all(reader, 2)) == [b"2", b"3"]


async def test_without_positions_a_group_goes_on_after_what_it_reported(log: EventLog) -> None:
    await fill(log, b"1", b"2", b"3")
    async with log.reader(GROUP) as reader:
        await read_all(reader, 2, limit=1, report=True)
    async with log.reader(GROUP) as reader:
        assert values(await read_all(reader, 1)) == [b"3"]


async def test_positions_decide_where_reading_starts_whatever_was_reported(log: EventLog) -> None:
    await fill(log, b"1", b"2", b"3")
    async with log.reader(GROUP) as reader:
        first, second, _ = await read_all(reader, 3)
    positions = FixedPositions({first.partition: second.position})
    async with log.reader(GROUP, positions) as reader:
        assert values(await read_all(reader, 2, report=True)) == [b"2", b"3"]
        positions.positions[first.partition] = first.position
        await reader.rewind()
        assert values(await read_all(reader, 3)) == [b"1", b"2", b"3"]


async def test_positions_that_know_nothing_mean_a_new_database_that_needs_everything(backend: Backend) -> None:
    log = await backend.open_another()
    await fill(log, b"1", b"2")
    async with log.reader(GROUP) as reader:
        await read_all(reader, 2, report=True)
    async with log.reader(GROUP, FixedPositions()) as reader:
        assert values(await read_all(reader, 2)) == [b"1", b"2"]
    await log.close()


async def test_a_report_never_moves_a_group_back(log: EventLog) -> None:
    await fill(log, b"1", b"2", b"3")
    async with log.reader(GROUP) as reader:
        early = await reader.read(1, 1.0)
        while batch := await reader.read(1, 0.2):
            await reader.report(batch)
        await reader.report(early)
        assert sum((await reader.lag()).values()) == 0
    async with log.reader(GROUP) as reader:
        assert not await reader.read(10, 0.05)


async def test_lag_is_what_was_appended_and_not_reported(log: EventLog) -> None:
    async with log.reader(GROUP) as reader:
        assert sum((await reader.lag()).values()) == 0
        await fill(log, b"1", b"2", b"3")
        assert sum((await reader.lag()).values()) == 3
        await read_all(reader, 2, limit=1, report=True)
        assert sum((await reader.lag()).values()) == 1


async def test_positions_that_went_back_are_lag_again(log: EventLog) -> None:
    await fill(log, b"1", b"2", b"3")
    async with log.reader(GROUP) as reader:
        first, *_ = await read_all(reader, 3, report=True)
        assert sum((await reader.lag()).values()) == 0
    async with log.reader(GROUP, FixedPositions({first.partition: first.position})) as reader:
        assert sum((await reader.lag()).values()) == 3
        await read_all(reader, 3, report=True)
        assert sum((await reader.lag()).values()) == 0


async def test_a_log_that_is_opened_again_is_the_same_log(backend: Backend) -> None:
    log = await backend.open()
    log_id = log.log_id
    await fill(log, b"1")
    async with log.reader(GROUP) as reader:
        (before,) = await read_all(reader, 1)
    await log.close()
    log = await backend.open()
    assert log.log_id == log_id
    await fill(log, b"2")
    async with log.reader(GROUP) as reader:
        again, after = await read_all(reader, 2)
    await log.close()
    assert again == before
    assert after.position > before.position


async def test_positions_never_repeat_when_everything_was_removed(backend: Backend) -> None:
    log = await backend.open()
    await fill(log, b"1", b"2", b"3")
    async with log.reader(GROUP) as reader:
        records = await read_all(reader, 3, report=True)
    last = records[-1]
    log = await backend.remove_before(log, last.partition, last.position + 1)
    await log.close()
    log = await backend.open()
    await fill(log, b"4")
    async with log.reader(GROUP) as reader:
        (new,) = await read_all(reader, 1)
    await log.close()
    assert new.value == b"4"
    assert new.position > last.position


async def test_what_was_removed_before_it_was_read_is_a_gap(backend: Backend) -> None:
    log = await backend.open()
    await fill(log, b"1", b"2", b"3")
    async with log.reader(GROUP) as reader:
        first, second, third = await read_all(reader, 3, limit=1)
        await reader.rewind()
        for _ in range(2):
            await reader.report(await reader.read(1, 1.0))
    log = await backend.remove_before(log, first.partition, third.position)
    async with log.reader(GROUP, FixedPositions({first.partition: first.position})) as reader:
        batch = await reader.read(10, 1.0)
    await log.close()
    assert values(batch.records) == [b"3"]
    (gap,) = batch.gaps
    assert (gap.partition, gap.wanted) == (first.partition, first.position)
    assert second.position < gap.available <= third.position
    assert batch.spans[first.partition].begin == first.position
    assert batch.spans[first.partition].end == third.position + 1


async def test_two_logs_have_two_identities(backend: Backend) -> None:
    one, other = await backend.open_another(), await backend.open_another()
    assert one.log_id != other.log_id
    assert one.log_id
    await one.close()
    await other.close()


async def test_a_closed_log_takes_nothing_and_closes_again(backend: Backend) -> None:
    log = await backend.open()
    appends = [asyncio.create_task(fill(log, b"%d" % number)) for number in range(20)]
    await asyncio.sleep(0)
    await log.close()
    await log.close()
    # What was taken before is done, one way or the other, and the caller knows which.
    told = await asyncio.gather(*appends, return_exceptions=True)
    assert all(result is None or isinstance(result, LogUnavailable) for result in told)
    with pytest.raises(LogUnavailable):
        await fill(log, b"late")
    log = await backend.open()
    async with log.reader(GROUP) as reader:
        found = values(await read_all(reader, sum(result is None for result in told)))
    await log.close()
    assert {b"%d" % number for number, result in enumerate(told) if result is None} <= set(found)
