"""Counts what a client of PostgreSQL asks and how often it waits: a proxy that reads the frames of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from sqlalchemy import make_url

from tests.support.servers.process import HOST


class RoundTrips:
    """``count`` grows with every ReadyForQuery, when the server has answered in full and waits for the next request;
    ``commands`` with every CommandComplete, the end of a statement, BEGIN and COMMIT too.
    """

    def __init__(self, url: str) -> None:
        """``url`` is the address of a database on a server without TLS."""
        self.count = 0
        self.commands = 0
        self._url = make_url(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self._forgotten: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """As a firewall does: nobody is told, and who sends anything on a connection of now loses it."""
        self._forgotten |= self._tasks

    @asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        """The address of the same database through here."""
        server = await asyncio.start_server(self._connected, HOST, 0)
        try:
            url = self._url.set(host=HOST, port=server.sockets[0].getsockname()[1])
            yield url.render_as_string(hide_password=False)
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            back_reader, back_writer = await asyncio.open_connection(self._url.host, self._url.port)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._questions(reader, back_writer, lambda: task in self._forgotten))
                group.create_task(self._answers(back_reader, writer))
        except (OSError, ExceptionGroup):
            writer.close()
        finally:
            self._tasks.discard(task)

    @staticmethod
    async def _questions(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forgotten: Callable[[], bool]
    ) -> None:
        try:
            while data := await reader.read(65536):
                if forgotten():
                    raise ConnectionAbortedError
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # The client asks for TLS first, and the answer is one byte.
            kind = await reader.readexactly(1)
            if kind == b"N":
                writer.write(kind)
                kind = b""
            while True:
                head = kind + await reader.readexactly(5 - len(kind))
                kind = b""
                writer.write(head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4))
                self.count += head[:1] == b"Z"
                self.commands += head[:1] == b"C"
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
