"""Callbacks made durable per second by one ingest process, beside a bare aiohttp echo: ``python benchmarks/ingest.py``.

Both servers stand on the same core, the load comes from another. The speed of a shared machine drifts, so slices of
the two alternate, and the figure is the median of each ingest slice over the mean of the echo's slices before and
after it. Exit status 1 if the log does not hold exactly what was answered with 200.
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
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).resolve().parent.parent
# Started as a script, not only with -m.
sys.path.insert(0, str(ROOT))

from benchmarks.deliveries import CALLBACK, CORPID, documents, write_requests  # noqa: E402

CONNECTIONS = 32
GOAL = 0.60
RESULTS = ROOT / "benchmarks" / "results"
# Not in /tmp, which may be memory: there an fsync costs nothing.
WORK = ROOT / ".build"

Slice = dict[str, float]
"""What ``callbacks.lua`` prints, ``per_second``, and the server's CPU time per answer in microseconds."""


class Failed(Exception):
    """The run shows nothing; the message says why."""


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
def running(name: str, core: int, log: Path) -> Iterator[Server]:
    """One of the servers of ``benchmarks.servers``; it is not left behind."""
    command = [sys.executable, "-m", "benchmarks.servers", name, "--core", str(core), "--log", str(log)]
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


def check(log: Path, counted: dict[str, int], seen: int, slices: int, sent: list[bytes]) -> int:
    """Compare the rows of the log with the 200s; returns their number. Raises ``Failed``."""
    known = set(sent)
    with sqlite3.connect(log) as connection:
        values = [value for (value,) in connection.execute("SELECT value FROM record")]
        (spread,) = connection.execute("SELECT max(position) - min(position) + 1 FROM record").fetchone()
    rows = len(values)
    if rows != counted["accepted"]:
        raise Failed(f"{rows} rows in the log, but {counted['accepted']} requests were answered with 200")
    # The load ends with a request in flight on each connection: kept and answered, but nobody is there to count it.
    if not seen <= rows <= seen + slices * CONNECTIONS:
        raise Failed(f"{rows} rows in the log, but {seen} answers of 200 arrived")
    if spread != rows or not known.issuperset(values):
        raise Failed("the rows of the log are not what was sent")
    return rows


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


def measure(seconds: int, slices: int, serving: int, loading: int) -> dict[str, Any]:
    """Run it all; returns what is written to the results."""
    facts = machine()
    WORK.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=WORK, prefix="benchmark-")))
        log, requests = folder / "log.sqlite", folder / "requests"
        sent = documents()
        sizes = write_requests(sent, requests)
        os.sched_setaffinity(0, {loading})
        echo = stack.enter_context(running("echo", serving, log))
        ingest = stack.enter_context(running("ingest", serving, log))
        # Warm; what is kept of it counts as well.
        load(echo, requests, 1)
        seen = load(ingest, requests, 1)["answers"]
        echoes = [load(echo, requests, seconds)]
        kept: list[Slice] = []
        for number in range(1, slices + 1):
            kept.append(load(ingest, requests, seconds))
            echoes.append(load(echo, requests, seconds))
            seen += kept[-1]["answers"]
            if sys.stderr.isatty():
                print(f"\r{number}/{slices} ", end="", file=sys.stderr, flush=True)
        counted = ingest.stop()
        rows = check(log, counted, int(seen), slices + 1, sent)
    return {
        "machine": facts,
        "load_average_after": os.getloadavg(),
        "callback": f"/callback/{CORPID}/{CALLBACK}, bodies of {sizes[0]} to {sizes[1]} bytes",
        "ratio": quartiles(beside(kept, echoes, "per_second")),
        # The other way round, so that it is comparable: how much of the echo's speed the CPU time would allow.
        "cpu_ratio": quartiles([1 / value for value in beside(kept, echoes, "cpu_us")]),
        **{f"ingest_{name}": quartiles([one[name] for one in kept]) for name in ("per_second", "p99_ms", "cpu_us")},
        **{f"echo_{name}": quartiles([one[name] for one in echoes]) for name in ("per_second", "p99_ms", "cpu_us")},
        "rows": rows,
        "accepted": counted["accepted"],
        "seen_by_client": int(seen),
        "rows_per_commit": round(rows / counted["commits"], 1),
        "ingest": kept,
        "echo": echoes,
    }


def report(result: dict[str, Any]) -> str:
    """The result in words."""

    def spread(name: str, digits: int) -> str:
        low, middle, high = result[name]
        return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"

    facts = dict(result["machine"])
    load_average = ", ".join(f"{value:.2f}" for value in facts.pop("load_average"))
    kept = (
        f"{result['rows']:,} rows in the log = {result['accepted']:,} answers of 200; {result['seen_by_client']:,} of "
        f"them arrived before the load ended; {result['rows_per_commit']} rows per commit"
    )
    lines = [
        ", ".join(f"{name} {value}" for name, value in facts.items()),
        f"load average before the run: {load_average}",
        f"{result['callback']}, {CONNECTIONS} connections, {len(result['ingest'])} slices",
        "",
        f"{'median (quartiles)':<22}{'ingest':<28}bare echo",
        f"{'answers per second':<22}{spread('ingest_per_second', 0):<28}{spread('echo_per_second', 0)}",
        f"{'p99, ms':<22}{spread('ingest_p99_ms', 1):<28}{spread('echo_p99_ms', 1)}",
        f"{'CPU per answer, us':<22}{spread('ingest_cpu_us', 0):<28}{spread('echo_cpu_us', 0)}",
        f"{'ratio of the rates':<22}{spread('ratio', 2)}; goal {GOAL:.2f}",
        f"{'ratio of CPU times':<22}{spread('cpu_ratio', 2)}",
        "",
        kept,
    ]
    return "\n".join(lines)


def main() -> int:
    """The command; returns its exit status."""
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=1, help="length of a slice (1)")
    parser.add_argument("--slices", type=int, default=60, help="slices of ingest, each between two of the echo (60)")
    parser.add_argument("--core", type=int, default=cores[0], help="of the servers; the load takes the last other one")
    parser.add_argument("--output", type=Path, default=None, help="where the raw slices are written")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk makes the load and is not here; on Debian and Ubuntu: apt-get install wrk", file=sys.stderr)
        return 2
    others = [core for core in cores if core != options.core]
    if not others or options.seconds < 1 or options.slices < 2:
        print("two cores are needed, slices of at least a second, and at least two of them", file=sys.stderr)
        return 2
    try:
        result = measure(options.seconds, options.slices, options.core, others[-1])
    except Failed as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    output = options.output or RESULTS / f"ingest-{moment}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(report(result))
    print(f"raw slices: {output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
