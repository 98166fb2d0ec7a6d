"""A corp with a wrong secret and one that is rate limited for an hour: the third corp notices nothing of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.product import Premises
from tests.support.waiting import until, until_async
from wecom.simulator.population import CorpSetup, small_world
from wecom.simulator.server import Simulator
from wecom_crm.demo_world import make_corps

pytestmark = pytest.mark.asyncio

USUAL_SECONDS = 3.0
"""From the 200 to the row that was read from WeCom; on an idle machine it takes a tenth of that."""
CUSTOMERS = 40


def three_corps() -> Sequence[CorpSetup]:
    """Corps that share every id they can."""
    one, two = make_corps()
    (three, _) = make_corps()
    return [replace(one, corpid="ww1wrong"), replace(two, corpid="ww2limited"), replace(three, corpid="ww3sound")]


async def test_a_misconfigured_and_a_limited_corp_hold_up_nobody(premises: Premises) -> None:
    wrong, limited, sound = corps = three_corps()
    world = small_world(corps, employees=6, customers=3 * CUSTOMERS)
    simulator = Simulator(world, callback_base_url=premises.url, port=premises.api_port)
    simulator.faults.rate_limit(limited.corpid, 3600)
    # The file has another secret than the platform.
    (agent,) = wrong.agents
    premises.configure([replace(wrong, agents=[replace(agent, secret="not-the-secret-of-this-app")]), limited, sound])
    await premises.migrate()
    async with simulator, premises.serving() as service:
        took = [
            await _seconds_until_read(premises, simulator, corps, customers)
            for customers in zip(*(list(world.corp(corp.corpid).customers) for corp in corps), strict=True)
        ]
        assert len(took) == CUSTOMERS
        assert max(took) < USUAL_SECONDS

        async def said() -> bool:
            _, answer = await premises.admin("/readyz")
            return bool(answer["components"][f"corp:{limited.corpid}"]["state"] == "degraded")

        await until_async(said)
        status, answer = await premises.admin("/readyz")
        assert (status, answer["status"]) == (200, "ready")
        parts = {name: answer["components"][f"corp:{name}"] for name in (wrong.corpid, limited.corpid, sound.corpid)}
        assert parts[sound.corpid] == {"state": "ok", "reason": ""}
        assert parts[wrong.corpid]["state"] == "degraded"
        assert "a human must act" in parts[wrong.corpid]["reason"]
        assert "40001" in parts[wrong.corpid]["reason"]
        assert "rate limit" in parts[limited.corpid]["reason"]
        assert "45009" in parts[limited.corpid]["reason"]
        _, metrics = await premises.admin("/metrics")
        assert f'wecom_crm_corp_paused{{code="40001",corpid="{wrong.corpid}"}} 1.0' in metrics

        # Apply does not depend on the API: everything that was pushed is in the ledger, and waits to be read.
        applied = "SELECT corpid, count(*) FROM contact_event GROUP BY corpid ORDER BY corpid"
        await until(lambda: premises.crm(applied) == [(corp.corpid, CUSTOMERS) for corp in corps])
        of_customers = "WHERE kind = 'customer' AND stage = 'first' GROUP BY corpid"
        customers = f"SELECT corpid, count(*) FROM pending_read {of_customers}"
        waiting = dict(premises.crm(customers))
        assert waiting == {wrong.corpid: CUSTOMERS, limited.corpid: CUSTOMERS}
        assert await service.stop() == 0

        # A start does not ask again what was refused a moment ago.
        await service.start()
        await until_async(said)
        assert await service.stop() == 0
    refused = simulator.counts.gettoken[wrong.corpid, None]
    assert 1 <= len(refused) <= 2
    assert len(simulator.counts.gettoken[sound.corpid, sound.agents[0].agentid]) == 1
    assert simulator.counts.calls(corpid=limited.corpid, outcome=45009) < 50
    assert simulator.counts.foreign == 0


async def _seconds_until_read(
    premises: Premises, simulator: Simulator, corps: Sequence[CorpSetup], customers: Sequence[str]
) -> float:
    """Push an add in each corp; how long it took after the answers until the last corp's customer was read."""
    changes = [
        simulator.world.add(corp.corpid, customer, "ZhangSan") for corp, customer in zip(corps, customers, strict=True)
    ]
    await simulator.pusher.push(changes)
    await simulator.pusher.drain()
    began = time.monotonic()
    read = "SELECT 1 FROM customer_follow WHERE corpid = ? AND userid = ? AND fetched_at IS NOT NULL"
    await until(lambda: bool(premises.crm(read, corps[-1].corpid, customers[-1])))
    return time.monotonic() - began
