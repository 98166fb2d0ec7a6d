"""The sidebar's routes and what runs beside them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from aiohttp import web

from core.db.engine import Database, is_transient, name_of
from core.health import Health
from core.logs import describe, get_logger
from core.metrics import Metrics
from core.schema import SchemaOutdated, require_current
from core.settings import Settings
from sidebar.answers import Refusal, security_policy
from sidebar.assets import Assets
from sidebar.guard import Guard, Handler
from sidebar.keys import READER, READY
from sidebar.login import Login
from sidebar.pages import Pages
from sidebar.places import Place, Places
from sidebar.reading import Reader
from sidebar.session import SessionCookies, Sessions
from sidebar.signer import LONGEST_BODY, Signer
from sidebar.states import States
from wecom.client import WeComClient

SWEEP_SECONDS = 600.0
_LOOK_SECONDS = 10.0
_LOOK_AGAIN = 2.0

_log = get_logger(__name__)


def create_app(
    settings: Settings,
    database: Database,
    client: WeComClient,
    metrics: Metrics,
    health: Health,
    *,
    wake: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> web.Application:
    """An application with nothing but the sidebar."""
    app = web.Application(client_max_size=LONGEST_BODY)
    add_routes(app, settings, database, client, metrics, health, wake=wake, clock=clock)
    return app


def add_routes(
    app: web.Application,
    settings: Settings,
    database: Database,
    client: WeComClient,
    metrics: Metrics,
    health: Health,
    *,
    wake: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Put the sidebar into an application that has not started yet, before any route that takes everything.

    ``wake(corpid)`` tells a sync in the same process that there is something to read;
    ``clock`` gives Unix seconds.
    """
    service = settings.service
    places = Places(settings)
    assets = Assets()
    pages = Pages(service.language, f"{places.prefix}/sidebar/static/{assets.digest}")
    cookies = SessionCookies(secure=places.secure)
    sessions = Sessions(database)
    states = States(database, service.secret_key.get_secret_value(), secure=places.secure, clock=clock)
    login = Login(settings.wecom.authorize_url, client, states, sessions, cookies, pages)
    signer = Signer(client, sessions, clock=clock)
    reader = Reader(database, client, wake or _nobody)
    guard = Guard(places, cookies, pages, metrics, security_policy(service.frame_ancestors))

    async def shell(request: web.Request, place: Place) -> web.Response:
        digest = cookies.digest(request, place)
        return pages.shell(request, place, await sessions.public_id(place, digest) if digest is not None else None)

    add = app.router.add_route
    base = "/sidebar/{corpid}/{agentid}"
    # First what is asked for most: the router tries one after another.
    add("GET", f"{base}/api/customers/{{external_userid}}", guard.api("customer", reader.show))
    add("GET", "/sidebar/static/{digest}/{name:.+}", guard.file("static", assets.serve))
    add("GET", base, guard.page("page", shell))
    add("GET", f"{base}/login", guard.page("login", login.begin))
    add("GET", f"{base}/callback", guard.page("callback", login.finish))
    add("POST", f"{base}/api/signature", guard.api("signature", signer.sign))
    add("POST", f"{base}/api/customers/{{external_userid}}/refresh", guard.api("refresh", reader.refresh))
    for name, content in service.verify_files.items():
        add("GET", f"/{name}", guard.file("verify", _verify(content)))
    add("*", "/sidebar/{rest:.*}", guard.file("none", _nothing_there))
    app[READY] = asyncio.Event()
    app[READER] = reader
    app.cleanup_ctx.append(_keeper(database, sessions, health))


def _verify(content: str) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=content, content_type="text/plain")

    return answer


async def _nothing_there(_request: web.Request) -> web.Response:
    raise Refusal(404, "not_found")


def _nobody(_corpid: str) -> None:
    """Sync runs in another process, and looks by itself."""


def _keeper(database: Database, sessions: Sessions, health: Health) -> Callable[[web.Application], AsyncIterator[None]]:
    part = health.component("sidebar")

    async def keep(app: web.Application) -> None:
        """Look whether the database is in order, and remove what is over now and then."""
        ready, swept = app[READY], -SWEEP_SECONDS
        while True:
            wait = _LOOK_AGAIN
            try:
                await require_current(database)
                ready.set()
                if time.monotonic() - swept >= SWEEP_SECONDS:
                    await sessions.sweep()
                    swept = time.monotonic()
                part.ok()
                wait = _LOOK_SECONDS
            except SchemaOutdated as error:
                ready.clear()
                part.failed(str(error))
            except Exception as error:
                if is_transient(error):
                    part.waiting(f"database: {name_of(error)}")
                else:
                    part.failed(describe(error))
                    _log.error("sidebar.failed", exc_info=error)
            await asyncio.sleep(wait)

    async def context(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(keep(app), name="sidebar")
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        part.waiting("the sidebar is not running")

    return context
