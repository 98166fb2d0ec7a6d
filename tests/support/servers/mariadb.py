"""MariaDB for the test run."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support.servers.process import HOST, Server
from tests.support.servers.software import found_or_installed, program

VARIABLE = "WECOM_CRM_TEST_MARIADB"


class MariadbServer(Server):
    """A MariaDB of one's own."""

    name = "mariadb"
    account = "mysql"

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        """``durable=False`` is faster and may lose everything in a crash of the machine, not of the server."""
        self._server, self._installer = found_or_installed("MariaDB", _programs, ["mariadb-server"], VARIABLE)
        self._durable = durable
        super().__init__(home)

    @property
    def address(self) -> str:
        """Address for a user who may create databases."""
        return f"mysql+asyncmy://root@{HOST}:{self.port}/mysql"

    def prepare(self) -> None:
        # As the account already, so --user, which only root may give, is not needed.
        self.run(
            self._installer,
            *("--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", "--skip-name-resolve"),
        )

    def command(self) -> list[str]:
        speed = ["--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=OFF"]
        # Every CREATE and DROP waits for the disk several times without these.
        speed += ["--innodb-flush-method=nosync", "--debug-no-sync"]
        return [
            *(self._server, "--no-defaults", f"--datadir={self.data}", f"--port={self.port}", f"--bind-address={HOST}"),
            # Relative to the data folder: an absolute one may be longer than a socket's name can be.
            *("--socket=s.sock", "--pid-file=mariadb.pid", "--skip-name-resolve"),
            *(() if self._durable else speed),
            # Not /tmp: a server that starts removes there what others have on disk of their temporary tables.
            f"--tmpdir={self.data}",
        ]

    def answers(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            # It speaks first; the fifth byte is the protocol's version.
            return connection.recv(5)[4:] == b"\x0a"


def _programs() -> tuple[str, str] | None:
    server, installer = program("mariadbd"), program("mariadb-install-db")
    return (server, installer) if server and installer else None
