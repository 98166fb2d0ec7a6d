"""What the brokers say about themselves: which cluster it is, which topic, its partitions, where they begin and end.

Asked over connections of its own. A consumer's connection is no place for it: a broker answers one request of a
connection at a time, and there a fetch may wait for half a second. And the clients of aiokafka hide why a broker
refused them, retry for ever, and don't tell a topic from another one that was made later under its name.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, for_code
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.offset import OffsetRequest

from core.eventlog.base import LogUnavailable
from core.eventlog.kafka_metadata import NOBODY, DescribeTopic
from core.settings import KafkaSettings

CLIENT = "wecom-crm"
EARLIEST = -2
LATEST = -1
NO_LEADER = -1

_UNKNOWN_TOPIC = 3
_TOPIC_FORBIDDEN = 29
_NO_ERROR = 0

Address = tuple[str, int]


class TopicMissing(LogUnavailable):
    """The topic does not exist; the message names the command that makes it."""


class LogForbidden(LogUnavailable):
    """The brokers refuse this client: a password or a permission; a human must act."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: node ids of its leader (or ``NO_LEADER``), its replicas, and those of them in sync."""

    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TopicView:
    """A topic as the cluster describes it."""

    cluster_id: str
    topic_id: str
    partitions: Mapping[int, Partition]
    brokers: Mapping[int, Address]

    @property
    def log_id(self) -> str:
        """A topic that was deleted and made again has another one."""
        return f"kafka:{self.cluster_id}:{self.topic_id}"


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """What every client of aiokafka is given to connect. Raises ``LogForbidden`` if a certificate can't be used."""
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol in {"SSL", "SASL_SSL"}:
        try:
            options["ssl_context"] = create_ssl_context(
                cafile=settings.ssl_cafile, certfile=settings.ssl_certfile, keyfile=settings.ssl_keyfile
            )
        except (ssl.SSLError, OSError) as error:
            raise LogForbidden(f"[kafka] ssl_cafile, ssl_certfile or ssl_keyfile can't be used: {error}") from error
    if settings.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password.get_secret_value() if settings.sasl_password else None
    return options


class Cluster:
    """Asks the brokers. Every question is bounded; a connection that failed is closed and made anew for the next."""

    def __init__(self, settings: KafkaSettings, *, seconds: float = 3.0) -> None:
        """``seconds`` bounds one question to one broker."""
        self._options = client_options(settings)
        self._bootstrap = [_address(server) for server in settings.bootstrap_servers.split(",")]
        self._seconds = seconds
        self._brokers: dict[int, Address] = {}
        self._connections: dict[Address, Any] = {}
        self._connecting = asyncio.Lock()

    async def look(self, topic: str) -> TopicView:
        """Describe the topic. Raises ``TopicMissing``, ``LogForbidden``, or ``LogUnavailable`` if nobody answers."""
        answer = await self._ask_any(DescribeTopic(topic))
        self._brokers = {node: (host, port) for node, host, port, _rack, _tags in answer.brokers}
        ((code, _name, topic_id, _internal, partitions, _operations, _tags),) = answer.topics
        if code == _UNKNOWN_TOPIC:
            raise TopicMissing(f"there is no topic {topic}: make it with wecom-crm topics create")
        if code == _TOPIC_FORBIDDEN:
            raise LogForbidden(f"this client may not describe the topic {topic}")
        if code != _NO_ERROR or topic_id == NOBODY:
            raise LogUnavailable(f"the topic {topic} can't be described: {for_code(code).__name__}")
        return TopicView(
            answer.cluster_id or "",
            urlsafe_b64encode(topic_id).decode().rstrip("="),
            {
                number: Partition(leader, tuple(replicas), tuple(in_sync))
                for _code, number, leader, _epoch, replicas, in_sync, _offline, _tags in partitions
            },
            dict(self._brokers),
        )

    async def offsets(self, topic: str, view: TopicView, partitions: Iterable[int], which: int) -> dict[int, int]:
        """The ``EARLIEST`` position kept, or the ``LATEST``: the one of the next record. Raises ``LogUnavailable``."""
        wanted: dict[Address, list[tuple[int, int]]] = {}
        for number in partitions:
            partition = view.partitions.get(number)
            address = view.brokers.get(partition.leader) if partition is not None else None
            if address is None:
                raise LogUnavailable(f"partition {number} of {topic} has no leader")
            wanted.setdefault(address, []).append((number, which))
        found: dict[int, int] = {}
        for address, asked in wanted.items():
            answer = await self._ask(address, OffsetRequest(-1, 0, [(topic, asked)]))
            for _topic, numbers in answer.topics:
                for number, code, _timestamp, offset in numbers:
                    if code != _NO_ERROR:
                        raise LogUnavailable(f"partition {number} of {topic}: {for_code(code).__name__}")
                    found[number] = offset
        return found

    async def close(self) -> None:
        """Let go of the connections."""
        for address in list(self._connections):
            self._drop(address)
        # The transports close in the loop's next turn.
        await asyncio.sleep(0)

    async def _ask_any(self, request: Any) -> Any:
        """The answer of the first that gives one; those with a connection come first."""
        known = [*self._connections, *self._brokers.values(), *self._bootstrap]
        failure: LogUnavailable | None = None
        for address in dict.fromkeys(known):
            try:
                return await self._ask(address, request)
            except LogUnavailable as error:
                # A refusal tells more than the silence of the broker after it.
                failure = failure if isinstance(failure, LogForbidden) else error
        raise failure or LogUnavailable("no broker is known")

    async def _ask(self, address: Address, request: Any) -> Any:
        try:
            async with asyncio.timeout(self._seconds):
                connection = await self._connection(address)
                return await connection.send(request)
        except NotImplementedError:
            raise LogUnavailable(f"the broker {_text(address)} is older than Kafka 3.1") from None
        except (KafkaError, OSError, TimeoutError, AssertionError, ssl.SSLError) as error:
            self._drop(address)
            raise _explained(address, error) from error

    async def _connection(self, address: Address) -> Any:
        async with self._connecting:
            found = self._connections.get(address)
            if found is None or not found.connected():
                self._drop(address)
                found = await create_conn(
                    *address,
                    client_id=CLIENT,
                    request_timeout_ms=int(self._seconds * 1000),
                    max_idle_ms=300_000,
                    **self._options,
                )
                self._connections[address] = found
            return found

    def _drop(self, address: Address) -> None:
        connection = self._connections.pop(address, None)
        if connection is not None:
            connection.close()


def _explained(address: Address, error: BaseException) -> LogUnavailable:
    if "Authentication" in type(error).__name__ or "Sasl" in type(error).__name__:
        return LogForbidden(f"the broker {_text(address)} refuses the login: {type(error).__name__}")
    if isinstance(error, ssl.SSLError):
        return LogForbidden(f"no secure connection to the broker {_text(address)}: {error.reason}")
    if isinstance(error, TimeoutError):
        return LogUnavailable(f"the broker {_text(address)} does not answer")
    words = type(error).__name__
    if isinstance(error, OSError) and error.errno:
        # asyncio's own text has the address in it; a failed look-up of a name has a number below 0.
        words = os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return LogUnavailable(f"the broker {_text(address)} can't be reached: {words}")


def _address(server: str) -> Address:
    host, _, port = server.rpartition(":")
    return re.sub(r"[\[\]]", "", host), int(port)


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
