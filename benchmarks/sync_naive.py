"""What the product is held against: a loop without folding and batches, and a bare way through Kafka.

Both are as lean as they can be: asyncpg without SQLAlchemy, aiohttp without budgets and tokens, no metrics, and nobody
who stops them.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.sync_rig import CORP, TOPIC, Rig
from core.envelope import decode

_EVENT = """
INSERT INTO contact_event (corpid, event_id, event, change, kind, object_id, userid, happened_at, received_at,
    recorded_at, callback, leaves, outcome)
VALUES ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8), to_timestamp($9), clock_timestamp(), $10, $11, 'applied')
ON CONFLICT DO NOTHING
"""
_CUSTOMER = """
INSERT INTO customer (corpid, userid, name, type, gender, avatar, first_seen_at, fetched_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp(), clock_timestamp())
ON CONFLICT (corpid, userid) DO UPDATE SET name = excluded.name, type = excluded.type, gender = excluded.gender,
    avatar = excluded.avatar, fetched_at = excluded.fetched_at
"""
_FOLLOW = """
INSERT INTO customer_follow (corpid, userid, follow_userid, remark, description, createtime, add_way, oper_userid,
    remark_mobiles, fetched_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp())
ON CONFLICT (corpid, userid, follow_userid) DO UPDATE SET remark = excluded.remark,
    description = excluded.description, createtime = excluded.createtime, fetched_at = excluded.fetched_at
"""


async def naive_loop(rig: Rig, begin: dict[int, int], end: dict[int, int]) -> float:
    """Apply these offsets of the topic one event after the other; returns how many seconds it took."""
    consumer = AIOKafkaConsumer(bootstrap_servers=rig.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(TOPIC, number) for number in begin]
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, begin[partition.partition])
        left = sum(end[number] - begin[number] for number in begin)
        async with aiohttp.ClientSession() as session, rig.connection(rig.naive_url) as connection:
            began = time.monotonic()
            while left:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        await _apply(rig, session, connection, record.value)
                        left -= 1
            return time.monotonic() - began
    finally:
        await consumer.stop()


async def _apply(rig: Rig, session: aiohttp.ClientSession, connection: Any, value: bytes) -> None:
    event = decode(value)
    params = {"access_token": "a-token", "external_userid": event.object_id or ""}
    async with session.get(f"{rig.api}/cgi-bin/externalcontact/get", params=params) as response:
        answer = await response.json()
    contact, (follow,) = answer["external_contact"], answer["follow_user"]
    key = (event.corpid, event.object_id)
    async with connection.transaction():
        await connection.execute(
            _EVENT,
            *(event.corpid, event.event_id, event.event, event.change, event.kind, event.object_id, event.userid),
            *(event.create_time, event.received_at / 1000, event.callback, json.dumps(event.leaves)),
        )
        await connection.execute(
            _CUSTOMER, *key, contact["name"], contact["type"], contact["gender"], contact["avatar"]
        )
        await connection.execute(
            _FOLLOW,
            *(*key, follow["userid"], follow["remark"], follow["description"], follow["createtime"]),
            *(follow["add_way"], follow["oper_userid"], json.dumps(follow["remark_mobiles"])),
        )


class BareWay:
    """Produce, consume, commit one row: what a record's way through Kafka into PostgreSQL takes at least."""

    def __init__(self, rig: Rig, topic: str) -> None:
        self._rig = rig
        self._topic = topic

    async def run(self, documents: list[bytes], per_second: float) -> list[float]:
        """Send them at that rate; returns the seconds from each sending to its commit."""
        producer = AIOKafkaProducer(bootstrap_servers=self._rig.kafka, acks="all")
        consumer = AIOKafkaConsumer(
            self._topic, bootstrap_servers=self._rig.kafka, enable_auto_commit=False, auto_offset_reset="latest"
        )
        await producer.start()
        await consumer.start()
        try:
            # So that "latest" is before what comes now.
            for partition in consumer.assignment():
                await consumer.position(partition)
            async with self._rig.connection(self._rig.naive_url) as connection:
                await connection.execute("CREATE TABLE IF NOT EXISTS bare (number integer, sent_at double precision)")
                await connection.execute("TRUNCATE bare")
                consuming = asyncio.create_task(_consume(consumer, connection, len(documents)))
                began = time.monotonic()
                for number, document in enumerate(documents):
                    await asyncio.sleep(max(0.0, number / per_second - (time.monotonic() - began)))
                    value = json.dumps([number, time.time(), document.decode()]).encode()
                    key = f"{CORP.corpid}:{number % 1000}".encode()
                    await producer.send(self._topic, value, key)
                await consuming
                rows = await connection.fetch(
                    "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::double precision - sent_at FROM bare"
                )
                return [row[0] for row in rows]
        finally:
            await consumer.stop()
            await producer.stop()


async def _consume(consumer: Any, connection: Any, left: int) -> None:
    while left:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            for record in records:
                number, sent_at, _ = json.loads(record.value)
                await connection.execute("INSERT INTO bare VALUES ($1, $2)", number, sent_at)
                left -= 1
