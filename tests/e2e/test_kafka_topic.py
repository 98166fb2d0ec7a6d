"""Without the topic ingest receives all the same and sync says what is missing; making it is all there is to do."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster, cluster_on
from tests.support.product import Premises
from tests.support.servers.kcat import Kcat
from tests.support.waiting import until_async

pytestmark = pytest.mark.asyncio

PUSHES = 100


async def test_without_a_topic_ingest_receives_and_sync_names_the_command(
    premises: Premises, kcat: Kcat, kafka: str, topic: str, postgres_server: str
) -> None:
    sentence = f"there is no topic {topic}: make it with wecom-crm topics create"
    async with (
        cluster_on(premises, kcat, kafka, topic, postgres_server, create=False) as cluster,
        premises.serving("ingest", ready=False) as ingest,
    ):
        await cluster.until_receiving()
        await cluster.push(PUSHES)
        await until_async(lambda: _waits(cluster, sentence))

        sync = cluster.sync()
        process = await sync.launch()
        try:
            assert await sync.ended(20) == 1
        finally:
            if process.returncode is None:
                await sync.kill()
        assert sentence in sync.last_words()
        assert cluster.unrelayed() == premises.newest() >= PUSHES

        created = await premises.run("topics", "create")
        assert created.status == 0, created
        await cluster.until_relayed(20)
        assert {record.event for record in await cluster.records()} == cluster.acknowledged()
        await until_async(lambda: _is_ready(cluster))
        assert await ingest.stop() == 0
    counts = cluster.simulator.pusher.counts
    assert (counts.given_up, counts.attempts) == (0, counts.acknowledged)


async def _waits(cluster: Cluster, reason: str) -> bool:
    status, body = await cluster.premises.admin("/readyz")
    assert (status, body["components"]["ingest"]["state"]) == (503, "ok")
    return bool(body["components"]["kafka"] == {"state": "waiting", "reason": reason})


async def _is_ready(cluster: Cluster) -> bool:
    status, _ = await cluster.premises.admin("/readyz")
    return status == 200
