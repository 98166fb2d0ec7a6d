"""Two servers on one core, slices of load that alternate, and what they say: for the benchmarks that compare rates.

The speed of a shared machine drifts, so each slice of ours stands beside the mean of the other server's slices before
and after it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 32
RESULTS = ROOT / "benchmarks" / "results"
_FIGURES = ("per_second", "p99_ms", "cpu_us")

Slice = dict[str, float]
"""What ``callbacks.lua`` prints, ``per_second``, and the server's CPU time per answer in microseconds."""


class Failed(Exception):
    """The run shows nothing; the message says why."""


class Unable(Exception):
    """The run can't be made here, or not as it is wanted; the message says what helps. Exit status 2."""


class Server:
    """One of the two, running."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process
        self._output = cast("IO[str]", process.stdout)
        self.port = int(self._said()["port"])

    def cpu_seconds(self) -> float:
        """CPU time that its threads have used so far."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9

    def stop(self) -> dict[str, int]:
        """End it with SIGTERM; returns what it counted."""
        self._process.send_signal(signal.SIGTERM)
        counted = self._said()
        if self._process.wait(30) != 0:
            raise Failed(f"the {self.name} server ended with status {self._process.returncode}")
        return counted

    def _said(self) -> dict[str, int]:
        line = self._output.readline()
        if not line:
            raise Failed(f"the {self.name} server ended too early")
        return cast("dict[str, int]", json.loads(line))


@contextmanager
def running(module: str, name: str, core: int, *arguments: str) -> Iterator[Server]:
    """One of the servers of a module of ``benchmarks``; it is not left behind."""
    command = [sys.executable, "-m", f"benchmarks.{module}", name, "--core", str(core), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield Server(name, process)
    finally:
        process.kill()
        process.wait()


def load(server: Server, requests: Path, seconds: int) -> Slice:
    """Send requests for so long, on new connections."""
    url = f"http://127.0.0.1:{server.port}/"
    script = str(ROOT / "benchmarks" / "callbacks.lua")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script, url, "--", str(requests)]
    before = server.cpu_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    used = server.cpu_seconds() - before
    if done.returncode != 0:
        raise Failed(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    found: Slice = json.loads(done.stdout.splitlines()[-1])
    if found["refused"] or found["broken"]:
        raise Failed(f"{server.name}: {found['refused']} answers are no 200, {found['broken']} connections failed")
    if not found["answers"]:
        raise Failed(f"{server.name}: no answer in {seconds} s")
    return found | {
        "per_second": round(found["answers"] / found["microseconds"] * 1e6, 1),
        "cpu_us": round(used / found["answers"] * 1e6, 2),
    }


def alternate(
    ours: Server, other: Server, requests: Path, seconds: int, slices: int
) -> tuple[list[Slice], list[Slice]]:
    """So many slices of ours, each between two of the other."""
    others = [load(other, requests, seconds)]
    kept: list[Slice] = []
    for number in range(1, slices + 1):
        kept.append(load(ours, requests, seconds))
        others.append(load(other, requests, seconds))
        if sys.stderr.isatty():
            print(f"\r{number}/{slices} ", end="", file=sys.stderr, flush=True)
    return kept, others


def compared(ours: str, kept: list[Slice], other: str, others: list[Slice]) -> dict[str, Any]:
    """Ratios and figures of both, as lower quartile, median and upper quartile, and the raw slices."""
    return {
        "ratio": quartiles(beside(kept, others, "per_second")),
        # The other way round, so that it is comparable: how much of the other's speed the CPU time would allow.
        "cpu_ratio": quartiles([1 / value for value in beside(kept, others, "cpu_us")]),
        **{f"{ours}_{name}": quartiles([one[name] for one in kept]) for name in _FIGURES},
        **{f"{other}_{name}": quartiles([one[name] for one in others]) for name in _FIGURES},
        ours: kept,
        other: others,
    }


def conditions(result: dict[str, Any]) -> list[str]:
    """The machine, in two lines."""
    facts = dict(result["machine"])
    load_average = ", ".join(f"{value:.2f}" for value in facts.pop("load_average"))
    return [
        ", ".join(f"{name} {value}" for name, value in facts.items()),
        f"load average before the run: {load_average}",
    ]


def table(result: dict[str, Any], ours: str, other: str, title: str, goal: float) -> list[str]:
    """What ``compared`` found, in lines; ``title`` is what the other is called."""

    def spread(name: str, digits: int) -> str:
        low, middle, high = result[name]
        return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"

    return [
        f"{'median (quartiles)':<22}{ours:<28}{title}",
        f"{'answers per second':<22}{spread(f'{ours}_per_second', 0):<28}{spread(f'{other}_per_second', 0)}",
        f"{'p99, ms':<22}{spread(f'{ours}_p99_ms', 1):<28}{spread(f'{other}_p99_ms', 1)}",
        f"{'CPU per answer, us':<22}{spread(f'{ours}_cpu_us', 0):<28}{spread(f'{other}_cpu_us', 0)}",
        f"{'ratio of the rates':<22}{spread('ratio', 2)}; goal {goal:.2f}",
        f"{'ratio of CPU times':<22}{spread('cpu_ratio', 2)}",
    ]


def options_of(description: str | None) -> tuple[argparse.Namespace, int]:
    """What the user wants, and the core for everything but the servers. Raises ``Unable``."""
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=1, help="length of a slice (1)")
    parser.add_argument("--slices", type=int, default=60, help="slices of ours, each between two of the other (60)")
    parser.add_argument("--core", type=int, default=cores[0], help="of the servers; the rest takes the last other one")
    parser.add_argument("--output", type=Path, default=None, help="where the raw slices are written")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise Unable("wrk makes the load and is not here; on Debian and Ubuntu: apt-get install wrk")
    others = [core for core in cores if core != options.core]
    if not others or options.seconds < 1 or options.slices < 2:
        raise Unable("two cores are needed, slices of at least a second, and at least two of them")
    return options, others[-1]


def keep(result: dict[str, Any], name: str, output: Path | None, lines: Sequence[str]) -> None:
    """Write the raw figures, and show ``lines``."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    output = output or RESULTS / f"{name}-{moment}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(lines))
    print(f"raw figures: {output}")


def quartiles(values: list[float]) -> list[float]:
    """The lower quartile, the median and the upper quartile."""
    return [round(value, 3) for value in statistics.quantiles(values, n=4, method="inclusive")]


def beside(kept: list[Slice], echoes: list[Slice], name: str) -> list[float]:
    """Each slice over the mean of the two slices of the echo around it."""
    around = pairwise(echoes)
    return [one[name] * 2 / (before[name] + after[name]) for one, (before, after) in zip(kept, around, strict=True)]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    names = ("aiohttp", "uvloop", "pycryptodome")
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in names},
        "load_average": os.getloadavg(),
    }
