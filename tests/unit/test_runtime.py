"""Parts that break, parts that are slow to stop, and signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from core.health import Health
from core.metrics import Metrics
from core.runtime import FatalError, Supervisor, aloud
from tests.support.waiting import until

DEADLINE = 10.0


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[int]]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        supervisor.stop()
        supervisor.stop()
        await task


async def patient(stopping: asyncio.Event) -> None:
    await stopping.wait()


@pytest.mark.asyncio
async def test_stop_lets_every_part_finish() -> None:
    finished: list[str] = []

    def part(name: str) -> Callable[[asyncio.Event], Awaitable[None]]:
        async def run(stopping: asyncio.Event) -> None:
            await stopping.wait()
            await asyncio.sleep(0)
            finished.append(name)

        return run

    stops: list[str] = []
    supervisor = Supervisor(Health(), on_stopping=lambda: stops.append("stop"))
    supervisor.add("one", part("one"))
    supervisor.add("two", part("two"))
    async with running(supervisor) as task:
        await asyncio.sleep(0)
        supervisor.stop()
        assert await asyncio.wait_for(task, DEADLINE) == 0
    assert sorted(finished) == ["one", "two"]
    assert stops == ["stop"]


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops(number: signal.Signals) -> None:
    started = asyncio.Event()

    async def part(stopping: asyncio.Event) -> None:
        started.set()
        await stopping.wait()

    supervisor = Supervisor(Health())
    supervisor.add("part", part)
    async with running(supervisor) as task:
        await asyncio.wait_for(started.wait(), DEADLINE)
        os.kill(os.getpid(), number)
        assert await asyncio.wait_for(task, DEADLINE) == 0


@pytest.mark.asyncio
async def test_a_broken_part_starts_again_and_the_others_do_not_notice() -> None:
    health, metrics = Health(), Metrics()
    runs = 0
    others = 0

    async def breaks(stopping: asyncio.Event) -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            return
        if runs < 4:
            raise ValueError("LEAK")
        health.component("breaks").ok()
        await stopping.wait()

    async def other(stopping: asyncio.Event) -> None:
        nonlocal others
        others += 1
        await stopping.wait()

    supervisor = Supervisor(health, metrics=metrics, first_pause=0.001)
    supervisor.add("breaks", breaks)
    supervisor.add("other", other)
    async with running(supervisor):
        await until(lambda: health.component("breaks").state == "ok")
    assert (runs, others) == (4, 1)
    assert 'component_restarts_total{component="breaks"} 3.0' in metrics.render().decode()


@pytest.mark.asyncio
async def test_between_two_tries_readiness_says_why() -> None:
    health = Health()

    async def breaks(_stopping: asyncio.Event) -> None:
        raise ConnectionError("LEAK")

    supervisor = Supervisor(health, first_pause=60)
    supervisor.add("sync", breaks)
    async with running(supervisor) as task:
        await until(lambda: health.component("sync").state == "failed")
        assert health.component("sync").reason == "ConnectionError; starts again in 60 s at the latest"
        supervisor.stop()
        assert await asyncio.wait_for(task, DEADLINE) == 0


@pytest.mark.asyncio
async def test_a_part_cancelled_from_within_is_broken_not_finished() -> None:
    health = Health()
    runs = 0

    async def waits_for_what_is_cancelled(stopping: asyncio.Event) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            inner = asyncio.get_running_loop().create_future()
            inner.cancel()
            await inner
        await stopping.wait()

    supervisor = Supervisor(health, first_pause=0.001)
    supervisor.add("part", waits_for_what_is_cancelled)
    async with running(supervisor) as task:
        await until(lambda: runs == 2)
        assert not task.done()


@pytest.mark.asyncio
async def test_a_fatal_error_ends_the_process_with_1_after_the_others_finished() -> None:
    health = Health()
    finished = False

    async def fatal(_stopping: asyncio.Event) -> None:
        raise FatalError("run wecom-crm migrate")

    async def other(stopping: asyncio.Event) -> None:
        nonlocal finished
        await stopping.wait()
        finished = True

    supervisor = Supervisor(health)
    supervisor.add("sync", fatal)
    supervisor.add("other", other)
    assert await asyncio.wait_for(supervisor.run(), DEADLINE) == 1
    assert finished
    assert health.component("sync").reason == "run wecom-crm migrate"


@pytest.mark.asyncio
async def test_a_part_that_must_not_restart_ends_the_process() -> None:
    async def breaks(_stopping: asyncio.Event) -> None:
        raise ValueError

    supervisor = Supervisor(Health())
    supervisor.add("part", breaks, restart=False)
    supervisor.add("other", patient)
    assert await asyncio.wait_for(supervisor.run(), DEADLINE) == 1


@pytest.mark.asyncio
async def test_what_does_not_stop_is_cancelled_at_the_deadline() -> None:
    cancelled = False

    async def deaf(_stopping: asyncio.Event) -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    supervisor = Supervisor(Health(), drain_seconds=0.05)
    supervisor.add("deaf", deaf)
    supervisor.add("other", patient)
    async with running(supervisor) as task:
        await asyncio.sleep(0)
        supervisor.stop()
        assert await asyncio.wait_for(task, DEADLINE) == 1
    assert cancelled


@pytest.mark.asyncio
async def test_a_second_signal_does_not_wait_for_the_deadline() -> None:
    started = asyncio.Event()

    async def deaf(_stopping: asyncio.Event) -> None:
        started.set()
        await asyncio.Event().wait()

    supervisor = Supervisor(Health(), drain_seconds=3600)
    supervisor.add("deaf", deaf)
    async with running(supervisor) as task:
        await asyncio.wait_for(started.wait(), DEADLINE)
        supervisor.stop()
        supervisor.stop()
        assert await asyncio.wait_for(task, DEADLINE) == 1


@pytest.mark.asyncio
async def test_a_part_that_breaks_while_stopping_is_not_started_again() -> None:
    runs = 0

    async def breaks_late(stopping: asyncio.Event) -> None:
        nonlocal runs
        runs += 1
        await stopping.wait()
        raise ValueError

    supervisor = Supervisor(Health(), first_pause=0.001)
    supervisor.add("part", breaks_late)
    async with running(supervisor) as task:
        await until(lambda: runs == 1)
        supervisor.stop()
        assert await asyncio.wait_for(task, DEADLINE) == 0
    assert runs == 1


@pytest.mark.asyncio
async def test_a_task_of_a_group_that_is_cancelled_by_what_it_waited_for_does_not_end_unnoticed() -> None:
    async def waits_for_what_is_cancelled() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with asyncio.TaskGroup() as tasks:
        silent = tasks.create_task(waits_for_what_is_cancelled())
    assert silent.cancelled()
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="what it waited for was cancelled")):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(aloud(waits_for_what_is_cancelled()))


@pytest.mark.asyncio
async def test_a_task_of_a_group_that_is_cancelled_itself_ends_as_ever() -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(aloud(asyncio.Event().wait()))
        await asyncio.sleep(0)
        waiting.cancel()
    assert waiting.cancelled()
