"""``wecom-crm relay --from``: publishes deliveries to Kafka once more."""

from __future__ import annotations

import asyncio

import aiohttp
import typer

from core.admin import ACTION_HEADER
from core.eventlog.base import LogError
from core.eventlog.embedded import EmbeddedLog
from core.eventlog.kafka import KafkaLog
from core.health import Health
from core.metrics import Metrics
from core.settings import Settings
from ingest.relay import Relay
from wecom_crm.serve import PARKED_FILE, log_path

_ASK_SECONDS = 5.0


async def run_relay(settings: Settings, position: int) -> int:
    """Everything that the event log still has from ``position`` on; returns the exit status.

    A process that receives has the log to itself, so it is asked to do it; without one it is done here.
    """
    if settings.kafka is None:
        typer.echo("There is nowhere to publish to: the configuration has no [kafka] table.", err=True)
        return 2
    if (asked := await _ask(settings, position)) is not None:
        typer.echo(asked)
        return 0
    try:
        log = await EmbeddedLog.open(log_path(settings))
    except (LogError, OSError) as error:
        typer.echo(f"The event log can't be opened, and nobody answers on the admin port: {error}", err=True)
        return 1
    async with log, KafkaLog(settings.kafka) as topic:
        parked = settings.service.data_dir / PARKED_FILE
        relay = Relay(log, topic, Metrics(), Health().component("relay"), parked)
        try:
            await topic.identified(_ASK_SECONDS)
            records = await relay.publish_again(position, asyncio.Event())
        except LogError as error:
            typer.echo(f"Nothing was published: {error}", err=True)
            return 1
    typer.echo(f"{records} deliveries were published again.")
    return 0


async def _ask(settings: Settings, position: int) -> str | None:
    """Ask the process that receives; None if there is none."""
    service = settings.service
    host = "127.0.0.1" if service.admin_host in {"0.0.0.0", "::"} else service.admin_host  # noqa: S104
    url = f"http://{host}:{service.admin_port}/actions/relay"
    timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, params={"from": str(position)}, headers={ACTION_HEADER: "relay"}) as answer,
        ):
            if answer.status != 202:
                return None
            return f"The running process publishes everything from position {position} on again."
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
