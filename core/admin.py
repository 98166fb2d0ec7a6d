"""The admin port: is the process alive, is it ready, what does it count. Never on the public port."""

from __future__ import annotations

import asyncio

from aiohttp import web

from core.health import Health
from core.metrics import Metrics


def create_app(health: Health, metrics: Metrics) -> web.Application:
    """``/livez`` and ``/readyz`` answer 200 or 503 with the reasons as JSON, ``/metrics`` the Prometheus text."""

    async def livez(_request: web.Request) -> web.Response:
        live, detail = health.live()
        return web.json_response(detail, status=200 if live else 503)

    async def readyz(_request: web.Request) -> web.Response:
        ready, detail = health.ready()
        return web.json_response(detail, status=200 if ready else 503)

    async def counts(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": metrics.content_type})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", counts)])
    return app


async def serve(app: web.Application, host: str, port: int, stopping: asyncio.Event) -> None:
    """Answer until ``stopping``; raises ``OSError`` when the port is taken."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await stopping.wait()
    finally:
        await runner.cleanup()
