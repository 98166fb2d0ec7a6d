"""kill -9 in the middle of the stream: what got 200 is applied all the same, once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from core.envelope import interpret
from tests.support.product import Premises, write_lock
from tests.support.waiting import until
from wecom.callback import document_of
from wecom.simulator.faults import Faults
from wecom.simulator.population import small_world
from wecom.simulator.pusher import Pusher
from wecom.simulator.scenario import Scenario
from wecom.simulator.server import Simulator
from wecom_crm.comparison import compare
from wecom_crm.demo import FAULTS
from wecom_crm.demo_world import make_corps
from wecom_crm.progress import until_applied
from wecom_crm.service_process import ServiceProcess

pytestmark = pytest.mark.asyncio

KILLS = 3
UNAPPLIED = 50
AT_ONCE = 8
PER_SECOND = 80.0
# A push fails at most twice per kill, because the service is up again before it is tried a third time: so none is
# ever given up.
SPACING_SECONDS = 4.0
TRIES = 2 * KILLS + 1


async def test_nothing_acknowledged_is_lost_when_it_is_killed_three_times(premises: Premises) -> None:
    corps = make_corps()
    world = small_world(corps, employees=20, customers=200)
    simulator = Simulator(
        world,
        callback_base_url=premises.url,
        port=premises.api_port,
        faults=Faults(**FAULTS),
        tries=TRIES,
        spacing_seconds=SPACING_SECONDS,
        at_once=AT_ONCE,
        backlog=5000,
    )
    premises.configure(corps)
    await premises.migrate()
    async with simulator, premises.serving() as service, premises.database() as database:
        pusher = simulator.pusher
        enough = asyncio.Event()
        stream = asyncio.create_task(_stream(Scenario(world), pusher, enough), name="stream")
        for _ in range(KILLS):
            await _kill_with_a_backlog(premises, service)
            assert not stream.done()
        enough.set()
        await stream
        await pusher.drain()
        # All of the log: some of it was not acknowledged, because the kill came before the answer.
        await until_applied(database, premises.newest, seconds=60)
        report = await compare(database, simulator.truth())
        assert await service.stop() == 0

    outcomes = Counter(attempt.outcome for delivery in pusher.deliveries for attempt in delivery.attempts)
    assert sum(number for outcome, number in outcomes.items() if outcome != 200) > 0, "no push met a killed service"
    assert (pusher.counts.given_up, pusher.under_way) == (0, 0)
    assert simulator.counts.foreign == 0
    _ledger_has_all(premises, pusher)
    assert premises.crm("SELECT count(*) FROM dead_letter") == [(0,)]
    assert report.relations > report.customers > 100
    wrong = [*report.missing, *report.spurious, *report.differing]
    assert report.equal, f"{report}: {wrong[:5]}"


async def _kill_with_a_backlog(premises: Premises, service: ServiceProcess) -> None:
    """Let it apply something, hold its database until enough is waiting, kill it then, and start it again."""
    ledger = "SELECT count(*) FROM contact_event"
    applied = premises.crm(ledger)
    await until(lambda: premises.crm(ledger) > applied)
    with write_lock(premises.crm_file):
        # Of the newest records in the log as many may be unanswered as there are pushes at once.
        await until(lambda: premises.unapplied() >= UNAPPLIED + AT_ONCE, 30)
        down = time.monotonic()
        await service.kill()
    await service.start()
    assert time.monotonic() - down < 2 * SPACING_SECONDS


async def _stream(scenario: Scenario, pusher: Pusher, enough: asyncio.Event) -> None:
    """Changes at that rate until there are enough, whatever becomes of the pushes."""
    began, made = time.monotonic(), 0
    while not enough.is_set():
        await pusher.push([scenario.next_change()])
        made += 1
        try:
            async with asyncio.timeout(max(0.0, made / PER_SECOND - (time.monotonic() - began))):
                await enough.wait()
        except TimeoutError:
            continue


def _ledger_has_all(premises: Premises, pusher: Pusher) -> None:
    """Every event that was pushed is in the ledger, once, though the log has many of them twice."""
    pushed = {
        (change.corpid, interpret(change.corpid, delivery.callback, 0, document_of(change.leaves)).event_id)
        for delivery in pusher.deliveries
        for change in (delivery.change,)
        if delivery.acknowledged
    }
    ledger = premises.crm("SELECT corpid, event_id FROM contact_event")
    assert len(ledger) == len(set(ledger))
    assert set(ledger) == pushed
    assert len(premises.records()) >= pusher.counts.acknowledged > len(ledger) > KILLS * UNAPPLIED
