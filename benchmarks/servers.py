"""The two servers that are compared, each a process of its own: ``python -m benchmarks.servers echo|ingest ...``.

A server prints its port as one line of JSON when it listens, and what it counted when it was ended with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path

import uvloop
from aiohttp import web

from benchmarks.deliveries import CALLBACK, CORPID, crypto
from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.logs import configure
from core.metrics import Metrics
from ingest.app import create_app
from ingest.keys import KeyRing
from ingest.server import serve

HOST = "127.0.0.1"


async def echo(stopping: asyncio.Event) -> dict[str, int]:
    """The ceiling: aiohttp without even its router, answering what it was sent."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=await request.read())

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        _ready(*runner.addresses[0])
        await stopping.wait()
    finally:
        await runner.cleanup()
    return {}


async def ingest(stopping: asyncio.Event, path: Path) -> dict[str, int]:
    """The product: its application, its listener and its log, put together as ``wecom-crm serve ingest`` does."""
    metrics = Metrics()
    health = Health()
    part = health.component("ingest")
    async with await EmbeddedLog.open(path, metrics=metrics) as log:
        app = create_app(KeyRing({CORPID: {CALLBACK: (crypto(),)}}), log, metrics, part)
        await serve(app, HOST, 0, stopping, ready=_ready)
    return {
        "accepted": int(metrics.registry.get_sample_value("wecom_crm_callbacks_total", {"outcome": "accepted"}) or 0),
        "timed": int(metrics.registry.get_sample_value("wecom_crm_callback_seconds_count") or 0),
        "commits": log.commits,
    }


def _ready(_host: str, port: int) -> None:
    print(json.dumps({"port": port}), flush=True)


async def _main(name: str, path: Path) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    counted = await (echo(stopping) if name == "echo" else ingest(stopping, path))
    print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("echo", "ingest"))
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    # Before any thread: all of them inherit it.
    os.sched_setaffinity(0, {options.core})
    configure(json=True, level="WARNING")
    uvloop.run(_main(options.name, options.log))
