"""Waiting for what another task or process does: for a condition, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

DEADLINE = 10.0


async def until(condition: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """Let the loop turn until ``condition`` holds; raises ``TimeoutError`` after ``deadline`` seconds.

    For what has no event to wait for; where there is one, wait for that.
    """
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def until_async(condition: Callable[[], Awaitable[bool]], deadline: float = DEADLINE) -> None:
    """The same for a condition that has to be asked for."""
    async with asyncio.timeout(deadline):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
