"""One server as a child process: started, stopped and killed by its process id."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from tests.support.servers.janitor import PID_FILE

HOST = "127.0.0.1"
_STOPS_WITHIN = 30.0


class Server(ABC):
    """A server on a free loopback port, with its data in a temporary folder.

    ``start`` after ``stop`` or ``kill`` is a restart: same port, same data. All methods block; in a test with a loop
    that has to go on, call them in ``asyncio.to_thread``.
    """

    name: str
    account: str | None = None
    """Whom it runs as when the tests are root's; None: root itself."""
    kill_signal = signal.SIGKILL
    """Ends it without letting it finish anything."""
    ready_within = 60.0

    def __init__(self, home: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=home))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.port = free_port()
        self._account = self.account if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """What clients are given."""

    @abstractmethod
    def prepare(self) -> None:
        """Fill the data folder, which exists and is empty."""

    @abstractmethod
    def command(self) -> list[str]:
        """The server in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves its port now; ``OSError`` means no."""

    @property
    def pid(self) -> int:
        """Of the running server."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and neither stopped nor killed."""
        return self._process is not None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it and don't wait."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} is running already")
        if not self.data.exists():
            self.data.mkdir()
            if self._account is not None:
                shutil.chown(self.data, self._account, self._account)
            self.prepare()
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C ends the tests first, and they end the servers.
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self._as()
            )
        signal_name = self.kill_signal.name.removeprefix("SIG")
        (self.folder / PID_FILE).write_text(f"-{signal_name} {self._process.pid}\n")

    def wait_until_ready(self) -> None:
        """Raises with the end of the server's own log if it ends or takes too long."""
        deadline = time.monotonic() + self.ready_within
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended while it started:\n{self.last_words()}")
            try:
                if self.answers():
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise TimeoutError(f"{self.name} is not ready after {self.ready_within:.0f} s:\n{self.last_words()}")

    def stop(self) -> None:
        """Let it finish (SIGTERM); kills it and raises if it doesn't in half a minute."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(self.kill_signal)

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""

    def run(self, *command: str) -> None:
        """Run a tool that prepares the data, as the server's account; raises with its output if it fails."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as())
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _as(self) -> dict[str, Any]:
        # The working folder is one that every account may enter.
        account = self._account
        return {"cwd": self.folder} | (
            {} if account is None else {"user": account, "group": account, "extra_groups": []}
        )

    def _end(self, with_signal: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        process.send_signal(with_signal)
        # A frozen one would never see the signal.
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise TimeoutError(f"{self.name} did not end:\n{self.last_words()}") from None
        finally:
            self._process = None
            (self.folder / PID_FILE).unlink(missing_ok=True)


def free_port() -> int:
    """A loopback port that nobody uses.

    Below those that the kernel gives to outgoing connections: a client that keeps trying to reach a server that is
    away would sooner or later get the server's own port and connect to itself.
    """
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((HOST, port))
            except OSError:
                continue
            return port
