"""Running the parts of a process together, and stopping them.

A part that breaks is started again with back-off and never takes another one down; a ``FatalError`` ends the process
because starting again can't help. SIGTERM and SIGINT only set an event: every part sees it, finishes what it has in
hand and returns. What has not returned by the deadline is cancelled; a second signal cancels at once.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from core.health import Component, Health
from core.logs import describe, get_logger
from core.metrics import Metrics

Run = Callable[[asyncio.Event], Awaitable[None]]
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
# A part that ran so long before it broke starts again with the first pause.
STEADY_AFTER = 120.0
_AFTER_CANCEL = 1.0

_log = get_logger(__name__)


class FatalError(Exception):
    """Starting again can't help; the message tells the operator what to do, and the process exits with 1."""


@dataclass(frozen=True)
class _Part:
    name: str
    run: Run
    restart: bool
    health: Component


class Supervisor:
    """Starts parts, restarts them, stops them."""

    def __init__(
        self,
        health: Health,
        *,
        metrics: Metrics | None = None,
        drain_seconds: float = 8.0,
        on_stopping: Callable[[], None] = lambda: None,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """``on_stopping`` is called once when stopping begins; ``first_pause`` doubles up to a minute."""
        self._health = health
        self._metrics = metrics
        self._drain_seconds = drain_seconds
        self._on_stopping = on_stopping
        self._first_pause = first_pause
        self._parts: list[_Part] = []
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._fatal: FatalError | None = None

    def add(self, name: str, run: Run, *, restart: bool = True) -> None:
        """Add a part. ``run`` gets the stopping event and returns soon after it is set.

        Returning before that counts as breaking. With ``restart=False`` breaking ends the process.
        """
        self._parts.append(_Part(name, run, restart, self._health.component(name)))

    def stop(self) -> None:
        """Ask every part to finish; the second call stops waiting for them."""
        if self._stopping.is_set():
            self._forced.set()
            return
        _log.info("process.stopping", drain_seconds=self._drain_seconds)
        self._on_stopping()
        self._stopping.set()

    async def run(self) -> int:
        """Run until a signal or ``stop``; returns the exit status: 0, or 1 after a fatal error or a forced end."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_unheard)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            return await self._run()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _run(self) -> int:
        tasks = {asyncio.create_task(self._keep(part), name=part.name) for part in self._parts}
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        # A part's task ends before stopping only for a fatal error.
        if not self._stopping.is_set():
            self.stop()
        await stopping
        left = await self._drain(tasks)
        if self._fatal is not None:
            _log.error("process.failed", reason=str(self._fatal))
            return 1
        if left:
            _log.error("process.forced", parts=sorted(left))
            return 1
        _log.info("process.stopped")
        return 0

    async def _drain(self, tasks: set[asyncio.Task[None]]) -> set[str]:
        """Wait for the parts, then cancel; the names of those that had to be cancelled."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_seconds
        forced = asyncio.create_task(self._forced.wait(), name="forced")
        left: set[asyncio.Task[Any]] = {task for task in tasks if not task.done()}
        while left and not forced.done() and (seconds := deadline - loop.time()) > 0:
            await asyncio.wait({*left, forced}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            left = {task for task in left if not task.done()}
        forced.cancel()
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_AFTER_CANCEL)
        return {task.get_name() for task in left}

    async def _keep(self, part: _Part) -> None:
        """Run one part until stopping, again after each failure."""
        loop = asyncio.get_running_loop()
        pause = self._first_pause
        while True:
            began = loop.time()
            try:
                await part.run(self._stopping)
                if self._stopping.is_set():
                    return
                reason = "it ended without being asked"
                _log.error("part.ended", part=part.name)
            except FatalError as error:
                part.health.failed(str(error))
                self._fatal = self._fatal or error
                return
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and cancelled_from_outside():
                    raise
                reason = describe(error)
                _log.exception("part.failed", part=part.name)
                if self._stopping.is_set():
                    return
            if not part.restart:
                part.health.failed(reason)
                self._fatal = self._fatal or FatalError(f"{part.name} failed: {reason}")
                return
            if loop.time() - began > STEADY_AFTER:
                pause = self._first_pause
            part.health.failed(f"{reason}; starts again in {pause:.0f} s at the latest")
            if await stopped_within(self._stopping, pause * random.uniform(0.5, 1.0)):
                return
            pause = min(pause * 2, LONGEST_PAUSE)
            if self._metrics is not None:
                self._metrics.component_restarts_total.labels(part.name).inc()
            part.health.waiting("starting again")


async def stopped_within(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until told to stop; returns whether that was it. What every loop does between two rounds."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return False
    return True


def cancelled_from_outside() -> bool:
    """Whether this task itself was cancelled, and not something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def aloud(work: Awaitable[object]) -> None:
    """Do it as a task of a group: there, a task that ends because what it waited for was cancelled goes unnoticed.

    Raises ``RuntimeError`` then.
    """
    try:
        await work
    except asyncio.CancelledError as error:
        if cancelled_from_outside():
            raise
        raise RuntimeError("what it waited for was cancelled") from error


def _unheard(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # asyncio's own handler prints the exception with its message, which may quote a row or an address.
    error = context.get("exception")
    _log.error("asyncio.unheard", message=str(context.get("message", "")).partition("\n")[0], exc_info=error)
