"""What only a log on Kafka has to show: groups that share partitions, topics that come and go, refused records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from io import StringIO

import pytest
import pytest_asyncio

from core.eventlog.base import Batch, LogUnavailable, PartitionLost, RecordRefused
from core.eventlog.kafka import KafkaLog
from core.eventlog.kafka_cluster import TopicMissing
from core.eventlog.kafka_member import Pace
from core.eventlog.kafka_reader import PositionBeyondLog
from core.health import Health
from core.logs import configure
from core.metrics import Metrics
from tests.support.eventlogs import FixedPositions, read_all, values
from tests.support.kafka_readers import QUICK, Applied, apply_once, apply_until, fill, reading
from tests.support.kafka_topics import (
    add_partitions,
    admin,
    create_topic,
    delete_records,
    delete_topic,
    kafka_settings,
)
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio

GROUP = "crm-sync"


@pytest_asyncio.fixture
async def log(kafka: str, topic: str) -> AsyncIterator[KafkaLog]:
    await create_topic(kafka, topic)
    async with KafkaLog(kafka_settings(kafka, topic), pace=QUICK) as opened:
        await opened.identified(10)
        yield opened


async def test_two_readers_share_the_partitions_and_one_takes_over_what_the_other_leaves(log: KafkaLog) -> None:
    applied = Applied()
    await fill(log, 200)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(log.reader(GROUP, applied))
        await apply_until(first, applied, 1)
        async with log.reader(GROUP, applied) as second:
            await until(lambda: len(first.partitions) == 3 == len(second.partitions))
            assert not first.partitions & second.partitions
            async with asyncio.timeout(30):
                while len(applied.records) < 200:
                    await asyncio.gather(apply_once(first, applied), apply_once(second, applied))
        await until(lambda: len(first.partitions) == 6)
        await fill(log, 100)
        await apply_until(first, applied, 300)
    seen = [(record.partition, record.position) for record in applied.records]
    assert len(seen) == len(set(seen)) == 300
    for number in range(6):
        in_order = [position for partition, position in seen if partition == number]
        assert in_order == sorted(in_order)


async def test_a_rebalance_waits_for_the_batch_in_hand(log: KafkaLog) -> None:
    applied = Applied()
    await fill(log, 60)
    async with log.reader(GROUP, applied) as first:
        batch = await first.read(1000, 5.0)
        joining = asyncio.create_task(_join_and_leave(log, applied))
        await until(lambda: first._member.leaving)
        applied.apply(batch)
        await first.report(batch)
        # Whoever came read on from there: nothing was applied twice, and nothing was lost.
        seen = await joining
    assert {number for number, position in seen.items() if position != applied.positions.get(number, 0)} == set()


async def _join_and_leave(log: KafkaLog, applied: Applied) -> dict[int, int]:
    async with log.reader(GROUP, applied) as second:
        await until(lambda: len(second.partitions) == 3)
        await second.read(1, 0.0)
        return dict(second._next)


async def test_what_was_not_finished_in_time_is_lost_and_read_by_the_next(kafka: str, topic: str) -> None:
    await create_topic(kafka, topic)
    pace = Pace(session=6.0, heartbeat=0.3, drain=0.1)
    async with KafkaLog(kafka_settings(kafka, topic), pace=pace) as log:
        await log.identified(10)
        await fill(log, 60)
        applied = Applied()
        async with log.reader(GROUP, applied) as first:
            batch = Batch()
            while len(batch.spans) < 6:
                batch = await first.read(1000, 1.0)
                await first.rewind()
            batch = await first.read(1000, 1.0)
            async with log.reader(GROUP, applied) as second:
                await until(lambda: len(first.partitions) == 3 == len(second.partitions))
                with pytest.raises(PartitionLost, match="belong to another reader"):
                    await first.report(batch)
                await first.rewind()
                async with asyncio.timeout(20):
                    while len(applied.records) < 60:
                        await asyncio.gather(apply_once(first, applied), apply_once(second, applied))
        assert len(applied.records) == 60


async def test_the_offsets_of_the_group_follow_for_whoever_watches_the_lag(log: KafkaLog, kafka: str) -> None:
    applied = Applied()
    await fill(log, 60)
    async with log.reader("watched", applied) as reader:
        await apply_until(reader, applied, 60)
    async with admin(kafka) as client:
        offsets = await client.list_consumer_group_offsets("watched")
    assert {tp.partition: at.offset for tp, at in offsets.items() if tp.topic == log.topic} == applied.positions


async def test_the_group_s_offsets_decide_nothing_where_there_are_positions(log: KafkaLog) -> None:
    await fill(log, 30)
    async with log.reader(GROUP) as reader:
        await read_all(reader, 30, report=True)
    async with log.reader(GROUP, FixedPositions()) as reader:
        assert len(await read_all(reader, 30)) == 30


async def test_a_topic_that_is_missing_is_told_and_found_when_it_is_made(kafka: str, topic: str) -> None:
    health = Health()
    async with KafkaLog(kafka_settings(kafka, topic), pace=QUICK, health=health.component("kafka")) as log:
        with pytest.raises(TopicMissing, match="make it with wecom-crm topics create"):
            await log.identified(10)
        with pytest.raises(TopicMissing, match=topic):
            async with log.reader(GROUP):
                pass
        with pytest.raises(TopicMissing):
            await log.append("ww1:wmA", b"1", {})
        assert health.component("kafka").state == "waiting"
        assert "wecom-crm topics create" in health.component("kafka").reason
        await create_topic(kafka, topic)
        await until(lambda: health.component("kafka").state == "ok")
        await log.append("ww1:wmA", b"1", {})


async def test_a_topic_that_was_made_anew_is_another_log(log: KafkaLog, kafka: str) -> None:
    before = log.log_id
    await fill(log, 30)
    async with log.reader(GROUP, FixedPositions()) as reader:
        await read_all(reader, 30)
        await delete_topic(kafka, log.topic)
        await until(lambda: log.away)
        await create_topic(kafka, log.topic)
        await until(lambda: not log.away and log.log_id != before)
        with pytest.raises(LogUnavailable, match="join again"):
            await reader.read(10, 0.1)
        with pytest.raises(LogUnavailable, match="join again"):
            await reader.rewind()
    await log.append("ww1:wmA", b"new", {})
    async with log.reader(GROUP, FixedPositions()) as reader:
        assert values(await read_all(reader, 1)) == [b"new"]


async def test_retention_that_overtakes_a_reader_is_a_gap_also_when_nothing_is_left(kafka: str, topic: str) -> None:
    await create_topic(kafka, topic, partitions=1)
    metrics = Metrics()
    async with KafkaLog(kafka_settings(kafka, topic), pace=QUICK, metrics=metrics) as log:
        await log.identified(10)
        await fill(log, 10)
        async with log.reader(GROUP, FixedPositions({0: 2})) as reader:
            assert values((await reader.read(3, 5.0)).records) == [b"2", b"3", b"4"]
            await delete_records(kafka, topic, 0, 10)
            await reader.rewind()
            batch = Batch()
            async with asyncio.timeout(10):
                while not batch:
                    batch = await reader.read(10, 0.5)
            assert batch.records == []
            ((gap),) = batch.gaps
            assert (gap.partition, gap.wanted, gap.available) == (0, 2, 10)
            assert (batch.spans[0].begin, batch.spans[0].end) == (2, 10)
            await reader.report(batch)
            await log.append("ww1:wmA", b"after", {})
            assert values(await read_all(reader, 1)) == [b"after"]
    assert b"wecom_crm_log_gaps_total 1.0" in metrics.render()


async def test_a_position_beyond_the_end_is_told_and_not_skipped(kafka: str, topic: str) -> None:
    await create_topic(kafka, topic, partitions=1)
    health = Health().component("kafka")
    pace = replace(QUICK, beyond=2.0)
    async with KafkaLog(kafka_settings(kafka, topic), pace=pace, health=health) as log:
        await log.identified(10)
        await fill(log, 10)
        async with log.reader(GROUP, FixedPositions({0: 15})) as reader:
            task = asyncio.create_task(reading(reader))
            # Sync is started again and again after it: readiness must not be green in between.
            await until(lambda: "ends before what was applied" in health.reason)
            with pytest.raises(PositionBeyondLog, match="ends at 10, but everything before 15 was applied"):
                await asyncio.wait_for(task, 10)


async def test_partitions_that_are_added_later_are_read_from_their_beginning(log: KafkaLog, kafka: str) -> None:
    applied = Applied()
    await fill(log, 20)
    async with log.reader(GROUP, applied) as reader:
        await apply_until(reader, applied, 20)
        await add_partitions(kafka, log.topic, 9)
        rest = asyncio.create_task(reading(reader))
        await until(lambda: len(reader.partitions) == 9)
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)
        await fill(log, 180, keys=90)
        await apply_until(reader, applied, 200)
    assert {record.partition for record in applied.records} > set(range(6))


async def test_order_within_a_key_is_the_order_of_the_calls_also_when_batches_overflow(log: KafkaLog) -> None:
    texts = [b"%05d" % number + bytes(900) for number in range(1500)]
    appends = []
    for n, text in enumerate(texts):
        appends.append(asyncio.create_task(log.append(f"ww1:wm{n % 7}", text, {})))
        if n % 5 == 0:
            # While some wait for a place in their batch, others come.
            await asyncio.sleep(0)
    await asyncio.gather(*appends)
    async with log.reader(GROUP, FixedPositions()) as reader:
        records = await read_all(reader, 1500)
    for key in {record.key for record in records}:
        found = [record.value for record in records if record.key == key]
        assert found == [text for n, text in enumerate(texts) if f"ww1:wm{n % 7}" == key]


async def test_a_record_that_kafka_refuses_is_told_and_the_next_is_taken(kafka: str, topic: str) -> None:
    """Refused by the broker, so that the producer's numbers are out of step and it has to be replaced."""
    await create_topic(kafka, topic, partitions=1, configs={"max.message.bytes": "5000"})
    async with KafkaLog(kafka_settings(kafka, topic), pace=QUICK) as log:
        await log.append("ww1:wmA", b"before", {})
        with pytest.raises(RecordRefused, match="MessageSizeTooLarge"):
            await log.append("ww1:wmA", bytes(10_000), {})
        await log.append("ww1:wmA", b"after", {})
        assert log.producers_replaced == 1
        # This one is refused by the client already.
        with pytest.raises(RecordRefused, match="MessageSizeTooLarge"):
            await log.append("ww1:wmA", bytes(2_000_000), {})
        assert log.producers_replaced == 1
        async with log.reader(GROUP, FixedPositions()) as reader:
            assert values(await read_all(reader, 2)) == [b"before", b"after"]


async def test_a_producer_that_gets_nowhere_is_replaced(kafka: str, topic: str) -> None:
    await create_topic(kafka, topic)
    async with KafkaLog(kafka_settings(kafka, topic), append_seconds=None, wedged_seconds=0.5) as log:
        await log.append("ww1:wmA", b"1", {})
        lane = log._publisher._current()
        assert lane is not None
        # As a fault in it would: nothing is sent from now on, and nothing says so.
        lane.producer._sender.sender_task.cancel()
        await asyncio.wait({lane.producer._sender.sender_task})
        with pytest.raises(LogUnavailable, match="got nowhere"):
            await asyncio.wait_for(log.append("ww1:wmA", b"2", {}), 10)
        await log.append("ww1:wmA", b"3", {})
        assert log.producers_replaced == 1


async def test_a_consumer_that_stopped_fetching_is_replaced(log: KafkaLog) -> None:
    applied = Applied()
    await fill(log, 10)
    async with log.reader(GROUP, applied) as reader:
        await apply_until(reader, applied, 10)
        consumer = reader._member.consumer
        consumer._fetcher._fetch_task.cancel()
        await fill(log, 10)
        await apply_until(reader, applied, 20)
        assert reader._member.consumer is not consumer


async def test_nothing_of_a_record_comes_into_the_log_at_any_level(kafka: str, topic: str) -> None:
    await create_topic(kafka, topic)
    written = StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure(json=True, level="DEBUG", stream=written)
    root.setLevel(logging.DEBUG)
    logging.getLogger("aiokafka.producer.producer").setLevel(logging.DEBUG)
    try:
        async with KafkaLog(kafka_settings(kafka, topic), pace=QUICK) as log:
            assert not logging.getLogger("aiokafka.producer.producer").isEnabledFor(logging.DEBUG)
            await log.append("ww1:canary-key", b"canary-value", {"callback": "canary-header"})
            async with log.reader(GROUP, FixedPositions()) as reader:
                assert values(await read_all(reader, 1)) == [b"canary-value"]
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "kafka.assigned" in written.getvalue()
    assert "canary" not in written.getvalue()


async def test_closing_leaves_no_task_behind(kafka: str, topic: str) -> None:
    await create_topic(kafka, topic)
    before = asyncio.all_tasks()
    async with KafkaLog(kafka_settings(kafka, topic), pace=QUICK) as log:
        await log.append("ww1:wmA", b"1", {})
        async with log.reader(GROUP) as reader:
            await read_all(reader, 1, report=True)
        await log.append("ww1:wmA", b"2", {})
    assert asyncio.all_tasks() == before
