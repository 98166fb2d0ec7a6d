"""The installed product in a folder of its own: its configuration, its commands, its service, its files."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from core.db.engine import Database
from tests.support.wheel import Installed
from wecom.simulator.population import CorpSetup
from wecom_crm.demo_world import write_config
from wecom_crm.service_process import ServiceProcess, free_ports

COMMAND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    status: int
    out: str
    err: str


async def run_command(
    installed: Installed,
    *arguments: str,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
    deadline: float = COMMAND_SECONDS,
) -> Finished:
    """Run ``wecom-crm`` with these arguments to its end, with ``environ`` on top of the minimal environment.

    ``command`` is another way to call it. Raises ``TimeoutError`` after ``deadline`` seconds, and then it is killed.
    """
    process = await asyncio.create_subprocess_exec(
        *(command or installed.command),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=installed.environ | dict(environ or {}),
    )
    try:
        async with asyncio.timeout(deadline):
            out, err = await process.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode is None:
        raise RuntimeError("the command is there no more and has no status")
    return Finished(process.returncode, out.decode(), err.decode())


class Premises:
    """One folder with a configuration for these corps, and everything that the product keeps there."""

    def __init__(self, installed: Installed, folder: Path) -> None:
        self.installed = installed
        self.folder = folder
        self.port, self.admin_port, self.api_port = free_ports(3)
        self.config = folder / "wecom-crm.toml"
        self.data = folder / "data"
        self.log_file = self.data / "ingest-log.sqlite"
        self.crm_file = self.data / "crm.db"

    @property
    def url(self) -> str:
        """The origin of callbacks."""
        return f"http://127.0.0.1:{self.port}"

    def configure(self, corps: Sequence[CorpSetup]) -> None:
        """Write the configuration file."""
        write_config(self.config, corps, f"http://127.0.0.1:{self.api_port}", self.port, self.admin_port)

    async def run(self, *arguments: str, **options: Any) -> Finished:
        """Run a command with this configuration; see ``run_command``."""
        return await run_command(
            self.installed, "--config", str(self.config), *arguments, folder=self.folder, **options
        )

    async def migrate(self) -> None:
        """Run ``wecom-crm migrate``, which has to succeed."""
        done = await self.run("migrate")
        assert done.status == 0, done

    def service(self, services: str = "all", environ: Mapping[str, str] | None = None) -> ServiceProcess:
        """``wecom-crm serve``, not started, with ``environ`` on top of the minimal environment."""
        return ServiceProcess(
            self.config,
            self.admin_port,
            command=self.installed.command,
            services=services,
            environ=self.installed.environ | dict(environ or {}),
            folder=self.folder,
        )

    @asynccontextmanager
    async def serving(
        self, services: str = "all", *, ready: bool = True, environ: Mapping[str, str] | None = None
    ) -> AsyncIterator[ServiceProcess]:
        """The service runs in the block, or at its beginning; what fails there shows the end of its log."""
        service = self.service(services, environ)
        try:
            await (service.start() if ready else service.launch())
            yield service
        except BaseException as error:
            error.add_note(f"The service's log ends so:\n{service.last_words()}")
            raise
        finally:
            await service.kill()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """The CRM database as ``wecom_crm.comparison`` wants it."""
        database = Database(f"sqlite+aiosqlite:///{self.crm_file}")
        try:
            yield database
        finally:
            await database.close()

    def crm(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the CRM database."""
        return query(self.crm_file, statement, *values)

    def records(self) -> list[tuple[int, str, bytes]]:
        """Position, key and document of everything in the event log."""
        return query(self.log_file, "SELECT position, key, value FROM record ORDER BY position")

    def newest(self) -> int:
        """The highest position in the event log; 0 if it is empty."""
        ((position,),) = query(self.log_file, "SELECT coalesce(max(position), 0) FROM record")
        return int(position)

    def unapplied(self) -> int:
        """Records of the event log that are not applied: from both files, not from what the service says."""
        applied = self.crm("SELECT position FROM log_position")
        return self.newest() + 1 - int(applied[0][0] if applied else 1)

    async def admin(self, path: str) -> tuple[int, Any]:
        """Status and body of the admin port; JSON is decoded."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.admin_port}{path}") as answer,
        ):
            body = await (answer.json() if answer.content_type == "application/json" else answer.text())
            return answer.status, body


def query(path: Path, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of an SQLite file that belongs to somebody else: read only, and let go of at once."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as connection:
        return connection.execute(statement, values).fetchall()


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """While the block runs nobody else can write to this SQLite file, and everybody can read it."""
    with closing(sqlite3.connect(path, timeout=30.0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
