"""The application that receives callbacks."""

from __future__ import annotations

from aiohttp import web

from core.eventlog.base import EventLog
from core.health import Component
from core.metrics import Metrics
from ingest.callback import LARGEST_BODY, CallbackEndpoint
from ingest.keys import KeyRing


def create_app(
    keys: KeyRing, log: EventLog, metrics: Metrics, health: Component, *, answer_503: bool = False
) -> web.Application:
    """Answers callbacks out of ``keys`` and keeps them in ``log``; starts nothing."""
    endpoint = CallbackEndpoint(keys, log, metrics, health, answer_503=answer_503)
    # read() allows a body of up to this size, so the cap itself passes.
    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_route("*", "/callback/{corpid}/{name}", endpoint.handle)
    app.router.add_route("*", "/callback/{corpid}", endpoint.handle)
    app.router.add_route("*", "/{path:.*}", _nothing_there)
    return app


async def _nothing_there(_request: web.Request) -> web.Response:
    return web.Response(status=404)
