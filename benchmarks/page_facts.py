"""What one customer page costs, counted and not timed: queries, round trips to PostgreSQL, bytes of the first load."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.databases import database_on
from tests.support.round_trips import RoundTrips
from tests.support.sidebar import LEVEL, Seen, Tab, sidebar_bench

_LINKED = re.compile(r'(?:href|src)="(/[^"]+)"')
_IMPORTED = re.compile(r"""(?:from|import\()\s*['"]\./([^'"]+)['"]""")
_LOADS = 20


class Wrong(Exception):
    """The page is not what it should be; the message says how."""


async def page_facts(server: str, folder: Path) -> dict[str, Any]:
    """Open the page in the product with the simulator as its platform, on a new database of this PostgreSQL."""
    async with database_on(server) as url:
        trips = RoundTrips(url)
        async with (
            trips.run() as address,
            sidebar_bench(folder, url=address, sync=False) as bench,
            # What came over the line, not what it is unpacked to.
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as http,
        ):
            await bench.acquaint(remark="小林")
            bench.world.mark("ww1", "wmA", "ZhangSan", add=[LEVEL])
            await bench.know()
            bench.http = http
            tab = bench.browser().tab()
            loaded = await _first_load(tab)
            queries, round_trips = await _costs(tab, trips)
            return {
                "queries_per_page": queries,
                "round_trips_per_page": round_trips,
                "first_load_bytes": sum(len(seen.body) for seen in loaded),
                "first_load_headers": sum(_headers(seen) for seen in loaded),
                "first_load_unpacked": sum(len(_unpacked(seen)) for seen in loaded),
                "first_load_requests": len(loaded),
            }


async def _first_load(tab: Tab) -> Sequence[Seen]:
    """Everything that a client with nothing in its cache gets from us: page, login, files, signatures, customer."""
    browser = tab.browser
    browser.bench.seen.clear()
    page = await tab.open()
    files = [
        await browser.get(path, **{"Accept-Encoding": "gzip"}) for path in _LINKED.findall(_unpacked(page).decode())
    ]
    names = {seen.url.split("/static/")[1].partition("/")[2] for seen in files}
    for seen in files:
        if seen.url.endswith(".js"):
            missing = set(_IMPORTED.findall(_unpacked(seen).decode())) - names
            if missing and "/vendor/" not in seen.url:
                raise Wrong(f"the page does not name {', '.join(sorted(missing))}, which {seen.url} imports")
    await tab.sign(kind="config")
    await tab.sign(kind="agent")
    await tab.customer()
    loaded = list(browser.bench.seen)
    wrong = [f"{seen.url} {seen.status}" for seen in loaded if seen.status not in (200, 302)]
    if wrong or len(files) < 10:
        raise Wrong(f"the first load went wrong: {wrong or 'too few files'}")
    return loaded


async def _costs(tab: Tab, trips: RoundTrips) -> tuple[float, float]:
    """Queries and round trips of one page's data, when everything is warm."""
    for count in (3, _LOADS):
        queries, round_trips = trips.commands, trips.count
        for _ in range(count):
            seen = await tab.customer()
            if seen.status != 200 or seen.json()["customer"]["name"] != "Anna of ww1":
                raise Wrong(f"the customer's answer is {seen.status}")
    return (trips.commands - queries) / _LOADS, (trips.count - round_trips) / _LOADS


def _unpacked(seen: Seen) -> bytes:
    return gzip.decompress(seen.body) if seen.headers.get("Content-Encoding") == "gzip" else seen.body


def _headers(seen: Seen) -> int:
    """Bytes of status line and headers."""
    fields = [*seen.headers.items(), *(("Set-Cookie", line) for line in seen.set_cookies[1:])]
    return sum(len(f"{name}: {value}\r\n".encode()) for name, value in fields) + len("HTTP/1.1 200 OK\r\n\r\n")
