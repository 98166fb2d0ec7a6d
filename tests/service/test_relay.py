"""The relay between ingest's own log and a real topic: what it publishes, and what it does when it can't."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.envelope import UNDECODABLE, decode, interpret
from core.eventlog.base import LogUnavailable, Positions, ReaderChanged, Record
from core.eventlog.embedded import EmbeddedLog
from core.eventlog.kafka import KafkaLog
from core.health import Component, Health
from core.metrics import Metrics
from core.settings import KafkaSettings
from ingest.relay import Relay
from tests.support.eventlogs import FixedPositions, read_all
from tests.support.kafka_readers import QUICK
from tests.support.kafka_topics import create_topic, delete_topic, kafka_settings
from tests.support.servers.kafka import KafkaServer
from tests.support.servers.kafka_cluster import describe_cluster
from tests.support.servers.kcat import Kcat
from tests.support.servers.process import free_port
from tests.support.tcp_proxy import Proxy
from tests.support.waiting import until, until_async

pytestmark = pytest.mark.asyncio

SAMPLES = sorted((Path(__file__).parents[1] / "samples" / "events").glob("*.xml"))


@dataclass
class Rig:
    """A delivery log, a topic, and the relay between them, running."""

    deliveries: EmbeddedLog
    log: KafkaLog
    relay: Relay
    health: Component
    metrics: Metrics
    parked: Path

    async def deliver(self, *documents: bytes, corpid: str = "ww1") -> None:
        for document in documents:
            await self.deliveries.append(corpid, document, {"callback": "contacts"})

    async def topic(self, count: int) -> list[Record]:
        """What is in the topic, as soon as there are so many records; and nothing comes after them."""
        async with self.log.reader("spectator", FixedPositions()) as reader:
            records = await read_all(reader, count)
            assert not await reader.read(10, 0.2)
        return records

    async def lag(self) -> int:
        return await self.deliveries.lag("relay")


@asynccontextmanager
async def running(folder: Path, address: str, topic: str, *, request_seconds: float = 10.0) -> AsyncIterator[Rig]:
    health, metrics, stopping = Health(), Metrics(), asyncio.Event()
    parked = folder / "relay-parked.jsonl"
    settings = kafka_settings(address, topic)
    async with (
        await EmbeddedLog.open(folder / "ingest-log.sqlite") as deliveries,
        KafkaLog(
            settings,
            append_seconds=None,
            request_seconds=request_seconds,
            pace=QUICK,
            health=health.component("kafka"),
            metrics=metrics,
        ) as log,
    ):
        relay = Relay(deliveries, log, metrics, health.component("relay"), parked)
        task = asyncio.create_task(relay.run(stopping))
        try:
            yield Rig(deliveries, log, relay, health.component("relay"), metrics, parked)
        finally:
            stopping.set()
            async with asyncio.timeout(5):
                await task


def edit(number: int, customer: str = "wmA") -> bytes:
    return (
        "<xml><ToUserName>ww1</ToUserName><FromUserName>sys</FromUserName><CreateTime>1403610513</CreateTime>"
        "<MsgType>event</MsgType><Event>change_external_contact</Event><ChangeType>edit_external_contact</ChangeType>"
        f"<UserID>zhangsan</UserID><ExternalUserID>{customer}</ExternalUserID><State>{number}</State></xml>"
    ).encode()


def number_of(record: Record) -> int:
    return int(decode(record.value).leaf("State") or "-1")


async def test_every_event_is_published_as_it_is_interpreted(
    tmp_path: Path, kafka: str, topic: str, kcat: Kcat
) -> None:
    await create_topic(kafka, topic)
    documents = [path.read_bytes() for path in SAMPLES]
    async with running(tmp_path, kafka, topic) as rig:
        await rig.deliver(*documents)
        records = await rig.topic(len(documents))
        await until(lambda: rig.relay.published == len(documents))
    expected = {}
    for record in records:
        envelope = decode(record.value)
        assert record.key == envelope.key
        assert record.headers == {"event": envelope.event, "change": envelope.change, "schema": "1"}
        expected[envelope.event_id] = envelope
    assert {interpret("ww1", "contacts", 0, document).event_id for document in documents} == set(expected)
    # The same, seen by a client that shares no code with ours.
    lines = [json.loads(line) for line in kcat(kafka, "-C", "-t", topic, "-e", "-q", "-J").splitlines()]
    seen = {json.loads(line["payload"])["event_id"]: line for line in lines}
    assert seen.keys() == expected.keys()
    for event_id, envelope in expected.items():
        assert seen[event_id]["key"] == f"ww1:{envelope.object_id or envelope.event}"
        assert seen[event_id]["headers"][:2] == ["event", envelope.event]
    assert b'wecom_crm_relayed_total{outcome="published"}' in rig.metrics.render()


async def test_no_secret_and_nothing_personal_is_in_the_topic(
    tmp_path: Path, kafka: str, topic: str, kcat: Kcat
) -> None:
    await create_topic(kafka, topic)
    external = edit(1).replace(b"<State>", b"<WelcomeCode>CANARY-CODE</WelcomeCode><State>")
    contact = (
        b"<xml><ToUserName>ww1</ToUserName><FromUserName>sys</FromUserName><CreateTime>1403610513</CreateTime>"
        b"<MsgType>event</MsgType><Event>change_contact</Event><ChangeType>update_user</ChangeType><UserID>li</UserID>"
        b"<Name>CANARY-NAME</Name><Mobile>13800000009</Mobile><Email>canary@example.com</Email></xml>"
    )
    async with running(tmp_path, kafka, topic) as rig:
        await rig.deliver(external, contact)
        await rig.topic(2)
    whole = kcat(kafka, "-C", "-t", topic, "-e", "-q", "-J")
    assert "wmA" in whole
    assert [word for word in ("CANARY", "13800000009", "canary@") if word in whole] == []


async def test_what_can_not_be_read_is_passed_on_with_its_bytes(tmp_path: Path, kafka: str, topic: str) -> None:
    await create_topic(kafka, topic)
    async with running(tmp_path, kafka, topic) as rig:
        await rig.deliver(b"\x00 nonsense", b'<!DOCTYPE x [<!ENTITY a "b">]><xml/>', edit(1))
        records = await rig.topic(3)
    by_event = {envelope.raw: envelope for envelope in (decode(record.value) for record in records)}
    assert by_event[b"\x00 nonsense"].event == UNDECODABLE
    assert by_event[b'<!DOCTYPE x [<!ENTITY a "b">]><xml/>'].event == UNDECODABLE
    assert {record.key for record in records} == {"ww1:undecodable", "ww1:wmA"}


async def test_order_within_a_key_is_the_order_of_arrival(tmp_path: Path, kafka: str, topic: str) -> None:
    await create_topic(kafka, topic)
    async with running(tmp_path, kafka, topic) as rig:
        await asyncio.gather(*(rig.deliver(edit(n, f"wm{n % 9}")) for n in range(900)))
        records = await rig.topic(900)
    arrived: dict[str, list[int]] = {}
    async with (
        await EmbeddedLog.open(tmp_path / "ingest-log.sqlite") as log,
        log.reader("relay", FixedPositions({0: 1})) as reader,
    ):
        for delivery in await read_all(reader, 900):
            envelope = interpret("ww1", "contacts", 0, delivery.value)
            arrived.setdefault(envelope.key, []).append(int(envelope.leaf("State") or "-1"))
    published: dict[str, list[int]] = {}
    for record in records:
        published.setdefault(record.key, []).append(number_of(record))
    assert published == arrived


async def test_a_broker_that_dies_disturbs_no_append_and_nothing_is_lost_or_out_of_order(
    tmp_path: Path, private_kafka: KafkaServer, topic: str
) -> None:
    await create_topic(private_kafka.address, topic)
    async with running(tmp_path, private_kafka.address, topic, request_seconds=2.0) as rig:
        took: list[float] = []

        async def stream(first: int, count: int) -> None:
            for number in range(first, first + count):
                began = time.perf_counter()
                await rig.deliver(edit(number, f"wm{number % 5}"))
                took.append(time.perf_counter() - began)

        await stream(0, 100)
        await asyncio.to_thread(private_kafka.kill)
        await stream(100, 100)
        assert await rig.lag() > 0
        await asyncio.to_thread(private_kafka.start)
        await stream(200, 100)
        await until(lambda: rig.relay.published == 300, deadline=30)
        private_kafka.freeze()
        await stream(300, 100)
        await until(lambda: rig.health.state in {"degraded", "waiting"}, deadline=15)
        private_kafka.thaw()
        await until(lambda: rig.relay.published == 400, deadline=30)
        await until(lambda: rig.health.state == "ok")
        records = await rig.topic(400)
        assert await rig.lag() == 0
    assert max(took) < 1.0
    for key in range(5):
        found = [number_of(record) for record in records if record.key == f"ww1:wm{key}"]
        assert found == list(range(key, 400, 5))


@asynccontextmanager
async def slow_broker(folder: Path) -> AsyncIterator[tuple[Proxy, str]]:
    """A broker that is only to be reached through a proxy, also by those that it told its address."""
    proxy = Proxy(free_port())

    class Behind(KafkaServer):
        def answers(self) -> bool:
            return proxy.port in describe_cluster(self.address, timeout=1).ports

    server = Behind(folder, {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{proxy.port}"})
    await asyncio.to_thread(server.start)
    try:
        async with proxy.run(server.port):
            yield proxy, f"127.0.0.1:{proxy.port}"
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_broker_that_takes_six_seconds_to_confirm_holds_up_nobody_but_itself(
    tmp_path: Path, servers_folder: Path, topic: str
) -> None:
    async with slow_broker(servers_folder) as (proxy, address):
        await create_topic(address, topic)
        async with running(tmp_path, address, topic) as rig:
            await rig.deliver(edit(0))
            await until(lambda: rig.relay.published == 1)
            proxy.delay = 6.0
            began = time.perf_counter()
            await asyncio.gather(*(rig.deliver(edit(number)) for number in range(1, 50)))
            assert time.perf_counter() - began < 1
            await until(lambda: rig.health.state == "degraded")
            assert rig.health.reason == "Kafka is slow to confirm"
            assert rig.metrics.log_lag.labels("relay", "0")._value.get() > 0
            await until(lambda: rig.relay.published == 50, deadline=30)
            proxy.delay = 0.0
            assert {number_of(record) for record in await rig.topic(50)} == set(range(50))
            assert rig.log.producers_replaced == 0


async def test_what_kafka_refuses_is_parked_and_the_rest_goes_on(tmp_path: Path, kafka: str, topic: str) -> None:
    await create_topic(kafka, topic, partitions=1, configs={"max.message.bytes": "3000"})
    large = edit(2).replace(b"</xml>", b"<Other>" + b"x" * 5000 + b"</Other></xml>")
    async with running(tmp_path, kafka, topic) as rig:
        # All in one batch: with the large one the small ones are refused too, at first.
        await asyncio.gather(*(rig.deliver(document) for document in (edit(1), large, edit(3), edit(4))))
        await until_async(lambda: _is_done(rig.deliveries))
        records = await rig.topic(3)
        assert rig.health.state == "ok"
        assert b'wecom_crm_relayed_total{outcome="parked"} 1.0' in rig.metrics.render()
    # Some may have been published twice.
    assert [number_of(record) for record in records][-3:] == [1, 3, 4]
    (line,) = rig.parked.read_text().splitlines()
    kept = json.loads(line)
    assert base64.b64decode(kept["document"]) == large
    assert kept["corpid"] == "ww1"
    assert "MessageSizeTooLarge" in kept["reason"]
    assert rig.parked.stat().st_mode & 0o777 == 0o600


async def test_without_its_topic_it_waits_and_says_so(tmp_path: Path, kafka: str, topic: str) -> None:
    async with running(tmp_path, kafka, topic) as rig:
        await rig.deliver(edit(1))
        await until(lambda: rig.health.state == "waiting" and "wecom-crm topics create" in rig.health.reason)
        assert await rig.lag() == 1
        await create_topic(kafka, topic)
        await until(lambda: rig.relay.published == 1)
        before = rig.log.log_id
        # And one that is deleted under it: the producer is given up, and a new one goes on when the topic is there.
        await delete_topic(kafka, topic)
        await until(lambda: rig.log.away)
        await rig.deliver(edit(2))
        await until(lambda: rig.health.state == "waiting")
        await create_topic(kafka, topic)
        await until(lambda: not rig.log.away and rig.log.log_id != before)
        assert [number_of(record) for record in await rig.topic(1)] == [2]


async def _what_stops_a_relay(settings: KafkaSettings, path: Path) -> str:
    health, stopping = Health(), asyncio.Event()
    kafka, own = health.component("kafka"), health.component("relay")
    async with (
        await EmbeddedLog.open(path) as deliveries,
        KafkaLog(settings, append_seconds=None, pace=QUICK, health=kafka) as log,
    ):
        task = asyncio.create_task(Relay(deliveries, log, Metrics(), own, path).run(stopping))
        try:
            await deliveries.append("ww1", edit(1), {})
            await until(lambda: own.state == kafka.state == "waiting" and own.reason != "starting", deadline=30)
        finally:
            stopping.set()
            await task
        assert await deliveries.lag("relay") == 1
    assert own.reason.startswith("this client may not") or own.reason == kafka.reason
    return kafka.reason


async def test_a_login_or_a_permission_that_is_refused_is_told(
    tmp_path: Path, servers_folder: Path, topic: str
) -> None:
    server = KafkaServer(servers_folder)
    sasl = f"127.0.0.1:{free_port()}"
    listeners = {name: server._settings[name] for name in ("listeners", "advertised.listeners")}
    server._settings |= {name: f"{value},SASL_PLAINTEXT://{sasl}" for name, value in listeners.items()} | {
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
            'org.apache.kafka.common.security.plain.PlainLoginModule required user_crm="right" user_admin="admin";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",
    }
    await asyncio.to_thread(server.start)
    try:
        await create_topic(server.address, topic)
        login = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
        for password, words in (("wrong", "refuses the login"), ("right", "may not describe the topic")):
            settings = kafka_settings(sasl, topic, **login, sasl_username="crm", sasl_password=password)
            assert words in await _what_stops_a_relay(settings, tmp_path / f"{password}.sqlite")
        settings = kafka_settings(sasl, topic, **login, sasl_username="admin", sasl_password="admin")
        async with KafkaLog(settings, pace=QUICK) as log:
            await log.append("ww1:wmA", b"1", {})
    finally:
        await asyncio.to_thread(server.stop)


async def _is_done(deliveries: EmbeddedLog) -> bool:
    return await deliveries.lag("relay") == 0


class Flaky:
    """A log that does not confirm some records at their first time."""

    log_id = "flaky"

    def __init__(self, *failing: int) -> None:
        self._failing = set(failing)
        self.attempts: list[int] = []

    async def append(self, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        number = int(decode(value).leaf("State") or "-1")
        self.attempts.append(number)
        await asyncio.sleep(0)
        if number in self._failing:
            self._failing.discard(number)
            raise LogUnavailable("not this time")

    def reader(self, group: str, positions: Positions | None = None) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


async def test_what_failed_is_published_again_and_with_it_what_came_later_for_its_key(tmp_path: Path) -> None:
    target, health = Flaky(2), Health().component("relay")
    stopping = asyncio.Event()
    async with await EmbeddedLog.open(tmp_path / "log.sqlite") as deliveries:
        for number, customer in enumerate(("wmA", "wmB", "wmA", "wmB", "wmA", "wmC")):
            await deliveries.append("ww1", edit(number, customer), {})
        relay = Relay(deliveries, target, Metrics(), health, tmp_path / "parked")
        task = asyncio.create_task(relay.run(stopping))
        await until_async(lambda: _is_done(deliveries))
        stopping.set()
        await task
    assert target.attempts == [0, 1, 2, 3, 4, 5, 2, 4]
    assert health.state == "ok"


async def test_publishing_again_from_a_position(tmp_path: Path, kafka: str, topic: str) -> None:
    await create_topic(kafka, topic, partitions=1)
    async with running(tmp_path, kafka, topic) as rig:
        await rig.deliver(*(edit(number) for number in range(6)))
        await until(lambda: rig.relay.published == 6)
    async with (
        await EmbeddedLog.open(tmp_path / "ingest-log.sqlite") as deliveries,
        KafkaLog(kafka_settings(kafka, topic), pace=QUICK) as log,
    ):
        relay = Relay(deliveries, log, Metrics(), Health().component("relay"), tmp_path / "parked")
        assert await relay.publish_again(4, asyncio.Event()) == 3
        assert await deliveries.lag("relay") == 0
        async with log.reader("spectator", FixedPositions()) as reader:
            records = await read_all(reader, 9)
    # Positions begin at 1.
    assert [number_of(record) for record in records] == [0, 1, 2, 3, 4, 5, 3, 4, 5]


@pytest.mark.parametrize("position", [1, 4, 6, 10**12])
async def test_publishing_again_passes_over_nothing_that_was_never_published(
    tmp_path: Path, kafka: str, topic: str, position: int
) -> None:
    await create_topic(kafka, topic, partitions=1)
    async with running(tmp_path, kafka, topic) as rig:
        await rig.deliver(*(edit(number) for number in range(3)))
        await until(lambda: rig.relay.published == 3)
    async with (
        await EmbeddedLog.open(tmp_path / "ingest-log.sqlite") as deliveries,
        KafkaLog(kafka_settings(kafka, topic), pace=QUICK) as log,
    ):
        for number in range(3, 6):
            await deliveries.append("ww1", edit(number), {"callback": "contacts"})
        relay = Relay(deliveries, log, Metrics(), Health().component("relay"), tmp_path / "parked")
        await relay.publish_again(position, asyncio.Event())
        assert await deliveries.lag("relay") == 0
        assert deliveries.next_position == 7
        async with log.reader("spectator", FixedPositions()) as reader:
            records = await read_all(reader, 3 + relay.published)
    assert {number_of(record) for record in records} == set(range(6))


async def test_a_running_relay_publishes_again_and_goes_on(tmp_path: Path, kafka: str, topic: str) -> None:
    await create_topic(kafka, topic, partitions=1)
    async with running(tmp_path, kafka, topic) as rig:
        await rig.deliver(*(edit(number) for number in range(4)))
        await until(lambda: rig.relay.published == 4)
        rig.relay.again(3)
        await until(lambda: rig.relay.published == 6)
        await rig.deliver(edit(4))
        await until(lambda: rig.relay.published == 7)
    async with (
        KafkaLog(kafka_settings(kafka, topic), pace=QUICK) as log,
        log.reader("spectator", FixedPositions()) as reader,
    ):
        records = await read_all(reader, 7)
    assert [number_of(record) for record in records] == [0, 1, 2, 3, 2, 3, 4]


async def test_it_does_not_take_over_what_the_embedded_mode_has_not_applied(
    tmp_path: Path, kafka: str, topic: str
) -> None:
    async with await EmbeddedLog.open(tmp_path / "log.sqlite") as deliveries:
        async with deliveries.reader("crm-sync"):
            await deliveries.append("ww1", edit(1), {})
        async with KafkaLog(kafka_settings(kafka, topic), pace=QUICK) as log:
            relay = Relay(deliveries, log, Metrics(), Health().component("relay"), tmp_path / "parked")
            with pytest.raises(ReaderChanged, match="wecom-crm serve all, without"):
                await relay.run(asyncio.Event())


async def test_stopping_while_the_broker_is_dead_is_quick_and_loses_nothing(
    tmp_path: Path, private_kafka: KafkaServer, topic: str
) -> None:
    await create_topic(private_kafka.address, topic)
    loop = asyncio.get_running_loop()
    async with running(tmp_path, private_kafka.address, topic) as rig:
        await rig.deliver(edit(0))
        await until(lambda: rig.relay.published == 1)
        await asyncio.to_thread(private_kafka.kill)
        await rig.deliver(edit(1), edit(2))
        await until(lambda: rig.log.away)
        began = loop.time()
    assert loop.time() - began < 6
    await asyncio.to_thread(private_kafka.start)
    async with running(tmp_path, private_kafka.address, topic) as rig:
        await until(lambda: rig.relay.published == 2)
        assert {number_of(record) for record in await rig.topic(3)} == {0, 1, 2}
