"""The database is restored to a back-up from the middle of the stream: the topic tells it what came afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, cluster_on
from tests.support.product import Premises
from tests.support.servers.kcat import Kcat
from tests.support.servers.pg_dump import PostgresBackup

pytestmark = pytest.mark.asyncio

PER_SECOND = 60.0
# What was being read when the back-up was made is read again when its lease of 60 s is over.
SETTLED_WITHIN = 120.0


async def test_a_restored_database_catches_up_from_the_topic(
    premises: Premises, kcat: Kcat, kafka: str, topic: str, postgres_server: str, tmp_path: Path
) -> None:
    async with cluster_on(premises, kcat, kafka, topic, postgres_server) as cluster:
        url = cluster.database.engine.url.render_as_string(hide_password=False)
        backup = PostgresBackup(url, tmp_path / "crm.dump")
        ingest, sync = cluster.ingest(), cluster.sync()
        async with cluster.running(ingest, sync):
            async with cluster.streaming(PER_SECOND):
                await cluster.until_applied(100)
                await asyncio.to_thread(backup.make)
                await cluster.until_applied(300)
                assert await sync.stop() == 0, sync.last_words()
                applied, recorded = await cluster.positions(), await cluster.count("contact_event")
                await backup.recreate(postgres_server)
                await asyncio.to_thread(backup.put_back)
                await _went_back(cluster, applied, recorded)
                # Ingest has received all the while.
                await cluster.until_acknowledged(50)
                await sync.start()
            records = await cluster.settle(SETTLED_WITHIN)
            await cluster.check(records)
            for service in (ingest, sync):
                assert await service.stop() == 0, service.last_words()


async def _went_back(cluster: Cluster, applied: dict[int, int], recorded: int) -> None:
    restored = await cluster.positions()
    assert restored.keys() <= applied.keys()
    assert sum(restored.values()) <= sum(applied.values()) - 200
    assert 100 <= await cluster.count("contact_event") <= recorded - 200
