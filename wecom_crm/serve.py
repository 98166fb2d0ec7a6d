"""``wecom-crm serve``: puts the parts of one process together and runs them."""

from __future__ import annotations

import asyncio
import errno
import gc
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import typer
from aiohttp import web

from core import admin
from core.credentials import CredentialStore
from core.db.engine import Database
from core.eventlog.base import EventLog, LogError, ReaderChanged
from core.eventlog.embedded import EmbeddedLog
from core.eventlog.kafka import KafkaLog
from core.eventlog.kafka_cluster import LogForbidden, TopicMissing
from core.health import Health
from core.logs import get_logger
from core.metrics import Metrics
from core.runtime import FatalError, Run, Supervisor
from core.schema import SchemaOutdated
from core.settings import Settings
from ingest import app as callbacks
from ingest.callback import LARGEST_BODY
from ingest.keys import KeyRing
from ingest.relay import Relay
from ingest.server import serve as serve_port
from sidebar import app as pages
from sidebar.vendor import VendorMissing, check_vendor
from sync.apply import decode_delivery, decode_envelope
from sync.service import SyncService
from wecom.client import WeComClient
from wecom.tokens import Secret
from wecom_crm import __version__

LOG_FILE = "ingest-log.sqlite"
DRAIN_SECONDS = 8.0
PARKED_FILE = "relay-parked.jsonl"
"""What Kafka will never take, one JSON document per line."""

_log = get_logger(__name__)


async def serve(settings: Settings, *, ingest: bool, sync: bool, sidebar: bool) -> int:
    """Run the services until SIGTERM or SIGINT; returns the exit status.

    Without Kafka sync reads ingest's own log, which belongs to one process at a time: the second of two on one data
    folder ends with a message. With Kafka the relay publishes from there, and sync reads the topic.
    """
    metrics = Metrics()
    metrics.info.labels(__version__).set(1)
    health = Health()
    supervisor = Supervisor(health, metrics=metrics, drain_seconds=DRAIN_SECONDS)
    service = settings.service
    parts = [name for name, wanted in (("ingest", ingest), ("sync", sync), ("sidebar", sidebar)) if wanted]
    if sidebar:
        try:
            check_vendor()
        except VendorMissing as error:
            typer.echo(str(error), err=True)
            return 1
    async with AsyncExitStack() as stack:
        log: EmbeddedLog | None = None
        if ingest or (sync and settings.kafka is None):
            try:
                service.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
                log = await EmbeddedLog.open(log_path(settings), max_bytes=service.max_log_bytes, metrics=metrics)
            except (LogError, OSError) as error:
                typer.echo(f"The event log in {service.data_dir} can't be opened: {error}", err=True)
                return 1
            stack.push_async_callback(log.close)
        source: EventLog | None = log
        if settings.kafka is not None and (ingest or sync):
            # No limit of its own for an append: the relay waits for brokers that are away, however long.
            source = KafkaLog(settings.kafka, append_seconds=None, health=health.component("kafka"), metrics=metrics)
            stack.push_async_callback(source.close)
        database, client = None, None
        if sync or sidebar:
            # Pages come in bursts, and each takes a connection for a moment.
            database = Database(settings.database.url, pool_size=10 if sidebar else 5)
            stack.push_async_callback(database.close)
            client = await stack.enter_async_context(client_of(settings, database, metrics))
        actions: dict[str, admin.Action] = {}
        supervisor.add("admin", _admin(settings, admin.create_app(health, metrics, actions), health), restart=False)
        wake = None
        if sync and source is not None and database is not None and client is not None:
            of_sync = SyncService(settings, database, source, client, health, metrics, **_reader_of(settings))
            supervisor.add("sync", _sync(of_sync, health, alone=parts == ["sync"]))
            wake = of_sync.wake
        if settings.kafka is not None and log is not None and source is not None:
            relay_health = health.component("relay", stalls_after=120)
            relay = Relay(log, source, metrics, relay_health, service.data_dir / PARKED_FILE)
            supervisor.add("relay", _reading(relay.run))
            actions["relay"] = relay.again
            parts.append("relay")

        def build() -> web.Application:
            app = web.Application(client_max_size=LARGEST_BODY)
            if ingest and log is not None:
                keys = KeyRing.from_settings(settings)
                part = health.component("ingest")
                callbacks.add_routes(app, keys, log, metrics, part, answer_503=service.answer_503)
            if sidebar and database is not None and client is not None:
                pages.add_routes(app, settings, database, client, metrics, health, wake=wake)
            callbacks.add_nothing_else(app)
            return app

        if ingest or sidebar:
            supervisor.add("ingest" if ingest else "listener", _listener(settings, build, health, ingest=ingest))
        # What is there by now stays. To go through all of it now and then would stop everything for 50 ms.
        gc.collect()
        gc.freeze()
        _log.info("process.started", version=__version__, parts=parts, corps=len(settings.corps))
        return await supervisor.run()


def _reader_of(settings: Settings) -> dict[str, Any]:
    """How sync reads: deliveries of its own process, or records of a topic that other copies read too."""
    if settings.kafka is None:
        return {"decode": decode_delivery, "alone": True}
    return {"decode": decode_envelope, "group": settings.kafka.group_id, "alone": False}


def log_path(settings: Settings) -> Path:
    """Where ingest keeps its event log."""
    return settings.service.data_dir / LOG_FILE


def _admin(settings: Settings, app: web.Application, health: Health) -> Run:
    service = settings.service

    async def run(stopping: asyncio.Event) -> None:
        health.component("admin").ok()
        with _port(service.admin_host, service.admin_port, "admin_port"):
            await admin.serve(app, service.admin_host, service.admin_port, stopping)

    return run


def _listener(settings: Settings, build: Callable[[], web.Application], health: Health, *, ingest: bool) -> Run:
    """The public port. An application serves once, so each start builds another."""
    service = settings.service
    part = health.component("ingest" if ingest else "listener")

    def ready(host: str, port: int) -> None:
        part.ok()
        if ingest:
            _log.info("ingest.listening", host=host, port=port)
        else:
            _log.info("sidebar.listening", host=host, port=port)

    async def run(stopping: asyncio.Event) -> None:
        with _port(service.host, service.port, "port"):
            await serve_port(build(), service.host, service.port, stopping, ready=ready)

    return run


def _reading(run: Run) -> Run:
    """A reader that another one has to make way for is a matter for the configuration."""

    async def reading(stopping: asyncio.Event) -> None:
        try:
            await run(stopping)
        except ReaderChanged as error:
            raise FatalError(str(error)) from None

    return reading


def _sync(service: SyncService, health: Health, *, alone: bool) -> Run:
    async def run(stopping: asyncio.Event) -> None:
        health.component("sync").ok()
        try:
            await service.run(stopping)
        except (SchemaOutdated, TopicMissing, LogForbidden) as error:
            if alone:
                raise FatalError(str(error)) from None
            # Ingest goes on beside it; sync looks again now and then, so that mending it is all there is to do.
            raise

    return _reading(run)


def client_of(settings: Settings, database: Database, metrics: Metrics) -> WeComClient:
    """The one way to call the platform, for every app of every corp, with its tokens kept in the database."""
    secrets = {
        (corp.corpid, agent.secret_name): Secret(corp.corpid, agent.secret_name, agent.secret.get_secret_value())
        for corp in settings.corps
        for agent in corp.agents
    }
    return WeComClient(
        base_url=settings.wecom.api_base_url,
        secrets=secrets,
        store=CredentialStore(database, settings.service.secret_key.get_secret_value()),
        observer=metrics,
        proxy=settings.wecom.proxy,
        connect_seconds=settings.wecom.timeouts.connect,
        total_seconds=settings.wecom.timeouts.total,
    )


@contextmanager
def _port(host: str, port: int, key: str) -> Iterator[None]:
    """A port that can't be had is a matter for the configuration, not for another try."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}:
            raise FatalError(
                f"{host}:{port} can't be listened on ({error.strerror}): change [service] {key}, or end what uses it"
            ) from None
        raise
