"""The product on what its users run: Kafka between ingest and two copies of sync, PostgreSQL or MariaDB below."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from core.db.engine import Database
from tests.support.databases import database_on
from tests.support.product import Premises
from wecom.simulator.faults import Faults
from wecom.simulator.population import small_world
from wecom.simulator.scenario import Scenario
from wecom.simulator.server import Simulator
from wecom_crm.comparison import compare
from wecom_crm.demo import FAULTS
from wecom_crm.demo_world import make_corps
from wecom_crm.progress import until_applied
from wecom_crm.service_process import ServiceProcess, free_ports

pytestmark = pytest.mark.asyncio

CHANGES = 600
COPIES = 2


@asynccontextmanager
async def copies_of_sync(premises: Premises) -> AsyncIterator[list[ServiceProcess]]:
    """``serve sync`` several times, each with an admin port and a folder of its own, beside ``serve ingest``."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(premises.serving("ingest"))]
        for number in range(COPIES):
            (admin_port,) = free_ports(1)
            copy = ServiceProcess(
                premises.config,
                admin_port,
                command=premises.installed.command,
                services="sync",
                environ=premises.installed.environ
                | {
                    "WECOM_CRM_SERVICE__ADMIN_PORT": str(admin_port),
                    "WECOM_CRM_SERVICE__DATA_DIR": str(premises.folder / f"sync-{number}"),
                },
                folder=premises.folder,
            )
            stack.push_async_callback(copy.kill)
            await copy.start()
            found.append(copy)
        yield found


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


async def test_two_copies_of_sync_end_in_three_zeros(premises: Premises, kafka: str, topic: str, server: str) -> None:
    corps = make_corps()
    premises.configure(corps)
    world = small_world(corps, employees=20, customers=150)
    simulator = Simulator(world, callback_base_url=premises.url, port=premises.api_port, faults=Faults(**FAULTS))
    async with database_on(server) as url:
        with premises.config.open("a", encoding="utf-8") as config:
            config.write(f'\n[database]\nurl = "{url}"\n\n[kafka]\nbootstrap_servers = "{kafka}"\ntopic = "{topic}"\n')
        await premises.migrate()
        created = await premises.run("topics", "create")
        assert created.status == 0, created
        database = Database(url)
        async with simulator, copies_of_sync(premises) as services:
            scenario = Scenario(world)
            for _ in range(CHANGES):
                await simulator.pusher.push([scenario.next_change()])
            await simulator.pusher.drain()
            await until_applied(database, premises.newest, seconds=90, first=0)
            report = await compare(database, simulator.truth())
            for service in services:
                assert await service.stop() == 0, service.last_words()
        await database.close()
    assert (str(report), simulator.pusher.counts.given_up) == ("missing 0, spurious 0, differing 0", 0)
    assert report.relations > report.customers > 100
