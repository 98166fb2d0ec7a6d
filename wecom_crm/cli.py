"""The command line: what the user types, and nothing about how it is done."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import uvloop

from core.logs import configure
from core.settings import Settings, SettingsError, load
from wecom_crm import __version__

# Never typer's own tracebacks: they show local variables, and some of those are secrets.
app = typer.Typer(
    name="wecom-crm",
    help="Keeps CRM tables equal to what WeCom (企业微信) says about your customers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

topics = typer.Typer(help="The topic of the events, in Kafka mode.", no_args_is_help=True)
app.add_typer(topics, name="topics")

EXIT_CONFIGURATION = 2


class Services(StrEnum):
    """What one process can run."""

    ALL = "all"
    INGEST = "ingest"
    SYNC = "sync"
    SIDEBAR = "sidebar"


class LogFormat(StrEnum):
    """How log lines look; ``auto`` is text on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True)
class Options:
    """What stands before the command's name."""

    config: Path | None

    def settings(self) -> Settings:
        """The configuration; ends the command with every problem if it can't be used."""
        try:
            return load(self.config, os.environ)
        except SettingsError as error:
            typer.echo("The configuration can't be used:", err=True)
            for problem in error.problems:
                typer.echo(f"  - {problem}", err=True)
            raise typer.Exit(EXIT_CONFIGURATION) from None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wecom-crm {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(help="The configuration file; else $WECOM_CRM_CONFIG, else ./wecom-crm.toml.", show_default=False),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="Log lines as JSON or as text.")] = LogFormat.AUTO,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    _show: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    level = log_level.upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise typer.BadParameter("must be DEBUG, INFO, WARNING or ERROR", param_hint="--log-level")
    as_json = log_format is LogFormat.JSON or (log_format is LogFormat.AUTO and not sys.stderr.isatty())
    configure(json=as_json, level=level)
    context.obj = Options(config)


@app.command()
def serve(
    context: typer.Context,
    services: Annotated[
        Services,
        typer.Argument(
            help="all: one process for everything; ingest: only receive and keep; sync: only apply; "
            "sidebar: only the pages in the chat."
        ),
    ] = Services.ALL,
) -> None:
    """Run the services until SIGTERM or Ctrl-C."""
    from wecom_crm.serve import serve as run_services

    settings = _options(context).settings()
    wanted = {name: services in {Services.ALL, name} for name in (Services.INGEST, Services.SYNC, Services.SIDEBAR)}
    _run(run_services(settings, **{name.value: flag for name, flag in wanted.items()}))


@app.command()
def migrate(context: typer.Context) -> None:
    """Bring the database to the schema of this release."""
    from wecom_crm.migrate import run_migrate

    settings = _options(context).settings()
    _run(run_migrate(settings))


@app.command("analyst-role")
def analyst_role(context: typer.Context) -> None:
    """Print the SQL of a role that reads the views for analysts only, for the configured database."""
    from wecom_crm.analyst_role import print_role_script

    raise typer.Exit(print_role_script(_options(context).settings()))


@app.command()
def demo(
    once: Annotated[bool, typer.Option(help="A fixed run that ends with a comparison, instead of going on.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its files.")] = Path("demo-data"),
    changes: Annotated[int, typer.Option(min=1, help="Events at first, or in all with --once.")] = 2000,
    seed: Annotated[int, typer.Option(help="Another number, another story.")] = 1,
) -> None:
    """Run everything against a small WeCom of its own."""
    from wecom_crm.demo import demo as run_demo

    _run(run_demo(once=once, folder=folder.absolute(), changes=changes, seed=seed))


@app.command()
def simulate(
    context: typer.Context,
    rate: Annotated[float, typer.Option(min=0.0, max=100.0, help="Changes per second that it makes by itself.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Another number, other people.")] = 1,
) -> None:
    """Run a small WeCom for the corps of the configuration, where [wecom] api_base_url points to."""
    from wecom_crm.simulate import simulate as run_simulator

    settings = _options(context).settings()
    _run(run_simulator(settings, rate=rate, seed=seed))


@app.command()
def relay(
    context: typer.Context,
    position: Annotated[
        int, typer.Option("--from", min=1, help="Position in ingest's own log; 1 for all that is kept.")
    ],
) -> None:
    """Publish deliveries to Kafka once more, after the topic has lost some."""
    from wecom_crm.relay import run_relay

    _run(run_relay(_options(context).settings(), position))


@topics.command("create")
def topics_create(
    context: typer.Context,
    add_partitions: Annotated[
        bool, typer.Option(help="Add partitions to a topic that has fewer than the configuration says.")
    ] = False,
) -> None:
    """Make the topic as the configuration says; one that exists is compared and left as it is."""
    from wecom_crm.topics import run_create

    _run(run_create(_options(context).settings(), more_partitions=add_partitions))


@topics.command("check")
def topics_check(context: typer.Context) -> None:
    """Compare the topic with the configuration, and say what is wrong with it."""
    from wecom_crm.topics import run_check

    _run(run_check(_options(context).settings()))


def main() -> NoReturn:
    """Entry of the command ``wecom-crm``."""
    app(prog_name="wecom-crm")
    raise SystemExit(0)


def _options(context: typer.Context) -> Options:
    found = context.obj
    if not isinstance(found, Options):
        raise TypeError("the command was called without its options")
    return found


def _run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run ``work`` on uvloop and exit with its status."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(work)
    raise typer.Exit(status)
