"""A TCP proxy on the loopback interface that holds answers back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.servers.process import HOST


class Proxy:
    """``delay`` seconds pass between an answer and its delivery, from the next answer on; order is kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.delay = 0.0
        self._target = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def run(self, target: int) -> AsyncIterator[None]:
        """Stand before the server at that port."""
        self._target = target
        server = await asyncio.start_server(self._connected, HOST, self.port)
        try:
            yield
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
            back_reader, back_writer = await asyncio.open_connection(HOST, self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back_writer, slowly=False))
                group.create_task(self._pass(back_reader, writer, slowly=True))
        except (OSError, ExceptionGroup):
            writer.close()
        finally:
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slowly: bool) -> None:
        try:
            while data := await reader.read(65536):
                if slowly and self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
