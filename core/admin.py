"""The admin port: is the process alive, is it ready, what does it count. Never on the public port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web

from core.health import Health
from core.metrics import Metrics

_LONGEST = 18
ACTION_HEADER = "X-Wecom-Crm"
"""Any value: a page of a browser on this machine can't send it."""

Action = Callable[[int], None]


def create_app(health: Health, metrics: Metrics, actions: Mapping[str, Action] | None = None) -> web.Application:
    """``/livez`` and ``/readyz`` answer 200 or 503 with the reasons as JSON, ``/metrics`` the Prometheus text.

    Each of ``actions`` is ``POST /actions/<name>?from=<position>``, for this program's own commands.
    """

    async def act(request: web.Request) -> web.Response:
        action = (actions or {}).get(request.match_info["name"])
        position = request.query.get("from", "")
        if action is None:
            return web.json_response({"error": "this process does not do that"}, status=404)
        if ACTION_HEADER not in request.headers or not position.isdecimal() or len(position) > _LONGEST:
            return web.json_response({"error": "from must be a position"}, status=400)
        action(int(position))
        return web.json_response({"from": int(position)}, status=202)

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
    app.add_routes([web.post("/actions/{name}", act)])
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
