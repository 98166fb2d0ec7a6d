"""Commands that go on running: started, listened to, ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.waiting import until
from tests.support.wheel import Installed


class Running:
    """A command with all that it says in a file."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self._process = process
        self._output = output

    @property
    def said(self) -> str:
        """Everything so far, of both streams."""
        return self._output.read_text(encoding="utf-8")

    async def until_said(self, words: str, deadline: float = 60.0) -> None:
        """Wait for these words; raises ``AssertionError`` if the command ends before it says them."""
        await until(lambda: words in self.said or self._process.returncode is not None, deadline)
        assert words in self.said, f"it ended with status {self._process.returncode}"

    async def signalled(self, number: signal.Signals, deadline: float) -> int:
        """Send the signal and wait for the end; returns the exit status."""
        self._process.send_signal(number)
        async with asyncio.timeout(deadline):
            return await self._process.wait()


@asynccontextmanager
async def running(
    installed: Installed, *arguments: str, folder: Path, output: Path, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """``wecom-crm`` with these arguments runs in the block; what fails there shows the end of what it said."""
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *installed.command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=folder,
            env=installed.environ | dict(environ or {}),
        )
    command = Running(process, output)
    try:
        yield command
    except BaseException as error:
        error.add_note(f"The command's output ends so:\n{command.said[-3000:]}")
        raise
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def processes_naming(folder: Path) -> list[int]:
    """Ids of the processes whose command line has this folder in it."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdecimal() and str(folder).encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found
