"""``wecom-crm serve all`` as a process of its own, for the demo: started, watched, stopped."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

START_SECONDS = 60.0
STOP_SECONDS = 12.0
_LAST_LINES = 15


class ServiceFailed(Exception):
    """The service did not come up, or ended by itself; the message has the end of its log."""


class ServiceProcess:
    """One process with its configuration file, and its log in a file beside that."""

    def __init__(
        self,
        config: Path,
        admin_port: int,
        *,
        command: Sequence[str] = (sys.executable, "-m", "wecom_crm"),
        services: str = "all",
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """``command`` is how ``wecom-crm`` is called; ``environ`` None passes this process's own on.

        It works in ``folder``, None: in this process's own.
        """
        self._command = [*command, "--config", str(config), "--log-format", "json", "serve", services]
        self._environ = environ
        self._folder = folder
        self._admin = f"http://127.0.0.1:{admin_port}"
        self._process: asyncio.subprocess.Process | None = None
        self.log = config.with_name(f"serve-{services}.log")

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        if self._process is None:
            raise RuntimeError("the service was not started")
        return self._process.pid

    async def launch(self) -> asyncio.subprocess.Process:
        """Start it and wait for nothing."""
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for us, and we end it in order.
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
                cwd=self._folder,
                start_new_session=True,
            )
        self._process = process
        return process

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises ``ServiceFailed``."""
        process = await self.launch()
        ready = asyncio.create_task(self._until_ready(), name="service-ready")
        ended = asyncio.create_task(process.wait(), name="service-ended")
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise ServiceFailed(f"the service was not ready after {START_SECONDS:.0f} s\n{self.last_words()}") from None
        finally:
            ready.cancel()
            ended.cancel()
        self.check()

    def check(self) -> None:
        """Raises ``ServiceFailed`` if the process has ended."""
        if self._process is not None and self._process.returncode is not None:
            status = self._process.returncode
            raise ServiceFailed(f"the service ended by itself with status {status}\n{self.last_words()}")

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL if it does not end in time; returns the exit status."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        try:
            return await self.ended(STOP_SECONDS)
        except TimeoutError:
            return await self.kill()

    async def ended(self, seconds: float) -> int:
        """Wait for its end; returns the exit status, raises ``TimeoutError`` after so long."""
        if self._process is None:
            raise RuntimeError("the service was not started")
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def kill(self) -> int:
        """SIGKILL: nothing in it gets a chance to finish."""
        if self._process is None:
            raise RuntimeError("the service was not started")
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()

    async def readiness(self) -> Mapping[str, Any]:
        """What ``/readyz`` says now."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._admin}/readyz") as response:
            answer: dict[str, Any] = await response.json()
            return answer

    def last_words(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        with self.log.open(encoding="utf-8", errors="replace") as log:
            return "".join(deque(log, _LAST_LINES))

    async def _until_ready(self) -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                if (await self.readiness()).get("status") == "ready":
                    return
            await asyncio.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
