"""Copies of sync, the broker and the database are killed in one stream: nothing is lost, nothing is there twice.

WECOM_CRM_TEST_ROUNDS is how often each of them is killed.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.support.cluster import Cluster, cluster_on
from tests.support.product import Premises
from tests.support.servers.kafka import KafkaServer
from tests.support.servers.kcat import Kcat
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.process import Server

pytestmark = pytest.mark.asyncio

ROUNDS = int(os.environ.get("WECOM_CRM_TEST_ROUNDS", "1"))
PER_SECOND = 40.0
# Members of the group that were killed are missed after 15 s, and a broker needs some seconds to start.
DEADLINE = 60.0
# What a killed copy was reading is read by another one when its lease of 60 s is over.
SETTLED_WITHIN = 120.0


async def test_nothing_is_lost_when_each_part_is_killed_in_the_stream(
    premises: Premises, kcat: Kcat, private_kafka: KafkaServer, private_postgres: PostgresServer, topic: str
) -> None:
    async with cluster_on(premises, kcat, private_kafka.address, topic, private_postgres.address) as cluster:
        ingest, *copies = cluster.ingest(), cluster.sync(), cluster.sync()
        async with cluster.running(ingest, *copies):
            async with cluster.streaming(PER_SECOND):
                for number in range(ROUNDS):
                    await cluster.until_applied(20, DEADLINE)
                    copy = copies[number % len(copies)]
                    await copy.kill()
                    await copy.start()
                    await cluster.until_applied(20, DEADLINE)
                    await _killed_for_a_while(cluster, private_kafka)
                    await cluster.until_applied(20, DEADLINE)
                    await _killed_for_a_while(cluster, private_postgres)
                await cluster.until_applied(20, DEADLINE)
            records = await cluster.settle(SETTLED_WITHIN)
            report = await cluster.check(records)
            for service in (ingest, *copies):
                assert await service.stop() == 0, service.last_words()
    assert report.relations > 50


async def _killed_for_a_while(cluster: Cluster, server: Server) -> None:
    await asyncio.to_thread(server.kill)
    await cluster.until_acknowledged(40)
    await asyncio.to_thread(server.start)
