"""What stands before every handler: the place, the session, the headers, and words for what went wrong."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import cache

from aiohttp import web

from core.db.engine import is_transient
from core.logs import describe, get_logger
from core.metrics import Metrics
from sidebar.answers import Refusal, refused, secured
from sidebar.keys import READY
from sidebar.pages import Pages
from sidebar.places import Place, Places
from sidebar.session import Caller, SessionCookies
from wecom.errors import ApiError, CorpPaused, RateLimited

SESSION_HEADER = "X-Sidebar-Session"
_RETRY_SECONDS = 5
_STARTING_SECONDS = 2.0
_PUBLIC_ID = re.compile(r"[0-9a-f]{32}")

_log = get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.Response]]
PageHandler = Callable[[web.Request, Place], Awaitable[web.Response]]
ApiHandler = Callable[[web.Request, Caller], Awaitable[web.Response]]


class Guard:
    """Wraps handlers. ``policy`` is the Content-Security-Policy of every answer."""

    def __init__(self, places: Places, cookies: SessionCookies, pages: Pages, metrics: Metrics, policy: str) -> None:
        self._places = places
        self._cookies = cookies
        self._pages = pages
        self._metrics = metrics
        self._policy = policy

    def page(self, route: str, handler: PageHandler) -> Handler:
        """What an employee sees; everything that goes wrong is a page in words."""

        async def answer(request: web.Request) -> web.Response:
            place = self._place(request)
            if place is None:
                return self._pages.message(request.path_qs, 404, "unknown_app")
            retry = place.path
            try:
                await _require_ready(request)
                return await handler(request, place)
            except Refusal as refusal:
                return self._pages.message(request.path_qs, refusal.status, "database", retry=retry)
            except Exception as error:
                code = self._went_wrong(error)
                return self._pages.message(request.path_qs, 503 if code == "database" else 500, code, retry=retry)

        return self._counted(route, answer)

    def api(self, route: str, handler: ApiHandler) -> Handler:
        """What the page asks for. The header can't be sent by a page of another origin, so it stands in for a token
        against requests that such a page makes in the employee's name."""

        async def answer(request: web.Request) -> web.Response:
            try:
                place = self._place(request)
                if place is None:
                    raise Refusal(404, "not_found")  # noqa: TRY301
                public_id = request.headers.get(SESSION_HEADER, "")
                if not _PUBLIC_ID.fullmatch(public_id):
                    raise Refusal(400, "header_missing")  # noqa: TRY301
                digest = self._cookies.digest(request, place)
                if digest is None:
                    raise Refusal(401, "login_required")  # noqa: TRY301
                await _require_ready(request)
                return await handler(request, Caller(place, digest, public_id))
            except Refusal as refusal:
                return refused(refusal)
            except CorpPaused as error:
                _log.warning("sidebar.paused", api=error.api, errcode=error.errcode)
                return refused(Refusal(503, "platform_paused", errcode=error.errcode))
            except ApiError as error:
                wait = error.retry_after if isinstance(error, RateLimited) else _RETRY_SECONDS
                return refused(Refusal(503, "platform", errcode=error.errcode, retry_after=max(1, round(wait))))
            except Exception as error:
                code = self._went_wrong(error)
                if code == "database":
                    return refused(Refusal(503, code, retry_after=_RETRY_SECONDS))
                return refused(Refusal(500, code))

        return self._counted(route, answer)

    def file(self, route: str, handler: Handler) -> Handler:
        """What anybody may have."""

        async def answer(request: web.Request) -> web.Response:
            try:
                return await handler(request)
            except Refusal as refusal:
                return refused(refusal)

        return self._counted(route, answer)

    def _counted(self, route: str, answer: Handler) -> Handler:
        # To find a metric's child by its labels takes longer than to count in it.
        seconds = self._metrics.sidebar_seconds.labels(route)
        total = cache(lambda status: self._metrics.sidebar_requests_total.labels(route, str(status)))

        async def counted(request: web.Request) -> web.Response:
            began = time.perf_counter()
            response = secured(await answer(request), self._policy)
            total(response.status).inc()
            seconds.observe(time.perf_counter() - began)
            return response

        return counted

    def _place(self, request: web.Request) -> Place | None:
        return self._places.find(request.match_info["corpid"], request.match_info["agentid"])

    def _went_wrong(self, error: Exception) -> str:
        if is_transient(error):
            _log.warning("sidebar.database", error=describe(error))
            return "database"
        _log.error("sidebar.failed", exc_info=error)
        return "failed"


async def _require_ready(request: web.Request) -> None:
    ready = request.app[READY]
    if ready.is_set():
        return
    try:
        async with asyncio.timeout(_STARTING_SECONDS):
            await ready.wait()
    except TimeoutError:
        raise Refusal(503, "database", retry_after=_RETRY_SECONDS) from None
