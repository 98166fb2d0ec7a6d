"""Pushes of changes as the platform makes them: encrypted, a few tries, then silence (documents 90930, 90968)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import aiohttp

from wecom.callback import document_of, seal_delivery
from wecom.crypto import CallbackCrypto
from wecom.simulator.faults import Faults
from wecom.simulator.state import Callback, Corp
from wecom.simulator.world import Change, World

TRIES = 3
TRY_SECONDS = 5.0
"""A receiver that has not answered then is tried again (document 90930)."""
_REORDER_SECONDS = 0.3
"""A push waits no longer for others to change places with."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try. ``at`` in Unix seconds; ``outcome`` is the HTTP status or what happened instead of an answer."""

    at: float
    seconds: float
    outcome: int | str


@dataclass(slots=True)
class Delivery:
    """One change on its way to one callback address, and what became of it."""

    change: Change
    callback: str
    duplicate: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    started: int | None = None
    """Its place in the order in which deliveries were tried for the first time."""
    acknowledged: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set when it was acknowledged, or given up after the last try."""


@dataclass(slots=True)
class PushCounts:
    """Numbers since the start. A change that is pushed twice, or to two addresses, is several deliveries."""

    changes: int = 0
    dropped: int = 0
    deliveries: int = 0
    duplicates: int = 0
    attempts: int = 0
    acknowledged: int = 0
    given_up: int = 0


class Pusher:
    """Delivers changes to the callback addresses of their corp. Use as an async context manager."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        *,
        base_url: str | None = None,
        try_seconds: float = TRY_SECONDS,
        tries: int = TRIES,
        spacing_seconds: float = 1.0,
        at_once: int = 8,
        backlog: int = 200,
        kept: int = 20_000,
    ) -> None:
        """``base_url`` is the origin before ``/callback/<corpid>/<name>``; it may be set later.

        A try ends after ``try_seconds``; the next begins ``spacing_seconds`` later. ``at_once`` tries run at the same
        time. ``push`` waits while ``backlog`` deliveries are under way. The last ``kept`` deliveries are remembered.
        """
        self.base_url = base_url
        self.counts = PushCounts()
        self.deliveries: deque[Delivery] = deque(maxlen=kept)
        self.given_up: deque[Delivery] = deque(maxlen=kept)
        self.under_way = 0
        """Deliveries that are neither acknowledged nor given up."""
        self._world = world
        self._faults = faults
        self._timeout = aiohttp.ClientTimeout(total=try_seconds)
        self._tries = tries
        self._spacing = spacing_seconds
        self._at_once = at_once
        self._backlog = backlog
        self._cryptos: dict[tuple[str, str, str, str], CallbackCrypto] = {}
        self._window: list[Delivery] = []
        self._window_timer: asyncio.TimerHandle | None = None
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()
        self._timers: set[asyncio.TimerHandle] = set()
        self._progress = asyncio.Condition()
        self._workers: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
        self._started = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._workers = [
            asyncio.create_task(self._work(), name=f"simulator-push-{number}") for number in range(self._at_once)
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Stop at once; what is under way stays unfinished."""
        for timer in self._timers:
            timer.cancel()
        if self._window_timer is not None:
            self._window_timer.cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def push(self, changes: Iterable[Change | None]) -> list[Delivery]:
        """Start the deliveries of these changes, in this order; None is a change that pushes nothing.

        Returns without waiting for answers, see ``Delivery.done`` and ``drain``. Raises ``RuntimeError`` without a
        ``base_url``.
        """
        if self.base_url is None:
            raise RuntimeError("the simulator does not know where to push to: set callback_base_url")
        made: list[Delivery] = []
        for change in changes:
            if change is None:
                continue
            async with self._progress:
                await self._progress.wait_for(lambda: self.under_way < self._backlog)
            self.counts.changes += 1
            if self._faults.chance(self._faults.now.drop):
                self.counts.dropped += 1
                continue
            for callback in self._world.corp(change.corpid).callbacks:
                copies = 2 if self._faults.chance(self._faults.now.duplicate) else 1
                made += [self._begin(Delivery(change, callback.name, number > 0)) for number in range(copies)]
        return made

    async def drain(self) -> None:
        """Wait until every delivery was acknowledged or given up. While pushes are held this does not end."""
        self._flush()
        async with self._progress:
            await self._progress.wait_for(lambda: not self.under_way)

    def _begin(self, delivery: Delivery) -> Delivery:
        self.counts.deliveries += 1
        self.counts.duplicates += delivery.duplicate
        self.under_way += 1
        self.deliveries.append(delivery)
        self._window.append(delivery)
        if len(self._window) >= self._faults.now.reorder:
            self._flush()
        elif self._window_timer is None:
            self._window_timer = asyncio.get_running_loop().call_later(_REORDER_SECONDS, self._flush)
        return delivery

    def _flush(self) -> None:
        """Let the deliveries of the window go, in any order: each is fewer places off than the window is long."""
        if self._window_timer is not None:
            self._window_timer.cancel()
            self._window_timer = None
        if self._faults.now.reorder > 1:
            self._faults.random.shuffle(self._window)
        for delivery in self._window:
            self._queue.put_nowait(delivery)
        self._window.clear()

    async def _work(self) -> None:
        while True:
            delivery = await self._queue.get()
            await self._faults.released.wait()
            if delivery.started is None:
                delivery.started = self._started
                self._started += 1
            await self._try(delivery)
            if delivery.acknowledged or len(delivery.attempts) >= self._tries:
                await self._finish(delivery)
            else:
                self._later(delivery)

    def _later(self, delivery: Delivery) -> None:
        # The turn goes to another delivery meanwhile: the platform does not wait with the rest either.
        def again() -> None:
            self._timers.discard(timer)
            self._queue.put_nowait(delivery)

        timer = asyncio.get_running_loop().call_later(self._spacing, again)
        self._timers.add(timer)

    async def _finish(self, delivery: Delivery) -> None:
        if delivery.acknowledged:
            self.counts.acknowledged += 1
        else:
            self.counts.given_up += 1
            self.given_up.append(delivery)
        self.under_way -= 1
        delivery.done.set()
        async with self._progress:
            self._progress.notify_all()

    async def _try(self, delivery: Delivery) -> None:
        if self._session is None:
            raise RuntimeError("the pusher is used outside its async with block")
        self.counts.attempts += 1
        at, began = time.time(), time.monotonic()
        outcome: int | str
        try:
            url, body = self._sealed(delivery)
            async with self._session.post(
                url, data=body, headers={"Content-Type": "text/xml"}, allow_redirects=False
            ) as response:
                await response.read()
                outcome = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = type(error).__name__
        delivery.attempts.append(Attempt(at, time.monotonic() - began, outcome))
        delivery.acknowledged = outcome == 200

    def _sealed(self, delivery: Delivery) -> tuple[str, bytes]:
        """Every try is encrypted anew, with its own time and nonce."""
        corp = self._world.corp(delivery.change.corpid)
        callback = next(one for one in corp.callbacks if one.name == delivery.callback)
        query, body = seal_delivery(
            self._crypto(corp, callback),
            document_of(delivery.change.leaves),
            timestamp=str(int(time.time())),
            nonce=str(secrets.randbelow(10**10)),
            to=corp.corpid,
            agentid="" if callback.agentid is None else str(callback.agentid),
        )
        path = f"/callback/{quote(corp.corpid, safe='')}/{quote(callback.name, safe='')}"
        return f"{self.base_url}{path}?{urlencode(query, quote_via=quote, safe='')}", body

    def _crypto(self, corp: Corp, callback: Callback) -> CallbackCrypto:
        # Looked up by its content, so that Token and key may be changed while it runs.
        key = (corp.corpid, callback.name, callback.token, callback.encoding_aes_key)
        if key not in self._cryptos:
            self._cryptos[key] = CallbackCrypto(callback.token, callback.encoding_aes_key, corp.corpid)
        return self._cryptos[key]
