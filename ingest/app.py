"""The application that receives callbacks."""

from __future__ import annotations

from aiohttp import web

from core.eventlog.base import EventLog
from core.health import Component
from core.metrics import Metrics
from ingest.callback import LARGEST_BODY, MOST_IN_HAND, CallbackEndpoint
from ingest.keys import KeyRing
from ingest.server import refusal


def create_app(
    keys: KeyRing,
    log: EventLog,
    metrics: Metrics,
    health: Component,
    *,
    answer_503: bool = False,
    most_in_hand: int = MOST_IN_HAND,
) -> web.Application:
    """Answers callbacks out of ``keys`` and keeps them in ``log``; starts nothing."""
    # read() allows a body of up to this size, so the cap itself passes.
    app = web.Application(client_max_size=LARGEST_BODY)
    add_routes(app, keys, log, metrics, health, answer_503=answer_503, most_in_hand=most_in_hand)
    add_nothing_else(app)
    return app


def add_routes(
    app: web.Application,
    keys: KeyRing,
    log: EventLog,
    metrics: Metrics,
    health: Component,
    *,
    answer_503: bool = False,
    most_in_hand: int = MOST_IN_HAND,
) -> None:
    """Put the callback addresses into an application whose ``client_max_size`` is ``LARGEST_BODY``."""
    endpoint = CallbackEndpoint(keys, log, metrics, health, answer_503=answer_503, most_in_hand=most_in_hand)
    app.router.add_route("*", "/callback/{corpid}/{name}", endpoint.handle)
    app.router.add_route("*", "/callback/{corpid}", endpoint.handle)


def add_nothing_else(app: web.Application) -> None:
    """Answer every other address with an empty 404; the last route to be added."""
    app.router.add_route("*", "/{path:.*}", _nothing_there)


async def _nothing_there(_request: web.Request) -> web.Response:
    return refusal(404)
