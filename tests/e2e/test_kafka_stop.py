"""One process for everything, on Kafka: three zeros, and an end in time though no broker answers."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.cluster import cluster_on
from tests.support.product import Premises
from tests.support.servers.kafka import KafkaServer
from tests.support.servers.kcat import Kcat

pytestmark = pytest.mark.asyncio

PUSHES = 150
LONGEST_END = 10.0


async def test_it_ends_in_time_without_a_broker_and_goes_on_where_it_was(
    premises: Premises, kcat: Kcat, private_kafka: KafkaServer, topic: str, postgres_server: str
) -> None:
    async with (
        cluster_on(premises, kcat, private_kafka.address, topic, postgres_server) as cluster,
        premises.serving("all") as service,
    ):
        await cluster.push(PUSHES)
        await cluster.until_recorded()
        for away in (private_kafka.freeze, private_kafka.kill):
            # The second time it was started without a broker.
            away()
            await cluster.push(PUSHES)
            assert cluster.unrelayed() >= PUSHES
            stopped = time.monotonic()
            assert await service.stop() == 0, service.last_words()
            assert time.monotonic() - stopped < LONGEST_END
            await service.launch()
            await cluster.until_receiving()
        await asyncio.to_thread(private_kafka.start)
        records = await cluster.settle()
        await cluster.check(records)
        assert await service.stop() == 0, service.last_words()
