"""A back-up of a PostgreSQL database, made and put back with PostgreSQL's own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sqlalchemy import make_url, text

from tests.support.databases import administration
from tests.support.servers.postgres import VARIABLE
from tests.support.servers.software import found_or_installed, program


class PostgresBackup:
    """A file with the whole content of the database at one address. The methods that are not async block."""

    def __init__(self, url: str, file: Path) -> None:
        self._url = make_url(url)
        self._file = file
        self._dump, self._restore = found_or_installed("pg_dump", _programs, ["postgresql-client"], VARIABLE)

    def make(self) -> None:
        """Write the file; whoever uses the database goes on."""
        self._run(self._dump, "--format=custom", f"--file={self._file}")

    async def recreate(self, server: str) -> None:
        """Drop the database, whoever is connected, and make it empty; ``server`` is for who may do that."""
        async with administration(server) as conn:
            await conn.execute(text(f"DROP DATABASE {self._url.database} WITH (FORCE)"))
            await conn.execute(text(f"CREATE DATABASE {self._url.database}"))

    def put_back(self) -> None:
        """Fill the empty database from the file."""
        self._run(self._restore, "--exit-on-error", str(self._file))

    def _run(self, tool: str, *arguments: str) -> None:
        address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        done = subprocess.run([tool, f"--dbname={address}", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{Path(tool).name} failed:\n{done.stderr[-2000:]}")


def _programs() -> tuple[str, str] | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]), reverse=True)
    dump, restore = program("pg_dump", *folders), program("pg_restore", *folders)
    return (dump, restore) if dump and restore else None
