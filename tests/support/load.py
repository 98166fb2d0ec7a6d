"""Deliveries at a fixed rate over several connections, whether or not those before were answered (an open loop)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlencode

import aiohttp

from wecom.callback import seal_delivery
from wecom.crypto import CallbackCrypto
from wecom.simulator.population import CorpSetup


class Load:
    """Sends each document once. Every document has to be another one."""

    def __init__(self, url: str, corp: CorpSetup, documents: Iterable[bytes], *, connections: int = 8) -> None:
        """To the first callback of ``corp`` at the origin ``url``; with ``connections`` or more, each kept alive."""
        callback = corp.callbacks[0]
        self._crypto = CallbackCrypto(callback.token, callback.encoding_aes_key, corp.corpid)
        self._url = f"{url}/callback/{corp.corpid}/{callback.name}"
        self._documents = iter(documents)
        self._connections = connections
        self.accepted: set[bytes] = set()
        """Documents that were answered with 200."""
        self.outcomes: Counter[int | str] = Counter()
        """HTTP status, or the class of the error that came instead of an answer."""
        self.begun = 0

    def has_accepted(self, documents: int) -> bool:
        """Whether so many were answered with 200."""
        return len(self.accepted) >= documents

    @asynccontextmanager
    async def at(self, per_second: float) -> AsyncIterator[None]:
        """Send at this rate in the block; its end waits for every answer."""
        async with AsyncExitStack() as stack:
            timeout = aiohttp.ClientTimeout(total=20)
            sessions = [
                await stack.enter_async_context(
                    aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
                )
                for _ in range(self._connections)
            ]
            async with asyncio.TaskGroup() as pushes:
                enough = asyncio.Event()
                pushes.create_task(self._send(sessions, per_second, pushes, enough))
                try:
                    yield
                finally:
                    enough.set()

    async def _send(
        self,
        sessions: list[aiohttp.ClientSession],
        per_second: float,
        pushes: asyncio.TaskGroup,
        enough: asyncio.Event,
    ) -> None:
        turns = itertools.cycle(sessions)
        began, sent = time.monotonic(), 0
        while not enough.is_set():
            pushes.create_task(self._push(next(turns), next(self._documents)))
            sent += 1
            try:
                async with asyncio.timeout(max(0.0, sent / per_second - (time.monotonic() - began))):
                    await enough.wait()
            except TimeoutError:
                continue

    async def _push(self, session: aiohttp.ClientSession, document: bytes) -> None:
        query, body = seal_delivery(self._crypto, document, timestamp=str(int(time.time())), nonce=str(self.begun))
        self.begun += 1
        outcome: int | str
        try:
            async with session.post(f"{self._url}?{urlencode(query)}", data=body) as answer:
                await answer.read()
                outcome = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = type(error).__name__
        self.outcomes[outcome] += 1
        if outcome == 200:
            self.accepted.add(document)
