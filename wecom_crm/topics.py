"""``wecom-crm topics``: makes the topic of the events, and compares one that exists with the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import typer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from core.eventlog.base import LogUnavailable
from core.eventlog.kafka_chatter import quieten
from core.eventlog.kafka_cluster import CLIENT, NO_LEADER, Cluster, TopicMissing, TopicView, client_options
from core.settings import KafkaSettings, Settings

KEPT_DAYS = 30
SAFE_REPLICAS = 3
# The largest callback that ingest takes, as a record whose bytes could not be read.
LARGEST_RECORD = 400_000
_READY_WITHIN = 15.0
_DAY_MS = 86_400_000

_PROBLEMS = 1
_NO_TABLE = 2


@dataclass
class Findings:
    """Whole sentences. Problems lose events or stop them; warnings may be what was wanted."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def wanted_configs(replication_factor: int) -> dict[str, str]:
    """The topic's own settings. With three replicas two must have a record before it counts as written."""
    return {
        "retention.ms": str(KEPT_DAYS * _DAY_MS),
        "min.insync.replicas": "2" if replication_factor >= SAFE_REPLICAS else "1",
        "cleanup.policy": "delete",
        # As it came from the producer, so that no reader needs a library to unpack it.
        "compression.type": "producer",
    }


def compare(kafka: KafkaSettings, view: TopicView, configs: Mapping[str, str]) -> Findings:
    """What is wrong with a topic. ``configs`` are its settings as the cluster gives them, defaults included."""
    found = Findings()
    _compare_partitions(kafka, view, found)
    replicas = min(len(partition.replicas) for partition in view.partitions.values())
    if replicas < SAFE_REPLICAS:
        found.warnings.append(
            f"it has {_count(replicas, 'replica')}: a broker's disk that breaks takes events with it. "
            "In production use replication_factor = 3"
        )
    if replicas != kafka.replication_factor:
        found.warnings.append(
            f"it has {_count(replicas, 'replica')}, and the configuration says {kafka.replication_factor}; "
            "moving replicas is for Kafka's own tools"
        )
    least = int(configs.get("min.insync.replicas", "1"))
    if least > replicas:
        found.problems.append(
            f"min.insync.replicas is {least} with {_count(replicas, 'replica')}: nothing can be written"
        )
    elif replicas >= SAFE_REPLICAS and least < 2:
        found.warnings.append(
            "min.insync.replicas is 1: a record counts as written when one broker has it. Set it to 2"
        )
    kept = int(configs.get("retention.ms", "-1"))
    if 0 <= kept < KEPT_DAYS * _DAY_MS:
        found.warnings.append(
            f"it keeps records for {kept / _DAY_MS:.3g} days. A database restored from a back-up reads the topic again "
            f"from there on: keep them longer than the oldest back-up, {KEPT_DAYS} days by default (retention.ms)"
        )
    if int(configs.get("retention.bytes", "-1")) >= 0:
        found.warnings.append("retention.bytes is set: under load records go before their time, read or not")
    if "compact" in configs.get("cleanup.policy", "delete"):
        found.problems.append(
            "cleanup.policy has compact: it removes all events of an object but the last. Set it to delete"
        )
    if int(configs.get("max.message.bytes", str(LARGEST_RECORD))) < LARGEST_RECORD:
        found.problems.append(
            f"max.message.bytes is below {LARGEST_RECORD}: large deliveries would be set aside instead of published"
        )
    return found


def _compare_partitions(kafka: KafkaSettings, view: TopicView, found: Findings) -> None:
    number = len(view.partitions)
    if number < kafka.partitions:
        found.problems.append(
            f"it has {_count(number, 'partition')}, and the configuration says {kafka.partitions}: "
            "wecom-crm topics create --add-partitions adds them, or set partitions to what there are"
        )
    elif number > kafka.partitions:
        found.warnings.append(
            f"it has {_count(number, 'partition')}, and the configuration says {kafka.partitions}; "
            "all of them are used, and partitions can't be taken away"
        )
    leaderless = [n for n, partition in sorted(view.partitions.items()) if partition.leader == NO_LEADER]
    if leaderless:
        found.problems.append(f"partitions {_listed(leaderless)} have no leader: a broker is away")
    behind = [n for n, partition in sorted(view.partitions.items()) if len(partition.in_sync) < len(partition.replicas)]
    if behind:
        found.warnings.append(
            f"partitions {_listed(behind)} have replicas that are not in sync: a broker is away or slow"
        )


async def run_create(settings: Settings, *, more_partitions: bool) -> int:
    """The command: make the topic; one that exists is compared and left as it is, unless partitions shall be added.

    Returns the exit status.
    """
    if (kafka := _table(settings)) is None:
        return _NO_TABLE
    try:
        async with _cluster(kafka) as cluster:
            try:
                view = await cluster.look(kafka.topic)
            except TopicMissing:
                await _create(kafka)
                view = await _ready(cluster, kafka.topic, kafka.partitions)
                typer.echo(f"The topic {kafka.topic} was made: {_described(view)}, kept for {KEPT_DAYS} days.")
                return _tell(kafka, compare(kafka, view, await _configs(kafka)))
            if more_partitions and len(view.partitions) < kafka.partitions:
                await _add_partitions(kafka)
                view = await _ready(cluster, kafka.topic, kafka.partitions)
                typer.echo(
                    f"The topic {kafka.topic} has {_count(len(view.partitions), 'partition')} now. From here on most "
                    "objects have their events in another partition than before, which does no harm to the tables."
                )
            else:
                typer.echo(f"The topic {kafka.topic} exists and was left as it is: {_described(view)}.")
            return _tell(kafka, compare(kafka, view, await _configs(kafka)))
    except LogUnavailable as error:
        typer.echo(f"The topic can't be made: {error}", err=True)
        return _PROBLEMS


async def run_check(settings: Settings) -> int:
    """The command: compare the topic with the configuration. Returns the exit status."""
    if (kafka := _table(settings)) is None:
        return _NO_TABLE
    try:
        async with _cluster(kafka) as cluster:
            view = await cluster.look(kafka.topic)
            typer.echo(f"The topic {kafka.topic} on cluster {view.cluster_id}: {_described(view)}.")
            return _tell(kafka, compare(kafka, view, await _configs(kafka)))
    except LogUnavailable as error:
        typer.echo(f"The topic can't be checked: {error}", err=True)
        return _PROBLEMS


def _table(settings: Settings) -> KafkaSettings | None:
    if settings.kafka is None:
        typer.echo("There is no [kafka] table in the configuration; the embedded mode needs no topic.", err=True)
    return settings.kafka


@asynccontextmanager
async def _cluster(kafka: KafkaSettings) -> AsyncIterator[Cluster]:
    quieten()
    cluster = Cluster(kafka)
    try:
        yield cluster
    finally:
        await cluster.close()


@asynccontextmanager
async def _admin(kafka: KafkaSettings) -> AsyncIterator[Any]:
    """Kafka's admin protocol; what fails is raised as ``LogUnavailable`` in words."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=kafka.bootstrap_servers, client_id=CLIENT, request_timeout_ms=10_000, **client_options(kafka)
    )
    try:
        async with asyncio.timeout(20):
            await admin.start()
            yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(_words(kafka, error)) from error
    finally:
        await admin.close()


def _words(kafka: KafkaSettings, error: BaseException) -> str:
    if isinstance(error, InvalidReplicationFactorError):
        return f"replication_factor = {kafka.replication_factor} needs as many brokers, and there are fewer"
    if isinstance(error, TopicAuthorizationFailedError | ClusterAuthorizationFailedError):
        return "this client may not do that: it needs Create, Alter and DescribeConfigs on the topic"
    if isinstance(error, TimeoutError):
        return "the brokers do not answer"
    return f"the brokers refuse it: {type(error).__name__}"


async def _create(kafka: KafkaSettings) -> None:
    topic = NewTopic(
        kafka.topic,
        kafka.partitions,
        kafka.replication_factor,
        topic_configs=wanted_configs(kafka.replication_factor),
    )
    async with _admin(kafka) as admin:
        answer = await admin.create_topics([topic])
        ((_, code, *_message),) = answer.topic_errors
        # Somebody else was faster: it is compared then, as any that exists.
        if code not in {0, TopicAlreadyExistsError.errno}:
            raise for_code(code)


async def _add_partitions(kafka: KafkaSettings) -> None:
    async with _admin(kafka) as admin:
        await admin.create_partitions({kafka.topic: NewPartitions(kafka.partitions)})


async def _configs(kafka: KafkaSettings) -> dict[str, str]:
    async with _admin(kafka) as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, kafka.topic)])
        ((code, _message, _kind, _name, entries),) = answer.resources
        if code:
            raise for_code(code)
    return {entry[0]: entry[1] for entry in entries if entry[1] is not None}


async def _ready(cluster: Cluster, topic: str, partitions: int) -> TopicView:
    """Every broker learns of a new topic a moment later."""
    last: LogUnavailable | None = None
    try:
        async with asyncio.timeout(_READY_WITHIN):
            while True:
                try:
                    view = await cluster.look(topic)
                except LogUnavailable as error:
                    last = error
                else:
                    leaders = [partition.leader for partition in view.partitions.values()]
                    if len(leaders) >= partitions and NO_LEADER not in leaders:
                        return view
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise last or LogUnavailable("its partitions have no leaders yet: look again with topics check") from None


def _tell(kafka: KafkaSettings, found: Findings) -> int:
    for words in found.problems:
        typer.echo(f"  problem: {words}")
    for words in found.warnings:
        typer.echo(f"  warning: {words}")
    if not found.problems and not found.warnings:
        typer.echo(f"  {kafka.topic} is as it should be")
    return _PROBLEMS if found.problems else 0


def _described(view: TopicView) -> str:
    replicas = min(len(partition.replicas) for partition in view.partitions.values())
    return f"{_count(len(view.partitions), 'partition')}, {_count(replicas, 'replica')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
