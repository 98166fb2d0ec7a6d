"""Customer page data per second beside a bare aiohttp handler with one asyncpg query: ``python benchmarks/sidebar.py``.

Both servers stand on the same core; PostgreSQL and the load share another one. Slices of the two alternate, and the
figure is the median of each slice of the sidebar over the mean of the bare handler's slices before and after it. Exit
status 1 if an answer is wrong, or a page takes more queries or bytes than it may.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

ROOT = Path(__file__).resolve().parent.parent
# Started as a script, not only with -m.
sys.path.insert(0, str(ROOT))

from benchmarks.customers import NUMBER, Ask, fill, write_requests  # noqa: E402
from benchmarks.page_facts import Wrong, page_facts  # noqa: E402
from benchmarks.slices import (  # noqa: E402
    CONNECTIONS,
    Failed,
    Server,
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
from core.db.engine import Database  # noqa: E402
from tests.support.databases import database_on, server_version  # noqa: E402
from tests.support.servers.janitor import watched_folder  # noqa: E402
from tests.support.servers.postgres import PostgresServer  # noqa: E402

GOAL = 0.50
MOST_QUERIES = 2
MOST_BYTES = 60_000
"""Of content, as it comes over the line."""


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
            bare = stack.enter_context(running("pages", "bare", serving, "--database", url))
            sidebar = stack.enter_context(running("pages", "sidebar", serving, "--database", url))
            for each in (bare, sidebar):
                await check(each, asks)
            # Warm.
            load(bare, requests, 1)
            warm = load(sidebar, requests, 1)
            kept, bares = alternate(sidebar, bare, requests, seconds, slices)
            for each in (bare, sidebar):
                await check(each, asks)
            counted = sidebar.stop()
            bare.stop()
    # The load ends with a request in flight on each connection: answered, but nobody is there to count it.
    seen = int(sum(one["answers"] for one in (warm, *kept)))
    least = seen + 2 * len(asks)
    if counted["others"] or not least <= counted["answered"] <= least + (slices + 1) * CONNECTIONS:
        raise Failed(f"the sidebar counted {counted}, and {least} answers of 200 arrived")
    return {
        "machine": facts,
        "load_average_after": os.getloadavg(),
        "page": page,
        "answered": counted["answered"],
        "seen_by_client": seen,
        **compared("sidebar", kept, "bare", bares),
    }


def report(result: dict[str, Any]) -> list[str]:
    """The result in words."""
    page = result["page"]
    return [
        *conditions(result),
        f"{NUMBER} customers, {CONNECTIONS} connections, {len(result['sidebar'])} slices",
        "",
        *table(result, "sidebar", "bare", "bare handler", GOAL),
        "",
        (
            f"{page['queries_per_page']:g} queries and {page['round_trips_per_page']:g} round trips per page; "
            f"first load {page['first_load_bytes']:,} bytes of content in {page['first_load_requests']} answers, "
            f"and {page['first_load_headers']:,} of headers; unpacked {page['first_load_unpacked']:,}"
        ),
    ]


def main() -> int:
    """The command; returns its exit status."""
    try:
        options, rest = options_of(__doc__)
        # PostgreSQL and wrk inherit it.
        os.sched_setaffinity(0, {rest})
        with watched_folder() as home:
            server = PostgresServer(home, durable=False)
            server.start()
            try:
                result = asyncio.run(measure(server, options.seconds, options.slices, options.core))
            finally:
                server.stop()
    except (Unable, Failed, Wrong) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 2 if isinstance(error, Unable) else 1
    keep(result, "sidebar", options.output, report(result))
    page = result["page"]
    if page["queries_per_page"] > MOST_QUERIES or page["first_load_bytes"] > MOST_BYTES:
        print(f"a page may take {MOST_QUERIES} queries and {MOST_BYTES:,} bytes at first", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
