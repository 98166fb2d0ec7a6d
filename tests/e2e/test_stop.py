"""SIGTERM under load: what was accepted is in the log, the end comes in time, a second signal does not wait."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pytest
import pytest_asyncio

from tests.support.crm import contact_change
from tests.support.load import Load
from tests.support.product import Premises, write_lock
from tests.support.waiting import until, until_async
from wecom.simulator.population import CorpSetup, small_world
from wecom.simulator.server import Simulator
from wecom_crm.demo_world import make_corps

pytestmark = pytest.mark.asyncio

PER_SECOND = 300.0
LONGEST_END = 10.0
STOPPING = '"action": "process.stopping"'


@dataclass(frozen=True)
class Bench:
    """A corp with twenty customers, and everything ready to serve it."""

    premises: Premises
    corp: CorpSetup
    customers: tuple[str, ...]

    def load(self) -> Load:
        """Edits, each of them another event."""
        now = datetime.now(UTC)
        turns = zip(itertools.count(), itertools.cycle(self.customers))
        edits = (
            contact_change("edit_external_contact", now, customer, "ZhangSan", State=f"n{number}")
            for number, customer in turns
        )
        return Load(self.premises.url, self.corp, edits)

    def kept(self) -> set[bytes]:
        """The documents in the log."""
        found = [document for _, _, document in self.premises.records()]
        assert len(found) == len(set(found)), "a document is in the log twice"
        return set(found)


@pytest_asyncio.fixture
async def bench(premises: Premises) -> AsyncIterator[Bench]:
    corp = make_corps()[0]
    world = small_world([corp], employees=1, customers=20)
    customers = tuple(world.corp(corp.corpid).customers)
    for customer in customers:
        world.add(corp.corpid, customer, "ZhangSan")
    premises.configure([corp])
    await premises.migrate()
    async with Simulator(world, port=premises.api_port):
        yield Bench(premises, corp, customers)


async def test_what_was_acknowledged_is_in_the_log_and_what_is_in_the_log_was_acknowledged(bench: Bench) -> None:
    load = bench.load()
    for turn in range(1, 6):
        async with bench.premises.serving() as service:
            sent, began = load.begun, time.monotonic()
            async with load.at(PER_SECOND):
                await until(partial(load.has_accepted, turn * 200))
                rate = (load.begun - sent) / (time.monotonic() - began)
                stopped = time.monotonic()
                status = await service.stop()
                assert (status, time.monotonic() - stopped < LONGEST_END) == (0, True)
            assert rate >= 200
            assert '"action": "process.stopped"' in service.last_words()
            assert bench.kept() == load.accepted
    _no_other_answers(load)
    assert len(load.outcomes) > 1, "nothing was sent after the end"


async def test_requests_in_hand_are_kept_and_answered(bench: Bench) -> None:
    load = bench.load()
    async with bench.premises.serving() as service:
        async with load.at(PER_SECOND):
            await until(partial(load.has_accepted, 1))
            with write_lock(bench.premises.log_file):
                # None of them can be kept before the lock is gone, and by then the process is stopping.
                answered, begun = load.outcomes.total(), load.begun
                await until(lambda: load.begun > begun + 100)
                os.kill(service.pid, signal.SIGTERM)
                await until(lambda: STOPPING in service.last_words())
            assert await service.ended(LONGEST_END) == 0
        # The last few may have been on their way to the listener when it closed.
        assert len(load.accepted) >= answered + 90
        assert bench.kept() == load.accepted
    _no_other_answers(load)


async def test_a_request_that_never_becomes_complete_is_not_waited_for(bench: Bench) -> None:
    callback = bench.corp.callbacks[0]
    head = f"POST /callback/{bench.corp.corpid}/{callback.name}?msg_signature=a&timestamp=1&nonce=1 HTTP/1.1"
    async with bench.premises.serving() as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.premises.port)
        writer.write(f"{head}\r\nHost: x\r\nContent-Length: 100\r\n\r\n<xml>".encode())
        await until_async(lambda: _in_hand(bench.premises))
        stopped = time.monotonic()
        assert await service.stop() == 0
        assert time.monotonic() - stopped < LONGEST_END
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_a_second_signal_does_not_wait_for_what_is_in_hand(bench: Bench) -> None:
    load = bench.load()
    async with bench.premises.serving() as service, load.at(PER_SECOND):
        await until(partial(load.has_accepted, 1))
        with write_lock(bench.premises.log_file):
            await until(lambda: load.begun > load.outcomes.total() + 20)
            os.kill(service.pid, signal.SIGTERM)
            await until(lambda: STOPPING in service.last_words())
            forced = time.monotonic()
            os.kill(service.pid, signal.SIGTERM)
            await until(lambda: '"action": "process.forced"' in service.last_words())
            assert time.monotonic() - forced < 3
        # It can't end while a write is under way, and the lock was in its way.
        assert await service.ended(LONGEST_END) == 1
    # Some of it was kept, and nobody was told: it will be sent again.
    assert load.accepted <= bench.kept()
    _no_other_answers(load)


def _no_other_answers(load: Load) -> None:
    """Whoever was not answered with 200 got no answer at all: that is what the platform sends again."""
    assert [outcome for outcome in load.outcomes if isinstance(outcome, int) and outcome != 200] == []


async def _in_hand(premises: Premises) -> bool:
    _, text = await premises.admin("/metrics")
    return "wecom_crm_callbacks_in_hand 1.0" in text
