"""From one process with everything in it to Kafka, and back: refused while the reader of before has something to do."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.cluster import Cluster, cluster_on
from tests.support.product import Premises
from tests.support.servers.kcat import Kcat

pytestmark = pytest.mark.asyncio

PUSHES = 50
NO_BROKER = {"WECOM_CRM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}


async def test_a_change_of_mode_is_refused_until_the_reader_of_before_has_finished(
    premises: Premises, kcat: Kcat, kafka: str, topic: str, postgres_server: str
) -> None:
    async with cluster_on(premises, kcat, kafka, topic, postgres_server) as cluster:
        with_kafka = premises.config.read_text(encoding="utf-8")
        without_kafka = with_kafka.partition("[kafka]")[0]

        premises.config.write_text(without_kafka, encoding="utf-8")
        await _serve_all(cluster)
        await _receive_only(cluster)

        premises.config.write_text(with_kafka, encoding="utf-8")
        for services in ("ingest", "all"):
            words = await _refusal(cluster, services)
            assert "deliveries are waiting for another reader (crm-sync)" in words
            assert "let it finish first: wecom-crm serve all, without [kafka] in the configuration" in words
        assert await cluster.records() == []

        premises.config.write_text(without_kafka, encoding="utf-8")
        await _serve_all(cluster)
        before = cluster.acknowledged()

        premises.config.write_text(with_kafka, encoding="utf-8")
        await _serve_all(cluster)
        assert {record.event for record in await cluster.records()} == cluster.acknowledged() - before
        await _receive_only(cluster, NO_BROKER)
        assert cluster.unrelayed() >= PUSHES

        premises.config.write_text(without_kafka, encoding="utf-8")
        words = await _refusal(cluster, "all")
        assert "deliveries are waiting for another reader (relay)" in words
        assert "let it finish first: wecom-crm serve ingest, with [kafka] in the configuration" in words

        premises.config.write_text(with_kafka, encoding="utf-8")
        await _serve_all(cluster)
        published = await cluster.records()
        assert {record.event for record in published} == cluster.acknowledged() - before

        premises.config.write_text(without_kafka, encoding="utf-8")
        await _serve_all(cluster)
        assert await cluster.records() == published
        async with premises.serving("all"):
            await cluster.until_read()
        await cluster.check_tables()


async def _serve_all(cluster: Cluster) -> None:
    """One process with everything in it receives some, and applies all there is."""
    async with cluster.premises.serving("all") as service:
        await cluster.push(PUSHES)
        await cluster.until_recorded()
        assert await service.stop() == 0, service.last_words()


async def _receive_only(cluster: Cluster, environ: Mapping[str, str] | None = None) -> None:
    """Nobody reads what is received."""
    async with cluster.premises.serving("ingest", ready=False, environ=environ) as service:
        await cluster.until_receiving()
        await cluster.push(PUSHES)
        assert await service.stop() == 0, service.last_words()


async def _refusal(cluster: Cluster, services: str) -> str:
    """What the service says when it ends by itself."""
    async with cluster.premises.serving(services, ready=False) as service:
        assert await service.ended(20) == 1
        return service.last_words()
