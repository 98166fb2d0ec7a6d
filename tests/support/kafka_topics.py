"""Topics made, cut short and removed for tests, by Kafka's own admin protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete

from core.settings import KafkaSettings


def kafka_settings(address: str, topic: str, **more: Any) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=address, topic=topic, **more)


@asynccontextmanager
async def admin(address: str) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=address)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create_topic(address: str, topic: str, partitions: int = 6, configs: Mapping[str, str] | None = None) -> None:
    async with admin(address) as client:
        answer = await client.create_topics([NewTopic(topic, partitions, 1, topic_configs=dict(configs or {}))])
    ((_, code, message),) = answer.topic_errors
    assert code == 0, message


async def delete_topic(address: str, topic: str) -> None:
    async with admin(address) as client:
        await client.delete_topics([topic])


async def add_partitions(address: str, topic: str, total: int) -> None:
    async with admin(address) as client:
        await client.create_partitions({topic: NewPartitions(total)})


async def delete_records(address: str, topic: str, partition: int, before: int) -> None:
    async with admin(address) as client:
        await client.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=before)})
