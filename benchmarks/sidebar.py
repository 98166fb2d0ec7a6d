"""Customer page data per second beside a bare aiohttp handler with one asyncpg query: ``python benchmarks/sidebar.py``.

Both servers stand on the same core; PostgreSQL and the load share another one. Slices of the two alternate, and the
figure is the median of each slice of the sidebar over the mean of the bare handler's slices before and after it. Exit
status 1 if an answer is wrong, or a page takes more queries or bytes than it may.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

ROOT = Path(__file__).resolve().parent.parent
# Started as a script, not only with -m.
sys.path.insert(0, str(ROOT))

from benchmarks.customers import NUMBER, Ask, fill, write_requests  # noqa: E402
from benchmarks.ingest import CONNECTIONS, RESULTS, Failed, Server, Slice, beside, load, machine, quartiles  # noqa: E402
from benchmarks.page_facts import Wrong, page_facts  # noqa: E402
from core.db.engine import Database  # noqa: E402
from tests.support.databases import database_on, server_version  # noqa: E402
from tests.support.servers.janitor import watched_folder  # noqa: E402
from tests.support.servers.postgres import PostgresServer  # noqa: E402

GOAL = 0.50
MOST_QUERIES = 2
MOST_BYTES = 60_000
"""Of content, as it comes over the line."""


@contextmanager
def running(name: str, core: int, url: str) -> Iterator[Server]:
    """One of the servers of ``benchmarks.pages``; it is not left behind."""
    command = [sys.executable, "-m", "benchmarks.pages", name, "--core", str(core), "--database", url]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield Server(name, process)
    finally:
        process.kill()
        process.wait()


async def check(server: Server, asks: list[Ask]) -> None:
    """Ask for every customer, many at once, and compare. Raises ``Failed``."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:

        async def one(ask: Ask) -> str | None:
            address = URL(f"http://127.0.0.1:{server.port}{ask.path}", encoded=True)
            async with http.get(address, headers=ask.headers) as response:
                if response.status != 200:
                    return f"status {response.status}"
                got = await response.json()
            customer = got["customer"]
            right = (customer["external_userid"], customer["name"]) == (ask.external_userid, ask.name)
            if server.name == "sidebar":
                right = right and got["relation"]["remark"] == ask.remark
                right = right and (len(got["events"]), len(got["colleagues"])) == (3, 3)
                right = right and sum(len(group["tags"]) for group in got["tags"]) == 3
            return None if right else "another customer"

        wrong = [found for found in await asyncio.gather(*(one(ask) for ask in asks)) if found is not None]
    if wrong:
        raise Failed(f"{server.name}: {len(wrong)} of {len(asks)} answers are wrong, the first: {wrong[0]}")


async def measure(server: PostgresServer, seconds: int, slices: int, serving: int) -> dict[str, Any]:
    """Run it all; returns what is written to the results."""
    facts = machine() | {name: version(name) for name in ("asyncpg", "SQLAlchemy")}
    facts["postgresql"] = await server_version(server.address)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        page = await page_facts(server.address, folder)
        async with database_on(server.address) as url:
            database = Database(url)
            asks = await fill(database)
            await database.close()
            requests = folder / "requests"
            write_requests(asks, requests)
            bare = stack.enter_context(running("bare", serving, url))
            sidebar = stack.enter_context(running("sidebar", serving, url))
            for each in (bare, sidebar):
                await check(each, asks)
                # Warm.
                seen = load(each, requests, 1)["answers"]
            bares = [load(bare, requests, seconds)]
            kept: list[Slice] = []
            for number in range(1, slices + 1):
                kept.append(load(sidebar, requests, seconds))
                bares.append(load(bare, requests, seconds))
                seen += kept[-1]["answers"]
                if sys.stderr.isatty():
                    print(f"\r{number}/{slices} ", end="", file=sys.stderr, flush=True)
            for each in (bare, sidebar):
                await check(each, asks)
            counted = sidebar.stop()
            bare.stop()
    # The load ends with a request in flight on each connection: answered, but nobody is there to count it.
    least = int(seen) + 2 * len(asks)
    if counted["others"] or not least <= counted["answered"] <= least + (slices + 1) * CONNECTIONS:
        raise Failed(f"the sidebar counted {counted}, and {least} answers of 200 arrived")
    return {
        "machine": facts,
        "load_average_after": os.getloadavg(),
        "page": page,
        "ratio": quartiles(beside(kept, bares, "per_second")),
        # The other way round, so that it is comparable: how much of the bare handler's speed the CPU time would allow.
        "cpu_ratio": quartiles([1 / value for value in beside(kept, bares, "cpu_us")]),
        **{f"sidebar_{name}": quartiles([one[name] for one in kept]) for name in ("per_second", "p99_ms", "cpu_us")},
        **{f"bare_{name}": quartiles([one[name] for one in bares]) for name in ("per_second", "p99_ms", "cpu_us")},
        "answered": counted["answered"],
        "seen_by_client": int(seen),
        "sidebar": kept,
        "bare": bares,
    }


def report(result: dict[str, Any]) -> str:
    """The result in words."""

    def spread(name: str, digits: int) -> str:
        low, middle, high = result[name]
        return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"

    facts, page = dict(result["machine"]), result["page"]
    load_average = ", ".join(f"{value:.2f}" for value in facts.pop("load_average"))
    lines = [
        ", ".join(f"{name} {value}" for name, value in facts.items()),
        f"load average before the run: {load_average}",
        f"{NUMBER} customers, {CONNECTIONS} connections, {len(result['sidebar'])} slices",
        "",
        f"{'median (quartiles)':<22}{'sidebar':<28}bare handler",
        f"{'answers per second':<22}{spread('sidebar_per_second', 0):<28}{spread('bare_per_second', 0)}",
        f"{'p99, ms':<22}{spread('sidebar_p99_ms', 1):<28}{spread('bare_p99_ms', 1)}",
        f"{'CPU per answer, us':<22}{spread('sidebar_cpu_us', 0):<28}{spread('bare_cpu_us', 0)}",
        f"{'ratio of the rates':<22}{spread('ratio', 2)}; goal {GOAL:.2f}",
        f"{'ratio of CPU times':<22}{spread('cpu_ratio', 2)}",
        "",
        (
            f"{page['queries_per_page']:g} queries and {page['round_trips_per_page']:g} round trips per page; "
            f"first load {page['first_load_bytes']:,} bytes of content in {page['first_load_requests']} answers, "
            f"and {page['first_load_headers']:,} of headers; unpacked {page['first_load_unpacked']:,}"
        ),
    ]
    return "\n".join(lines)


def main() -> int:
    """The command; returns its exit status."""
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=1, help="length of a slice (1)")
    parser.add_argument("--slices", type=int, default=60, help="slices of the sidebar, each between two others (60)")
    parser.add_argument("--core", type=int, default=cores[0], help="of the servers; the rest takes the last other one")
    parser.add_argument("--output", type=Path, default=None, help="where the raw slices are written")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk makes the load and is not here; on Debian and Ubuntu: apt-get install wrk", file=sys.stderr)
        return 2
    others = [core for core in cores if core != options.core]
    if not others or options.seconds < 1 or options.slices < 2:
        print("two cores are needed, slices of at least a second, and at least two of them", file=sys.stderr)
        return 2
    # PostgreSQL and wrk inherit it.
    os.sched_setaffinity(0, {others[-1]})
    try:
        with watched_folder() as home:
            server = PostgresServer(home, durable=False)
            server.start()
            try:
                result = asyncio.run(measure(server, options.seconds, options.slices, options.core))
            finally:
                server.stop()
    except (Failed, Wrong) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    output = options.output or RESULTS / f"sidebar-{moment}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(report(result))
    print(f"raw slices: {output}")
    page = result["page"]
    if page["queries_per_page"] > MOST_QUERIES or page["first_load_bytes"] > MOST_BYTES:
        print(f"a page may take {MOST_QUERIES} queries and {MOST_BYTES:,} bytes at first", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
