"""PostgreSQL for the test run."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.support.servers.process import HOST, Server
from tests.support.servers.software import found_or_installed, program

VARIABLE = "WECOM_CRM_TEST_POSTGRES"


class PostgresServer(Server):
    """A PostgreSQL of one's own; it refuses to run as root."""

    name = "postgres"
    account = "postgres"
    # The immediate shutdown: nothing is finished, the next start recovers. SIGKILL would leave the children behind.
    kill_signal = signal.SIGQUIT

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        """``durable=False`` is faster and may lose everything in a crash of the machine, not of the server."""
        self._programs = found_or_installed("PostgreSQL", _programs, ["postgresql"], VARIABLE)
        self._durable = durable
        super().__init__(home)

    @property
    def address(self) -> str:
        """Address for a user who may create databases."""
        return f"postgresql+asyncpg://postgres@{HOST}:{self.port}/postgres"

    def prepare(self) -> None:
        sync = () if self._durable else ("--no-sync",)
        self.run(
            str(self._programs / "initdb"),
            *("--pgdata", str(self.data), "--username=postgres", "--auth=trust", "--encoding=UTF8"),
            *("--locale=C.UTF-8", *sync),
        )

    def command(self) -> list[str]:
        settings = {"port": self.port, "listen_addresses": HOST, "unix_socket_directories": ""}
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._programs / "postgres"), "-D", str(self.data), *options]

    def answers(self) -> bool:
        asked = [str(self._programs / "pg_isready"), "--quiet", f"--host={HOST}", f"--port={self.port}"]
        asked += ["--username=postgres", "--dbname=postgres", "--timeout=1"]
        return subprocess.run(asked, check=False).returncode == 0

    def stop(self) -> None:
        """Let it finish; its SIGTERM would wait for every client to leave, SIGINT sends them away."""
        self._end(signal.SIGINT)


def _programs() -> Path | None:
    # Debian keeps them apart by version and off the PATH; the newest counts.
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    found = str(debian[-1]) if debian else program("postgres")
    return Path(found).parent if found else None
