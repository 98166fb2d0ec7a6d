"""The listener: an aiohttp application behind two limits that aiohttp does not have.

A request has to be there completely within a deadline, from its first byte or from the connection's start, and there
are only so many connections. Otherwise a few thousand connections that dribble one byte now and then hold the
listener for as long as they like.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError

from core.logs import get_logger
from core.runtime import stopped_within

RECEIVE_SECONDS = 9.5
"""Plus up to a twentieth, for what is overdue is looked for twenty times in that time: within 10 s."""
KEEP_ALIVE_SECONDS = 75.0
LINGER_SECONDS = 1.0
"""So long the rest of a request is read that was answered early, because an answer can get lost behind unread bytes."""
MOST_CONNECTIONS = 5000
STOP_SECONDS = 6.0
_SWEEPS = 20

_log = get_logger(__name__)


async def serve(
    app: web.Application,
    host: str,
    port: int,
    stopping: asyncio.Event,
    *,
    ready: Callable[[str, int], None],
    receive_seconds: float = RECEIVE_SECONDS,
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    most_connections: int = MOST_CONNECTIONS,
    stop_seconds: float = STOP_SECONDS,
) -> None:
    """Answer until ``stopping``, then finish what is in hand; raises ``OSError`` when the port can't be had.

    ``ready`` is called with the address that is listened on. A request whose answer takes longer than
    ``stop_seconds`` from then on loses its connection without one.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        http = runner.server
        if http is None:
            raise RuntimeError("the application was not set up")
        connections = Connections(http, receive_seconds, keep_alive_seconds, most_connections)
        listener = await asyncio.get_running_loop().create_server(connections.accept, host, port, backlog=1024)
        try:
            ready(*listener.sockets[0].getsockname()[:2])
            await connections.sweep(stopping)
        finally:
            listener.close()
            # Who was accepted at this very moment is refused in connection_made. Of who came in just before, aiohttp's
            # task has to be waiting already, or closing would miss it and wait for it in vain.
            connections.refuse()
            await asyncio.sleep(0)
            # aiohttp takes no more bytes from here on: what is not there completely would only be waited for.
            connections.abort_incomplete()
            http.pre_shutdown()
            # It waits so long for the answer, and once more for the connection.
            await http.shutdown(stop_seconds / 2)
    finally:
        await runner.cleanup()


class Connections:
    """Every open connection, and since when it owes us a complete request."""

    def __init__(
        self, http: web.Server, receive_seconds: float, keep_alive_seconds: float, most_connections: int
    ) -> None:
        self._http = http
        self._receive_seconds = receive_seconds
        self._most = most_connections
        self._open: set[Connection] = set()
        self._options: dict[str, Any] = {
            "loop": asyncio.get_running_loop(),
            "keepalive_timeout": keep_alive_seconds,
            "lingering_time": LINGER_SECONDS,
            "access_log": None,
            # The platform compresses nothing, and a few bytes may become many.
            "auto_decompress": False,
        }
        answer = http.request_handler

        def began(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            cast(Connection, request.protocol).request_began(request)
            return answer(request)

        http.request_handler = began

    def accept(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self, self._http, **self._options)

    def opened(self, connection: Connection) -> bool:
        """Take a connection in; False if there are too many."""
        if len(self._open) >= self._most:
            return False
        self._open.add(connection)
        return True

    def refuse(self) -> None:
        """Take no more connections in."""
        self._most = 0

    def closed(self, connection: Connection) -> None:
        """A connection has ended."""
        self._open.discard(connection)

    async def sweep(self, stopping: asyncio.Event) -> None:
        """Abort what is overdue, until told to stop."""
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            limit = loop.time() - self._receive_seconds
            for connection in [connection for connection in self._open if connection.owes_since(limit)]:
                connection.abort()
            await stopped_within(stopping, self._receive_seconds / _SWEEPS)

    def abort_incomplete(self) -> None:
        """Abort where the rest of a request is waited for."""
        for connection in [connection for connection in self._open if connection.incomplete]:
            connection.abort()


class Connection(web.RequestHandler):
    """aiohttp's protocol of one connection, which notes when a request began to come in.

    Whether the request is there completely is looked at only when it is overdue, so that it costs a delivery nothing.
    """

    __slots__ = ("_connections", "_now", "_request", "_since")

    def __init__(self, connections: Connections, http: web.Server, **options: Any) -> None:
        super().__init__(http, **options)
        self._connections = connections
        self._now = asyncio.get_running_loop().time
        # Loop time since when the request has been coming in; None between requests.
        self._since: float | None = None
        # The request that is being answered: aiohttp begins with it as soon as its head is there.
        self._request: web.BaseRequest | None = None

    def owes_since(self, limit: float) -> bool:
        """Whether the rest of a request has been waited for since before ``limit``."""
        return self._since is not None and self._since < limit and (self._request is None or self.incomplete)

    @property
    def incomplete(self) -> bool:
        """Whether a request is being answered whose body is not there yet."""
        return self._request is not None and not self._request.content.is_eof()

    def abort(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._connections.opened(self):
            # aiohttp never hears of it.
            cast(asyncio.Transport, transport).abort()
            return
        self._since = self._now()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        # It is called with nothing to go on with what was kept back.
        if self._since is None and data:
            self._since = self._now()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.closed(self)
        self._request = None
        super().connection_lost(exc)

    def request_began(self, request: web.BaseRequest) -> None:
        """A head is there."""
        self._request = request
        if self._since is None:
            # It came together with the request before it.
            self._since = self._now()

    def finish_response(self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None) -> Any:
        """See aiohttp: sends the answer. If the request is not there completely, it lingers a little and closes."""
        self._since = self._request = None
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            # aiohttp's own, which repeats parts of the request.
            resp = refusal(resp.status)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See aiohttp: the answer to what can't be parsed, or whose handler failed. Without its words."""
        if not isinstance(exc, HttpProcessingError):
            _log.error("callback.failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        return refusal(status)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """See aiohttp: a fault outside handlers. A body that is broken or breaks off is none, anybody can send it."""
        error = kw.get("exc_info")
        if not isinstance(error, web.RequestPayloadError | OSError):
            _log.error("callback.failed", exc_info=error)


def refusal(status: int) -> web.Response:
    """An empty answer, the last one on its connection: an idle one is kept for those only who proved who they are."""
    response = web.Response(status=status)
    response.force_close()
    return response
