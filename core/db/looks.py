"""Single queries on PostgreSQL at the driver's own speed.

SQLAlchemy's way from the pool to a result and back costs several times what the query does: a transaction is two round
trips, and all of it runs in greenlets. What only looks has a few connections of its own, outside any transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Dialect, make_url
from sqlalchemy.exc import DBAPIError

IDLE_SECONDS = 60.0
"""Not used for so long, a connection is closed: something between here and the server may have forgotten it."""
_WAIT_SECONDS = 5.0
# SQLSTATE: connection lost; ended by the administrator, by a crash of another one, or on a server that starts.
_LOST = ("08", "57P01", "57P02", "57P03")
# For SQLAlchemy's part of the driver, and none of the driver's own.
_NOT_THE_DRIVERS = (
    *("async_fallback", "async_creator_fn"),
    *("prepared_statement_cache_size", "prepared_statement_name_func"),
)

T = TypeVar("T")
Row = dict[str, Any]
Ask = Callable[[str, Sequence[Any]], Awaitable[list[Row]]]
"""Takes SQL in the driver's own words and its parameters by position; returns what the driver makes of the rows."""


class Looks:
    """At most ``size`` connections, each lent to one look at a time; the last one that came back goes out first."""

    def __init__(self, dialect: Dialect, url: str, size: int, options: Mapping[str, Any]) -> None:
        """``url`` as SQLAlchemy takes it, ``options`` for the driver beside what it says."""
        _, known = dialect.create_connect_args(make_url(url))
        known = {name: value for name, value in known.items() if name not in _NOT_THE_DRIVERS}
        self._options = known | dict(options)
        self._slots = asyncio.Semaphore(size)
        self._idle: deque[tuple[Any, float]] = deque()

    async def look(self, work: Callable[[Ask], Awaitable[T]]) -> T:
        """What ``work`` finds. If the connection is lost on the way it is done again, once, on a new one.

        The server may have closed the connection at the very moment that it was taken.
        """
        await self._wait()
        try:
            try:
                return await self._with(self._taken() or await self._connected(), work)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            # The others have met the same end.
            self._drop()
            return await self._with(await self._connected(), work)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Let go of every connection that is not lent out."""
        while self._idle:
            # A server that hangs or has gone can't be said good-bye to; the driver lets go of it all the same.
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await self._idle.pop()[0].close(timeout=1)

    async def _with(self, conn: Any, work: Callable[[Ask], Awaitable[T]]) -> T:
        try:
            found = await work(partial(_ask, conn))
        except BaseException:
            # Cancelled, it may have an answer to come that nobody waits for.
            conn.terminate()
            raise
        self._idle.append((conn, time.monotonic()))
        return found

    async def _wait(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        async with asyncio.timeout(_WAIT_SECONDS):
            await self._slots.acquire()

    async def _connected(self) -> Any:
        try:
            return await asyncpg.connect(**self._options)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DBAPIError(None, None, error, hide_parameters=True) from error

    def _taken(self) -> Any:
        oldest = time.monotonic() - IDLE_SECONDS
        while self._idle and self._idle[0][1] < oldest:
            self._idle.popleft()[0].terminate()
        while self._idle:
            conn, _ = self._idle.pop()
            # The driver hears from the loop of a server that closes it.
            if not conn.is_closed():
                return conn
        return None

    def _drop(self) -> None:
        while self._idle:
            self._idle.pop()[0].terminate()


async def _ask(conn: Any, sql: str, values: Sequence[Any]) -> list[Row]:
    try:
        return [dict(record) for record in await conn.fetch(sql, *values)]
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError) as error:
        # The server's last words may be here before the end of the connection is.
        lost = conn.is_closed() or (getattr(error, "sqlstate", None) or "").startswith(_LOST)
        raise DBAPIError(sql, None, error, hide_parameters=True, connection_invalidated=lost) from error
