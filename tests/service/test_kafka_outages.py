"""Brokers and readers that die, freeze and come back: nothing is lost, out of order, or waited for too long."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from core.eventlog.base import LogUnavailable
from core.eventlog.kafka import KafkaLog
from core.health import Health
from core.logs import configure
from tests.support.eventlogs import FixedPositions, read_all, values
from tests.support.kafka_readers import QUICK, Applied, apply_once, apply_until, fill
from tests.support.kafka_topics import create_topic, kafka_settings
from tests.support.servers.fixtures import _started
from tests.support.servers.kafka import KafkaServer
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio

GROUP = "crm-sync"
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shared(servers_folder: Path) -> Iterator[KafkaServer]:
    with _started(lambda: KafkaServer(servers_folder)) as server:
        yield server


@pytest.fixture
def broker(shared: KafkaServer) -> Iterator[KafkaServer]:
    """A broker that may be killed and frozen; the next test finds it running."""
    yield shared
    if shared.running:
        shared.thaw()
    else:
        shared.start()


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What the product writes into its log."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    lines = StringIO()
    configure(json=True, stream=lines)
    yield lines
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_a_broker_that_is_killed_is_waited_for_and_nothing_is_lost_or_doubled(
    broker: KafkaServer, topic: str, written: StringIO
) -> None:
    await create_topic(broker.address, topic)
    health = Health().component("kafka")
    applied = Applied()
    async with KafkaLog(kafka_settings(broker.address, topic), pace=QUICK, append_seconds=None, health=health) as log:
        await log.identified(10)
        await fill(log, 50)
        async with log.reader(GROUP, applied) as reader:
            await apply_until(reader, applied, 50)
            appends = [asyncio.create_task(fill(log, 100))]
            await asyncio.to_thread(broker.kill)
            appends.append(asyncio.create_task(fill(log, 100)))
            # The topic seems idle, and only health says that it isn't.
            await until(lambda: health.state == "waiting")
            assert "can't be reached" in health.reason
            for _ in range(10):
                await apply_once(reader, applied)
            await reader.lag()
            assert not all(append.done() for append in appends)
            await asyncio.to_thread(broker.start)
            await asyncio.gather(*appends)
            await apply_until(reader, applied, 250)
            await until(lambda: health.state == "ok")
            assert not await reader.read(10, 0.3)
    assert len({(record.partition, record.position) for record in applied.records}) == len(applied.records) == 250
    actions = [line.split('"action":')[1].split('"')[1] for line in written.getvalue().splitlines()]
    assert actions.count("kafka.away") == 1
    assert actions.count("kafka.back") == 1
    assert len(actions) < 15


async def test_an_append_and_closing_are_bounded_while_the_broker_is_frozen(broker: KafkaServer, topic: str) -> None:
    await create_topic(broker.address, topic)
    log = KafkaLog(kafka_settings(broker.address, topic), pace=QUICK, append_seconds=3)
    await log.append("ww1:wmA", b"1", {})
    async with log.reader(GROUP, FixedPositions()) as reader:
        await read_all(reader, 1)
        broker.freeze()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(LogUnavailable, match=r"within 3 s; it may be in the log"):
            await log.append("ww1:wmA", b"2", {})
        assert not await reader.read(10, 0.2)
        await reader.lag()
        await until(lambda: log.away)
        assert loop.time() - began < 12
        began = loop.time()
    await log.close()
    assert loop.time() - began < 8
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    broker.thaw()


async def test_closing_is_bounded_while_the_broker_is_dead(broker: KafkaServer, topic: str) -> None:
    await create_topic(broker.address, topic)
    log = KafkaLog(kafka_settings(broker.address, topic), pace=QUICK, append_seconds=None)
    await fill(log, 10)
    async with log.reader(GROUP, FixedPositions()) as reader:
        await read_all(reader, 10)
        await asyncio.to_thread(broker.kill)
        appends = [asyncio.create_task(log.append(f"ww1:wm{n}", b"x", {})) for n in range(30)]
        await until(lambda: log.away)
        loop = asyncio.get_running_loop()
        began = loop.time()
    await log.close()
    assert loop.time() - began < 5
    told = await asyncio.gather(*appends, return_exceptions=True)
    assert all(isinstance(result, LogUnavailable) for result in told)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_log_that_is_made_while_no_broker_is_there_begins_by_itself(broker: KafkaServer, topic: str) -> None:
    await create_topic(broker.address, topic)
    await asyncio.to_thread(broker.kill)
    async with KafkaLog(kafka_settings(broker.address, topic), pace=QUICK, append_seconds=None) as log:
        with pytest.raises(LogUnavailable, match="can't be reached"):
            await log.identified(0.5)
        append = asyncio.create_task(fill(log, 20))
        await asyncio.to_thread(broker.start)
        await append
        async with log.reader(GROUP, FixedPositions()) as reader:
            await read_all(reader, 20)


async def test_an_append_through_a_frozen_broker_is_in_once_and_in_order(broker: KafkaServer, topic: str) -> None:
    await create_topic(broker.address, topic, partitions=1)
    async with KafkaLog(
        kafka_settings(broker.address, topic), pace=QUICK, append_seconds=None, request_seconds=1.0
    ) as log:
        await log.append("ww1:wmA", b"0", {})
        broker.freeze()
        appends = asyncio.gather(*(log.append("ww1:wmA", b"%d" % n, {}) for n in range(1, 50)))
        # Long enough for requests to time out and to be sent again.
        done, _ = await asyncio.wait({appends}, timeout=3)
        assert not done
        broker.thaw()
        await appends
        async with log.reader(GROUP, FixedPositions()) as reader:
            assert values(await read_all(reader, 50)) == [b"%d" % n for n in range(50)]
            assert not await reader.read(10, 0.3)


_READER = """
import asyncio, sys
from core.eventlog.base import PartitionLost
from core.eventlog.kafka import KafkaLog
from core.logs import configure
from tests.support.kafka_readers import QUICK
from tests.support.kafka_topics import kafka_settings

async def main():
    configure(json=True)
    loop = asyncio.get_running_loop()
    async with KafkaLog(kafka_settings(*sys.argv[1:3]), pace=QUICK) as log:
        async with log.reader("crm-sync") as reader:
            batch = await reader.read(1000, 10.0)
            print(len(batch.records), flush=True)
            await loop.run_in_executor(None, sys.stdin.readline)
            try:
                await reader.report(batch)
            except PartitionLost:
                print("lost", flush=True)

asyncio.run(main())
"""


async def test_a_reader_that_was_frozen_and_wakes_has_lost_its_batch(broker: KafkaServer, topic: str) -> None:
    await create_topic(broker.address, topic, partitions=1)
    async with KafkaLog(kafka_settings(broker.address, topic), pace=QUICK) as log:
        await fill(log, 20)
        frozen = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _READER, broker.address, topic),
            cwd=PROJECT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert frozen.stdout is not None
        assert frozen.stdin is not None
        assert await frozen.stdout.readline() == b"20\n"
        frozen.send_signal(signal.SIGSTOP)
        # Its session ends, and its partition comes here, from where the group stands: its batch was never reported.
        async with log.reader(GROUP) as reader:
            assert len(await read_all(reader, 20, report=True)) == 20
            frozen.stdin.write(b"\n")
            frozen.send_signal(signal.SIGCONT)
            assert await frozen.stdout.readline() == b"lost\n"
            await frozen.wait()
        async with log.reader(GROUP) as reader:
            assert not await reader.read(10, 0.3)
