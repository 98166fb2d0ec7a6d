"""Copies of sync come and go under load: the tables become equal, and no position ever goes back.

WECOM_CRM_TEST_ROUNDS is how often all of it happens (five rebalances each), WECOM_CRM_TEST_FROZEN_SECONDS how long a
copy stands still at least before it wakes as a zombie.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.support.cluster import Cluster, cluster_on
from tests.support.product import Premises
from tests.support.servers.kcat import Kcat
from tests.support.waiting import until_async

pytestmark = pytest.mark.asyncio

ROUNDS = int(os.environ.get("WECOM_CRM_TEST_ROUNDS", "1"))
FROZEN_SECONDS = float(os.environ.get("WECOM_CRM_TEST_FROZEN_SECONDS", "15"))
PER_SECOND = 40.0
# A member that is silent for 15 s is given up, and so long the others wait for it.
DEADLINE = 60.0
SETTLED_WITHIN = 120.0


async def test_positions_never_go_back_while_copies_come_and_go(
    premises: Premises, kcat: Kcat, kafka: str, topic: str, postgres_server: str, note: Callable[[str, str], None]
) -> None:
    loop = asyncio.get_running_loop()
    async with cluster_on(premises, kcat, kafka, topic, postgres_server) as cluster, AsyncExitStack() as stack:
        ingest, steady, zombie, other = cluster.ingest(), cluster.sync(), cluster.sync(), cluster.sync()
        await stack.enter_async_context(cluster.running(ingest, steady, zombie, other))
        async with _positions_watched(cluster) as watch, cluster.streaming(PER_SECOND):
            await _until_members(cluster, 3)
            for _ in range(ROUNDS):
                joining = cluster.sync()
                await stack.enter_async_context(cluster.running(joining))
                await _until_members(cluster, 4)
                assert await joining.stop() == 0
                await _until_members(cluster, 3)
                frozen_at = loop.time()
                os.kill(zombie.pid, signal.SIGSTOP)
                await other.kill()
                await _until_members(cluster, 1)
                other = cluster.sync()
                await stack.enter_async_context(cluster.running(other))
                await _until_members(cluster, 2)
                # It is to wake up late, whatever has happened meanwhile.
                await asyncio.sleep(max(0.0, frozen_at + FROZEN_SECONDS - loop.time()))
                os.kill(zombie.pid, signal.SIGCONT)
                await _until_members(cluster, 3)
        records = await cluster.settle(SETTLED_WITHIN)
        await cluster.check(records)
        for service in (ingest, steady, zombie, other):
            assert await service.stop() == 0, service.last_words()
        rebalances = len(cluster.partitions_of(steady)) - 1
    assert watch.backwards == []
    assert len(watch.highest) == 6
    assert rebalances >= 5 * ROUNDS
    note("Rebalances under load", f"{rebalances}, positions looked at {watch.looks} times")


async def _until_members(cluster: Cluster, number: int) -> None:
    """The group has so many members, and they apply."""

    async def arranged() -> bool:
        return await cluster.members() == number

    await until_async(arranged, DEADLINE)
    await cluster.until_applied(20, DEADLINE)


@dataclass
class Watch:
    """What was seen of the positions."""

    looks: int = 0
    highest: dict[int, int] = field(default_factory=dict)
    backwards: list[tuple[int, int, int]] = field(default_factory=list)


@asynccontextmanager
async def _positions_watched(cluster: Cluster) -> AsyncIterator[Watch]:
    watch = Watch()

    async def look() -> None:
        while True:
            for partition, position in (await cluster.positions()).items():
                before = watch.highest.get(partition, 0)
                if position < before:
                    watch.backwards.append((partition, before, position))
                watch.highest[partition] = max(before, position)
            watch.looks += 1
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look(), name="watch")
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.wait({looking})
    assert looking.cancelled(), looking
