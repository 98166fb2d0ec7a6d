"""kcat, a client for Kafka that shares no code with ours."""

from __future__ import annotations

import subprocess

from tests.support.servers.kafka import VARIABLE
from tests.support.servers.software import found_or_installed, program


class Kcat:
    """The command, installed if it is missing."""

    def __init__(self) -> None:
        self._program = found_or_installed("kcat", lambda: program("kcat"), ["kafkacat"], VARIABLE)

    def __call__(self, address: str, *arguments: str, given: str = "") -> str:
        """Its output for these bootstrap servers, arguments and standard input; raises with its words if it fails."""
        done = subprocess.run(
            [self._program, "-b", address, *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode != 0:
            raise RuntimeError(f"kcat failed: {done.stderr[-1000:]}")
        return done.stdout
