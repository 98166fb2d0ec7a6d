"""Stopping aiokafka's clients within a bounded time, also when no broker answers.

Their own ``stop`` waits for ever for a broker that is away (a producer flushes, a consumer leaves its group) and raises
``CancelledError`` half-way at times, with connections and tasks left behind. So it runs in a task of its own, and what
it did not clear up is taken apart here. These are the only lines that know the insides of aiokafka 0.14.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka.errors import KafkaError

_MORE = 1.0
_FAILS_WITHIN = 0.2


async def stop_producer(producer: Any, seconds: float) -> None:
    """Stop it; what was not delivered by then fails, and may have been delivered all the same."""
    await _stop(producer, seconds)
    accumulator, sender = producer._message_accumulator, producer._sender
    accumulator.fail_all(KafkaError("given up"))
    # Twice: told once, it still waits for the requests that it has sent.
    for _ in range(2):
        await _end([sender.sender_task])
    await _close(producer.client)


async def stop_consumer(consumer: Any, seconds: float, calls: Iterable[asyncio.Task[Any]] = ()) -> None:
    """Stop it, leaving its group if that can be said in time. ``calls`` of it that are under way end with it."""
    await _stop(consumer, seconds)
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    if coordinator is not None:
        names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
        await _end(getattr(coordinator, name, None) for name in names)
    if fetcher is not None:
        await _end([fetcher._fetch_task, *fetcher._pending_tasks])
    await _close(consumer._client)
    if left := set(calls):
        # Without a connection they fail; only what still hangs then is cancelled.
        await asyncio.wait(left, timeout=_FAILS_WITHIN)
        await _end(left)


def ask_for_metadata(client: Any) -> None:
    """Have the client ask for its topic's metadata now. Its own future is nobody's concern."""
    client.force_metadata_update().add_done_callback(lambda future: future.cancelled() or future.exception())


def is_fetching(consumer: Any) -> bool:
    """Whether the task that fetches still runs; when it ended, nothing else says so."""
    return consumer._fetcher is not None and not consumer._fetcher.error_future.done()


async def _stop(client: Any, seconds: float) -> None:
    await _finish(asyncio.create_task(client.stop(), name="kafka-stop"), seconds)


async def _close(client: Any) -> None:
    await _finish(asyncio.create_task(client.close(), name="kafka-close"), _MORE)


async def _finish(task: asyncio.Task[Any], seconds: float) -> None:
    await asyncio.wait({task}, timeout=seconds)
    await _end([task])


async def _end(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancel what is not done, and take notice of every outcome so that nobody complains about it later."""
    waited = {task for task in tasks if task is not None}
    for task in waited:
        task.cancel()
    if waited:
        done, _ = await asyncio.wait(waited, timeout=_MORE)
        for task in done:
            if not task.cancelled():
                task.exception()
