"""``wecom-crm serve``: puts the parts of one process together and runs them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import typer

from core import admin
from core.credentials import CredentialStore
from core.db.engine import Database
from core.eventlog.base import LogError
from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.logs import get_logger
from core.metrics import Metrics
from core.runtime import FatalError, Run, Supervisor
from core.schema import SchemaOutdated
from core.settings import Settings
from ingest.app import create_app
from ingest.keys import KeyRing
from ingest.server import serve as serve_callbacks
from sync.service import SyncService
from wecom.client import WeComClient
from wecom.tokens import Secret
from wecom_crm import __version__

LOG_FILE = "ingest-log.sqlite"
DRAIN_SECONDS = 8.0

_log = get_logger(__name__)


async def serve(settings: Settings, *, ingest: bool, sync: bool) -> int:
    """Run ingest, sync or both until SIGTERM or SIGINT; returns the exit status.

    The event log belongs to one process at a time, so the second of two on one data folder ends with a message.
    """
    metrics = Metrics()
    metrics.info.labels(__version__).set(1)
    health = Health()
    supervisor = Supervisor(health, metrics=metrics, drain_seconds=DRAIN_SECONDS)
    service = settings.service
    async with AsyncExitStack() as stack:
        try:
            service.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            log = await EmbeddedLog.open(log_path(settings), max_bytes=service.max_log_bytes, metrics=metrics)
        except (LogError, OSError) as error:
            typer.echo(f"The event log in {service.data_dir} can't be opened: {error}", err=True)
            return 1
        stack.push_async_callback(log.close)
        supervisor.add("admin", _admin(settings, health, metrics), restart=False)
        if ingest:
            supervisor.add("ingest", _ingest(settings, log, health, metrics))
        if sync:
            database = Database(settings.database.url)
            stack.push_async_callback(database.close)
            client = await stack.enter_async_context(_client(settings, database, metrics))
            service_of_sync = SyncService(settings, database, log, client, health, metrics)
            supervisor.add("sync", _sync(service_of_sync, health, alone=not ingest))
        parts = [name for name, wanted in (("ingest", ingest), ("sync", sync)) if wanted]
        _log.info("process.started", version=__version__, parts=parts, corps=len(settings.corps))
        return await supervisor.run()


def log_path(settings: Settings) -> Path:
    """Where ingest keeps its event log."""
    return settings.service.data_dir / LOG_FILE


def _admin(settings: Settings, health: Health, metrics: Metrics) -> Run:
    service = settings.service

    async def run(stopping: asyncio.Event) -> None:
        health.component("admin").ok()
        with _port(service.admin_host, service.admin_port, "admin_port"):
            await admin.serve(admin.create_app(health, metrics), service.admin_host, service.admin_port, stopping)

    return run


def _ingest(settings: Settings, log: EmbeddedLog, health: Health, metrics: Metrics) -> Run:
    service = settings.service
    keys = KeyRing.from_settings(settings)

    part = health.component("ingest")

    def ready(host: str, port: int) -> None:
        part.ok()
        _log.info("ingest.listening", host=host, port=port)

    async def run(stopping: asyncio.Event) -> None:
        app = create_app(keys, log, metrics, part, answer_503=service.answer_503)
        with _port(service.host, service.port, "port"):
            await serve_callbacks(app, service.host, service.port, stopping, ready=ready)

    return run


def _sync(service: SyncService, health: Health, *, alone: bool) -> Run:
    async def run(stopping: asyncio.Event) -> None:
        health.component("sync").ok()
        try:
            await service.run(stopping)
        except SchemaOutdated as error:
            if alone:
                raise FatalError(str(error)) from None
            # Ingest goes on beside it; sync looks again now and then, so that migrating is all there is to do.
            raise

    return run


def _client(settings: Settings, database: Database, metrics: Metrics) -> WeComClient:
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
