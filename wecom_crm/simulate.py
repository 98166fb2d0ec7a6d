"""``wecom-crm simulate``: the small WeCom alone, for the corps of a configuration, to make changes by hand."""

from __future__ import annotations

import asyncio
import errno
import signal
import time
from urllib.parse import urlsplit

import typer

from core.runtime import stopped_within
from core.settings import Settings
from wecom.simulator.population import CorpSetup, small_world
from wecom.simulator.scenario import Scenario
from wecom.simulator.server import Simulator
from wecom.simulator.state import Agent, Callback

LOOPBACK = ("127.0.0.1", "localhost", "::1")


async def simulate(settings: Settings, *, rate: float, seed: int) -> int:
    """Run until SIGTERM or Ctrl-C; returns the exit status."""
    address = urlsplit(settings.wecom.api_base_url)
    if address.hostname not in LOOPBACK or address.scheme != "http" or address.port is None:
        typer.echo(
            "The simulator runs on this machine only: set [wecom] api_base_url to an address of it, as in "
            '"http://127.0.0.1:9090"',
            err=True,
        )
        return 1
    world = small_world(_setups(settings), seed=seed)
    service = settings.service
    simulator = Simulator(
        world, callback_base_url=f"http://{service.host}:{service.port}", host=address.hostname, port=address.port
    )
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        async with simulator:
            corp = settings.corps[0].corpid
            employee = next(iter(world.corp(corp).employees.values())).userid
            typer.echo(f"simulator  {simulator.url}/simulator")
            typer.echo(f"pushes to  {simulator.callback_base_url}/callback/<corpid>/<name>")
            typer.echo(
                f"try        curl -d employee={employee} -d name=Anna {simulator.url}/simulator/corps/{corp}/add"
            )
            await _make_changes(simulator, Scenario(world, seed=seed), rate, stopping)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        typer.echo(
            f"{settings.wecom.api_base_url} is taken: end what uses it, or change [wecom] api_base_url", err=True
        )
        return 1
    return 0


def _setups(settings: Settings) -> list[CorpSetup]:
    return [
        CorpSetup(
            corp.corpid,
            corp.name,
            agents=[
                Agent(agent.agentid, agent.secret.get_secret_value(), agent.name, agent.customer_data)
                for agent in corp.agents
            ],
            callbacks=[
                Callback(
                    callback.name,
                    callback.token.get_secret_value(),
                    callback.encoding_aes_key.get_secret_value(),
                    corp.customer_agent.agentid,
                )
                for callback in corp.callbacks
            ],
        )
        for corp in settings.corps
    ]


async def _make_changes(simulator: Simulator, scenario: Scenario, rate: float, stopping: asyncio.Event) -> None:
    began, made = time.monotonic(), 0
    while not stopping.is_set():
        if rate == 0:
            await stopping.wait()
            return
        await simulator.pusher.push([scenario.next_change()])
        made += 1
        await stopped_within(stopping, max(0.0, made / rate - (time.monotonic() - began)))
