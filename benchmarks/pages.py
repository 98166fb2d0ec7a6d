"""The two servers that ``benchmarks.sidebar`` compares: ``python -m benchmarks.pages bare|sidebar ...``.

A server prints its port as one line of JSON when it listens, and what it counted when it was ended with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from typing import Any

import asyncpg
import uvloop
from aiohttp import web

from benchmarks.customers import CORPID, configuration
from core.credentials import CredentialStore
from core.db.engine import Database
from core.health import Health
from core.logs import configure
from core.metrics import Metrics
from ingest.server import serve
from sidebar.app import create_app
from wecom.client import WeComClient

HOST = "127.0.0.1"
POOL = 10
"""What ``wecom-crm serve sidebar`` keeps; the bare server has as many."""
_CUSTOMER = "SELECT name, avatar, type, gender, position, corp_name FROM customer WHERE corpid = $1 AND userid = $2"


async def bare(stopping: asyncio.Event, url: str) -> dict[str, int]:
    """The ceiling: aiohttp without even its router, one query of one row by its key, and JSON.

    The pool does not reset a connection on its return, which would be a second round trip.
    """
    pool = await asyncpg.create_pool(url.replace("+asyncpg", ""), min_size=POOL, max_size=POOL, reset=_keep)

    async def answer(request: web.BaseRequest) -> web.Response:
        external_userid = request.path.rpartition("/")[2]
        async with pool.acquire() as conn:
            row = await conn.fetchrow(_CUSTOMER, CORPID, external_userid)
        if row is None:
            return web.Response(status=404)
        return web.json_response({"customer": {"external_userid": external_userid, **row}})

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        _ready(*runner.addresses[0])
        await stopping.wait()
    finally:
        await runner.cleanup()
        await pool.close()
    return {}


async def sidebar(stopping: asyncio.Event, url: str) -> dict[str, int]:
    """The product: its application, its listener and its pool, put together as ``wecom-crm serve sidebar`` does."""
    settings, metrics, health = configuration(), Metrics(), Health()
    database = Database(url, pool_size=POOL)
    store = CredentialStore(database, settings.service.secret_key.get_secret_value())
    async with WeComClient(base_url=settings.wecom.api_base_url, secrets={}, store=store, observer=metrics) as client:
        app = create_app(settings, database, client, metrics, health)
        await serve(app, HOST, 0, stopping, ready=_ready)
    await database.close()
    counted: dict[str, int] = {"answered": 0, "others": 0}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name == "wecom_crm_sidebar_requests_total":
                right = sample.labels == {"route": "customer", "status": "200"}
                counted["answered" if right else "others"] += int(sample.value)
    return counted


async def _keep(_conn: Any) -> None:
    """No reset."""


def _ready(_host: str, port: int) -> None:
    print(json.dumps({"port": port}), flush=True)


async def _main(name: str, url: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    counted = await (bare(stopping, url) if name == "bare" else sidebar(stopping, url))
    print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("bare", "sidebar"))
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--database", required=True)
    options = parser.parse_args()
    # Before any thread: all of them inherit it.
    os.sched_setaffinity(0, {options.core})
    configure(json=True, level="WARNING")
    uvloop.run(_main(options.name, options.database))
