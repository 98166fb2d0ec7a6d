"""The wheel as a user gets it: built from a clean copy, installed into a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FETCHED = Path("sidebar", "static", "vendor")
"""The page's third-party files."""
_MADE = frozenset({"demo-data", "data", "build", "dist", "node_modules"})


@dataclass(frozen=True, slots=True)
class Installed:
    """An installation: ``site`` has the packages and ``bin``, ``home`` is an empty home folder.

    ``sources`` are the names of the files that it was built from.
    """

    site: Path
    home: Path
    wheel: Path
    sources: frozenset[str]

    @property
    def command(self) -> tuple[str, ...]:
        """How ``wecom-crm`` is called: the console script of the wheel, with this interpreter."""
        return sys.executable, str(self.site / "bin" / "wecom-crm")

    @property
    def environ(self) -> dict[str, str]:
        """A whole environment: dependencies are the interpreter's, our code is the wheel's, nothing else is inherited.

        Warnings are printed, so that a log can be held to have none.
        """
        return {
            "HOME": str(self.home),
            "PATH": os.defpath,
            "PYTHONPATH": str(self.site),
            "PYTHONWARNINGS": "default",
        }


def build_and_install(folder: Path) -> Installed:
    """Build the wheel and install it below ``folder``; takes some seconds. Raises with the tool's own words."""
    source, made, site, home = (folder / name for name in ("source", "dist", "site", "home"))
    names = [path.relative_to(ROOT) for path in project_files()]
    for name in names:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    if (ROOT / FETCHED).is_dir():
        # Git ignores them, and the build fetches them if they are not there.
        shutil.copytree(ROOT / FETCHED, source / FETCHED)
    home.mkdir()
    _python("-m", "hatchling", "build", "-t", "wheel", "-d", str(made), folder=source)
    (wheel,) = made.glob("*.whl")
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    _python(*install, "--target", str(site), str(wheel), folder=folder)
    return Installed(site, home, wheel, frozenset(str(name) for name in names))


def project_files() -> Iterator[Path]:
    """What git tracks or would track; in an unpacked archive everything that does not look made."""
    git = shutil.which("git")
    if git is not None:
        listing = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(listing, cwd=ROOT, check=False, capture_output=True, text=True)
        if listed.returncode == 0:
            yield from (
                path for name in sorted(set(listed.stdout.split("\0"))) if name and (path := ROOT / name).is_file()
            )
            return
    for place in sorted(ROOT.iterdir()):
        # Folders that begin with a dot are tools'; files that do so (.npmrc) may be needed.
        if place.name not in _MADE and not (place.is_dir() and place.name.startswith(".")):
            found = place.rglob("*") if place.is_dir() else (place,)
            yield from (path for path in found if path.is_file() and not _is_made(path.relative_to(ROOT)))


def _is_made(name: Path) -> bool:
    return "__pycache__" in name.parts or name.is_relative_to(FETCHED)


def _python(*arguments: str, folder: Path) -> None:
    # With the developer's environment: the build may have to fetch something through their proxy.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, check=False, capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        raise RuntimeError(f"python {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
