"""Where a server's programs are, installed first if that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Asked before a package starts its service; 101 means: don't.
_POLICY = Path("/usr/sbin/policy-rc.d")


class Unavailable(Exception):
    """The server can't be had on this machine; the message says what to install."""


def found_or_installed(what: str, find: Callable[[], T | None], packages: Sequence[str], variable: str) -> T:
    """What ``find`` finds, after installing these Debian packages if it finds nothing and they can be installed.

    Raises ``Unavailable``, which also names the environment variable for the address of a server elsewhere.
    """
    found = find()
    trouble = ""
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        trouble = _install(packages)
        found = find()
    if found is None:
        names = " ".join(packages)
        raise Unavailable(f"{what} is missing: apt-get install {names}, or name a server in {variable}.{trouble}")
    return found


def program(name: str, *folders: Path) -> str | None:
    """Full path of a program, looked for in these folders, then on the PATH, then where servers are kept."""
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    return shutil.which(name, path=path)


def _install(packages: Sequence[str]) -> str:
    install = ["install", "--yes", "--no-install-recommends", *packages]
    with _no_service_started():
        done = _apt(*install)
        if done.returncode != 0:
            _apt("update")
            done = _apt(*install)
    return f" apt-get said: {done.stderr.strip()[-500:]}" if done.returncode != 0 else ""


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "--quiet", "--quiet", "--option", "DPkg::Lock::Timeout=300", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )


@contextmanager
def _no_service_started() -> Iterator[None]:
    if _POLICY.exists():
        # Somebody has decided already.
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
