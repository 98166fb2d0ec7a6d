"""The listener: an aiohttp application behind two limits that aiohttp does not have.

A request has to be there completely within a deadline, from its first byte or from the connection's start, and there
are only so many connections. Otherwise a few thousand connections that dribble one byte now and then hold the
listener for as long as they like.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web

RECEIVE_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 75.0
MOST_CONNECTIONS = 5000
STOP_SECONDS = 6.0
_SWEEP_SECONDS = 0.5

# What aiohttp says of each malformed request, with a traceback: anybody can send those, so it is not for the log.
_quiet = logging.getLogger("wecom_crm.http")
_quiet.propagate = False
_quiet.addHandler(logging.NullHandler())


async def serve(
    app: web.Application,
    host: str,
    port: int,
    stopping: asyncio.Event,
    *,
    ready: Callable[[str, int], None],
    receive_seconds: float = RECEIVE_SECONDS,
    most_connections: int = MOST_CONNECTIONS,
) -> None:
    """Answer until ``stopping``, then finish what is in hand; raises ``OSError`` when the port can't be had.

    ``ready`` is called with the address that is listened on.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        shutdown_timeout=STOP_SECONDS,
        logger=_quiet,
    )
    await runner.setup()
    connections = Connections(receive_seconds, most_connections)
    try:
        http = runner.server
        if http is None:
            raise RuntimeError("the application was not set up")
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: connections.guard(http()), host, port, backlog=1024)
        try:
            ready(*listener.sockets[0].getsockname()[:2])
            await connections.sweep(stopping)
        finally:
            listener.close()
            # Idle ones would be waited for, and nothing more is to be read from any of them.
            http.pre_shutdown()
            await http.shutdown(STOP_SECONDS)
    finally:
        await runner.cleanup()


class Connections:
    """Every open connection, and since when it owes us a complete request."""

    def __init__(self, receive_seconds: float, most: int) -> None:
        self._receive_seconds = receive_seconds
        self._most = most
        self._open: set[Guard] = set()

    def guard(self, inner: asyncio.Protocol) -> Guard:
        """A protocol around aiohttp's own."""
        return Guard(inner, self)

    def opened(self, guard: Guard) -> bool:
        """Take a connection in; False if there are too many."""
        if len(self._open) >= self._most:
            return False
        self._open.add(guard)
        return True

    def closed(self, guard: Guard) -> None:
        """A connection has ended."""
        self._open.discard(guard)

    async def sweep(self, stopping: asyncio.Event) -> None:
        """Abort what is overdue, until told to stop."""
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            limit = loop.time() - self._receive_seconds
            for guard in [guard for guard in self._open if guard.owing_since is not None and guard.owing_since < limit]:
                guard.abort()
            try:
                async with asyncio.timeout(_SWEEP_SECONDS):
                    await stopping.wait()
            except TimeoutError:
                continue


class Guard(asyncio.Protocol):
    """Passes everything on to aiohttp's protocol and notes when a request began to come in."""

    __slots__ = ("_connections", "_inner", "_loop", "_transport", "owing_since")

    def __init__(self, inner: Any, connections: Connections) -> None:
        self._inner = inner
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.owing_since: float | None = None
        """Loop time since when a request has been coming in; None between requests and while one is answered."""

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def received(self) -> None:
        """The request is complete."""
        self.owing_since = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By its duties, not by its class: uvloop's is none of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._inner.connection_made(transport)
        if not self._connections.opened(self):
            self._transport.abort()
            return
        self.owing_since = self._loop.time()

    def data_received(self, data: bytes) -> None:
        if self.owing_since is None:
            self.owing_since = self._loop.time()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        result: bool | None = self._inner.eof_received()
        return result

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self._inner.connection_lost(exc)


def received(request: web.BaseRequest) -> None:
    """The request has been read to its end: the sender owes nothing more."""
    guard = request.transport.get_protocol() if request.transport is not None else None
    if isinstance(guard, Guard):
        guard.received()
