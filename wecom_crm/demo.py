"""``wecom-crm demo``: the whole product against a small WeCom, on this machine.

The simulator runs in this process, ``serve all`` in another one with a configuration file as a user would write it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from core.db.engine import Database
from core.settings import load
from core.settings_sources import ENV_PREFIX
from wecom.simulator.faults import Faults
from wecom.simulator.population import small_world
from wecom.simulator.scenario import Scenario
from wecom.simulator.server import Simulator
from wecom_crm.comparison import Report, compare
from wecom_crm.demo_world import WRITTEN_BY, make_corps, write_config
from wecom_crm.migrate import migrate
from wecom_crm.progress import Progress, progress_of, until_applied
from wecom_crm.service_process import ServiceFailed, ServiceProcess, free_ports

EMPLOYEES = 20
CUSTOMERS = 500
CHANGES_PER_SECOND = 60.0
QUIET_CHANGES_PER_SECOND = 4.0
DRAIN_SECONDS = 180.0
FAULTS: dict[str, Any] = {
    "duplicate": 0.1,
    "reorder": 12,
    "unseen_share": 0.1,
    "lag_share": 0.05,
    "lag_seconds": 3.0,
    "revoke_every": 200,
}
"""What goes wrong on purpose; see ``wecom.simulator.faults``."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    simulator: Simulator
    scenario: Scenario
    service: ServiceProcess
    database: Database


async def demo(*, once: bool, folder: Path, changes: int, seed: int) -> int:
    """Run until Ctrl-C, or with ``once`` make ``changes`` and compare. Returns the exit status.

    ``folder`` is an absolute path.
    """
    if (problem := _clear(folder)) is not None:
        typer.echo(problem, err=True)
        return 1
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    line = Line()
    try:
        async with _stage(folder, seed) as stage:
            typer.echo(f"chat       {stage.simulator.url}/ (open it in a browser: the sidebar beside the chats)")
            typer.echo(f"simulator  {stage.simulator.url}/simulator")
            typer.echo(f"service    configuration {folder / 'wecom-crm.toml'}, log {stage.service.log}")
            work = _once(stage, changes, line) if once else _forever(stage, changes, line)
            running = asyncio.create_task(work, name="demo")
            stop = asyncio.create_task(stopping.wait(), name="demo-stop")
            await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not running.done():
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                line.end()
                typer.echo("stopping")
                return 1 if once else 0
            status = running.result()
            ended = await stage.service.stop()
            if ended != 0:
                typer.echo(f"the service ended with status {ended}\n{stage.service.last_words()}", err=True)
            return status or ended
    except ServiceFailed as error:
        line.end()
        typer.echo(str(error), err=True)
        return 1


def _clear(folder: Path) -> str | None:
    """Begin in an empty folder; remove an earlier demo's, and nothing else. Returns what is in the way."""
    if folder.exists() and any(folder.iterdir()):
        config = folder / "wecom-crm.toml"
        if not config.is_file() or not config.read_text(encoding="utf-8").startswith(WRITTEN_BY):
            return f"{folder} is not empty and not a demo's: name another folder with --folder"
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return None


@asynccontextmanager
async def _stage(folder: Path, seed: int) -> AsyncIterator[Stage]:
    corps = make_corps()
    world = small_world(corps, seed=seed, employees=EMPLOYEES, customers=CUSTOMERS)
    faults = Faults(seed=seed, **FAULTS)
    port, admin_port = free_ports(2)
    config = folder / "wecom-crm.toml"
    async with Simulator(world, faults=faults, callback_base_url=f"http://127.0.0.1:{port}") as simulator:
        write_config(config, corps, simulator.url, port, admin_port)
        settings = load(config, {})
        settings.service.data_dir.mkdir(mode=0o700)
        database = Database(settings.database.url)
        # Settings of the environment are meant for a real service.
        environ = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        service = ServiceProcess(config, admin_port, environ=environ)
        try:
            await migrate(database)
            await service.start()
            yield Stage(simulator, Scenario(world, seed=seed), service, database)
        finally:
            await service.stop()
            await database.close()


async def _once(stage: Stage, changes: int, line: Line) -> int:
    await _stream(stage, changes, CHANGES_PER_SECOND, line)
    pusher = stage.simulator.pusher
    await pusher.drain()
    try:
        await until_applied(
            stage.database,
            lambda: pusher.counts.acknowledged,
            seconds=DRAIN_SECONDS,
            told=lambda progress: line.show(_words(stage, progress)),
        )
    except TimeoutError:
        line.end()
        typer.echo(f"not everything was applied within {DRAIN_SECONDS:.0f} s", err=True)
        return 1
    line.end()
    stage.service.check()
    report = await compare(stage.database, stage.simulator.truth())
    counts, asked = pusher.counts, stage.simulator.counts
    typer.echo(
        f"pushed {counts.changes} events, {counts.duplicates} of them twice: "
        f"{counts.acknowledged} pushes got 200, {counts.given_up} did not"
    )
    typer.echo(
        f"the API was called {asked.calls()} times, tokens were revoked {asked.revocations} times, "
        f"and {asked.foreign} calls came with a foreign corp's token or secret"
    )
    return _judge(report, foreign=asked.foreign)


def _judge(report: Report, *, foreign: int) -> int:
    for name in ("missing", "spurious", "differing"):
        for key in getattr(report, name)[:5]:
            typer.echo(f"{name}: {' '.join(str(part) for part in key)}")
    others = {table: number for table, number in report.counts.items() if not table.startswith("customer")}
    versions = sum(number for table, number in report.counts.items() if table.endswith("_history"))
    words = ", ".join(f"{table} {number}" for table, number in others.items() if not table.endswith("_history"))
    typer.echo(f"compared {words}, and {versions} versions in the history of all")
    typer.echo(f"compared {report.customers} customers, {report.relations} relations, {report.tags} tags")
    typer.echo(str(report))
    return 0 if report.equal and foreign == 0 else 1


async def _forever(stage: Stage, changes: int, line: Line) -> int:
    typer.echo("Ctrl-C ends it.")
    await _stream(stage, changes, CHANGES_PER_SECOND, line)
    await _stream(stage, None, QUIET_CHANGES_PER_SECOND, line)
    return 0


async def _stream(stage: Stage, changes: int | None, per_second: float, line: Line) -> None:
    """Make changes at that rate, so many or without end, and show how far everything is."""
    began = time.monotonic()
    made = 0
    shown = 0.0
    while changes is None or made < changes:
        await stage.simulator.pusher.push([stage.scenario.next_change()])
        made += 1
        now = time.monotonic()
        if now - shown >= line.every:
            shown = now
            stage.service.check()
            line.show(_words(stage, await progress_of(stage.database)))
        if (ahead := made / per_second - (now - began)) > 0:
            await asyncio.sleep(ahead)


def _words(stage: Stage, progress: Progress) -> str:
    counts = stage.simulator.pusher.counts
    waiting = max(0, counts.acknowledged - progress.applied)
    return (
        f"events {counts.changes}  pushes answered 200 {counts.acknowledged}  to apply {waiting}  "
        f"to read {progress.to_read}  customers {progress.customers}  relations {progress.relations}  "
        f"tags {progress.tags}  groups {progress.groups}  employees {progress.employees}  "
        f"API calls {stage.simulator.counts.calls()}"
    )


class Line:
    """A line of counters: over and over the same one on a terminal, a new one now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._width = 0
        self._said = 0.0
        self.every = 0.5 if self._terminal else 5.0

    def show(self, text: str) -> None:
        """Show the counters as they are now."""
        if self._terminal:
            print(f"\r{text:<{self._width}}", end="", flush=True)  # noqa: T201
            self._width = len(text)
        elif time.monotonic() - self._said >= self.every:
            self._said = time.monotonic()
            print(text, flush=True)  # noqa: T201

    def end(self) -> None:
        """What comes next is on a line of its own."""
        if self._terminal and self._width:
            print(flush=True)  # noqa: T201
            self._width = 0
