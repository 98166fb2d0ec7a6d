"""Kafka is away, killed or frozen: WeCom gets its answers all the same, and afterwards nothing is missing.

WECOM_CRM_TEST_OUTAGE_SECONDS makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Callable, Sequence

import pytest

from tests.support.cluster import Cluster, cluster_on
from tests.support.product import Premises
from tests.support.servers.kafka import KafkaServer
from tests.support.servers.kcat import Kcat
from tests.support.waiting import until_async
from wecom.simulator.pusher import TRY_SECONDS, Delivery

pytestmark = pytest.mark.asyncio

OUTAGE_SECONDS = float(os.environ.get("WECOM_CRM_TEST_OUTAGE_SECONDS", "6"))
PUSHES = 300
PER_SECOND = max(15.0, 1.25 * PUSHES / OUTAGE_SECONDS)

Act = Callable[[KafkaServer], None]
Note = Callable[[str, str], None]


@pytest.mark.parametrize(
    ("away", "back"),
    [(KafkaServer.kill, KafkaServer.start), (KafkaServer.freeze, KafkaServer.thaw)],
    ids=["killed", "frozen"],
)
async def test_every_push_is_answered_while_kafka_is_away_and_published_afterwards(
    premises: Premises,
    kcat: Kcat,
    private_kafka: KafkaServer,
    topic: str,
    postgres_server: str,
    note: Note,
    away: Act,
    back: Act,
) -> None:
    async with cluster_on(premises, kcat, private_kafka.address, topic, postgres_server) as cluster:
        ingest, sync = cluster.ingest(), cluster.sync()
        async with cluster.running(ingest, sync):
            async with cluster.streaming(PER_SECOND):
                await cluster.until_applied(20)
                await asyncio.to_thread(away, private_kafka)
                pushed = await _outage(cluster)
                # Sync and the relay say what they wait for; ingest receives.
                await until_async(lambda: _says_that_kafka_is_away(cluster))
                await asyncio.to_thread(back, private_kafka)
                await cluster.until_acknowledged(50)
            records = await cluster.settle()
            await cluster.check(records)
            for service in (ingest, sync):
                assert await service.stop() == 0, service.last_words()
    note(f"{OUTAGE_SECONDS:.0f} s without Kafka ({away.__name__})", _in_time(pushed))


async def _outage(cluster: Cluster) -> Sequence[Delivery]:
    """Wait for its end; returns what was pushed in it. The relay's lag has grown by it."""
    loop = asyncio.get_running_loop()
    deliveries = cluster.simulator.pusher.deliveries
    before, began = len(deliveries), loop.time()
    await cluster.until_acknowledged(PUSHES)
    # Not for anything to happen: it is how long the outage takes.
    await asyncio.sleep(max(0.0, began + OUTAGE_SECONDS - loop.time()))
    pushed = [delivery for delivery in list(deliveries)[before:] if delivery.done.is_set()]
    assert await cluster.metric('log_lag{group="relay"') >= PUSHES
    assert cluster.unrelayed() >= len(pushed)
    return pushed


async def _says_that_kafka_is_away(cluster: Cluster) -> bool:
    status, body = await cluster.premises.admin("/readyz")
    states = {name: part["state"] for name, part in body["components"].items()}
    return status == 503 and states["kafka"] == "waiting" and states["ingest"] == "ok"


def _in_time(pushed: Sequence[Delivery]) -> str:
    assert len(pushed) >= PUSHES
    assert all([attempt.outcome for attempt in delivery.attempts] == [200] for delivery in pushed)
    seconds = sorted(delivery.attempts[0].seconds for delivery in pushed)
    cuts = statistics.quantiles(seconds, n=100)
    assert seconds[-1] < TRY_SECONDS
    p50, p99, longest = (f"{value * 1000:.0f} ms" for value in (cuts[49], cuts[98], seconds[-1]))
    return f"{len(pushed)} pushes, all answered 200: p50 {p50}, p99 {p99}, max {longest}"
