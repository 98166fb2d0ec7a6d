"""The wheel holds everything that runs, and what runs is the wheel."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.support.product import run_command
from tests.support.wheel import FETCHED, Installed

pytestmark = pytest.mark.asyncio

PACKAGES = ("wecom", "core", "ingest", "sync", "sidebar", "wecom_crm", "migrations")


async def test_every_file_of_every_package_is_in_it_and_nothing_else(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    inside = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    ours = {name for name in inside if not name.startswith(f"{FETCHED}/")}
    assert ours == {name for name in installed.sources if name.partition("/")[0] in PACKAGES}
    assert {name.partition("/")[0] for name in inside} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES if package != "migrations"} <= inside
    assert {"migrations/env.py", "migrations/script.py.mako"} <= inside
    assert any(name.startswith("migrations/versions/r0001") for name in inside)


async def test_what_runs_is_the_wheel(installed: Installed, tmp_path: Path) -> None:
    # As a program of the command's own would see it: same interpreter, same environment, a folder elsewhere.
    script = (
        "import importlib, json, sys; print(json.dumps([importlib.import_module(n).__file__ for n in sys.argv[1:]]))"
    )
    python = (installed.command[0], "-c", script)
    done = await run_command(installed, *PACKAGES, folder=tmp_path, command=python)
    assert done.status == 0, done
    found = [Path(name) for name in json.loads(done.out)]
    assert [path.parent for path in found] == [installed.site / name for name in PACKAGES]


@pytest.mark.parametrize("way", ["script", "module"])
async def test_version_and_help(installed: Installed, tmp_path: Path, way: str) -> None:
    command = installed.command if way == "script" else (installed.command[0], "-m", "wecom_crm")
    version = await run_command(installed, "--version", folder=tmp_path, command=command)
    assert (version.status, version.out, version.err) == (0, f"wecom-crm {_version(installed)}\n", "")
    told = await run_command(installed, "--help", folder=tmp_path, command=command)
    assert (told.status, told.err) == (0, "")
    for name in ("serve", "migrate", "demo", "simulate", "--config", "--log-format"):
        assert name in told.out
    assert list(tmp_path.iterdir()) == []


def _version(installed: Installed) -> str:
    return installed.wheel.name.split("-")[1]
