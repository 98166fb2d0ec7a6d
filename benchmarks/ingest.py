"""Callbacks made durable per second by one ingest process, beside a bare aiohttp echo: ``python benchmarks/ingest.py``.

Both servers stand on the same core, the load comes from another. The speed of a shared machine drifts, so slices of
the two alternate, and the figure is the median of each ingest slice over the mean of the echo's slices before and
after it. Exit status 1 if the log does not hold exactly what was answered with 200.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Started as a script, not only with -m.
sys.path.insert(0, str(ROOT))

from benchmarks.deliveries import CALLBACK, CORPID, documents, write_requests  # noqa: E402
from benchmarks.slices import (  # noqa: E402
    CONNECTIONS,
    Failed,
    Unable,
    alternate,
    compared,
    conditions,
    keep,
    load,
    machine,
    options_of,
    running,
    table,
)

GOAL = 0.60
# Not in /tmp, which may be memory: there an fsync costs nothing.
WORK = ROOT / ".build"


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
        echo = stack.enter_context(running("servers", "echo", serving, "--log", str(log)))
        ingest = stack.enter_context(running("servers", "ingest", serving, "--log", str(log)))
        # Warm; what is kept of it counts as well.
        load(echo, requests, 1)
        warm = load(ingest, requests, 1)
        kept, echoes = alternate(ingest, echo, requests, seconds, slices)
        seen = int(sum(one["answers"] for one in (warm, *kept)))
        counted = ingest.stop()
        rows = check(log, counted, seen, slices + 1, sent)
    return {
        "machine": facts,
        "load_average_after": os.getloadavg(),
        "callback": f"/callback/{CORPID}/{CALLBACK}, bodies of {sizes[0]} to {sizes[1]} bytes",
        "rows": rows,
        "accepted": counted["accepted"],
        "seen_by_client": seen,
        "rows_per_commit": round(rows / counted["commits"], 1),
        **compared("ingest", kept, "echo", echoes),
    }


def report(result: dict[str, Any]) -> list[str]:
    """The result in words."""
    return [
        *conditions(result),
        f"{result['callback']}, {CONNECTIONS} connections, {len(result['ingest'])} slices",
        "",
        *table(result, "ingest", "echo", "bare echo", GOAL),
        "",
        (
            f"{result['rows']:,} rows in the log = {result['accepted']:,} answers of 200; {result['seen_by_client']:,} "
            f"of them arrived before the load ended; {result['rows_per_commit']} rows per commit"
        ),
    ]


def main() -> int:
    """The command; returns its exit status."""
    try:
        options, loading = options_of(__doc__)
        result = measure(options.seconds, options.slices, options.core, loading)
    except (Unable, Failed) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 2 if isinstance(error, Unable) else 1
    keep(result, "ingest", options.output, report(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
