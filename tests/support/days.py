"""Two weeks in the life of two corporations: the simulator's people, the real pipeline, and a journal of what happened.

All clocks are the simulator's, the database's included, so the tables and their history are of those two weeks. After
every change the pipeline is drained: what is known is what is. The journal is taken from the simulator's own state.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.credentials import CredentialStore
from core.db.engine import Database
from core.db.tables import corp
from core.eventlog.base import Reader
from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.metrics import Metrics
from sync.apply import Applier, DatabasePositions, decode_delivery
from sync.kinds import KINDS
from sync.refresh import CorpRefresher
from tests.support.simulators import KEY, TOKEN, Clock
from tests.support.waiting import DEADLINE
from wecom.callback import document_of
from wecom.client import WeComClient
from wecom.simulator.population import CorpSetup, small_world
from wecom.simulator.scenario import Scenario
from wecom.simulator.server import Simulator
from wecom.simulator.state import Agent, Callback, Relation, Tag
from wecom.simulator.world import Change, World
from wecom.tokens import Secret
from wecom_crm.migrate import migrate

CORPID, OTHER = "ww1234567890abcdef", "wwfedcba0987654321"
"""The corp that pages ask about, and another one with the same employees and partly the same customers."""
AGENTID = 1000002
FIRST = datetime(2026, 3, 1, 16, tzinfo=UTC)
"""Midnight in China before Monday, the second of March."""
DAYS = 14

Pair = tuple[str, str]
"""Customer and employee."""


@dataclass(frozen=True)
class Turn:
    """A relation that began or ended."""

    corpid: str
    customer: str
    employee: str
    moment: int
    lost_by: str | None
    """None if it began."""
    tags: tuple[Tag, ...]
    """As they were just before."""

    @property
    def day(self) -> str:
        """In China."""
        return (datetime.fromtimestamp(self.moment, UTC) + timedelta(hours=8)).date().isoformat()


@dataclass
class Days:
    """What happened, and the state at the end."""

    world: World
    database: Database
    turns: list[Turn] = field(default_factory=list)
    standing: dict[int, dict[str, set[Pair]]] = field(default_factory=dict)
    """By moment, of each corp, who had whom from then on."""

    def relations(self, corpid: str = CORPID) -> Mapping[Pair, Relation]:
        """All of them, ended or not."""
        return {
            (customer, employee): relation
            for customer, followers in self.world.corps[corpid].relations.items()
            for employee, relation in followers.items()
        }


@dataclass
class Pipeline:
    """The log, what applies it, and what reads from the platform."""

    log: EmbeddedLog
    reader: Reader
    refreshers: Mapping[str, CorpRefresher]

    async def deliver(self, change: Change) -> None:
        """Let it come in, be applied, and everything be read that is due by that."""
        await self.log.append(change.corpid, document_of(change.leaves), {"callback": "contacts"})
        async with asyncio.timeout(DEADLINE):
            while sum((await self.reader.lag()).values()):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            while not await self.refreshers[change.corpid]._round(asyncio.Event()):
                pass


class SimulatedDatabase(Database):
    """Its clock is the simulator's, and never stands still."""

    def __init__(self, url: str, time: Clock) -> None:
        super().__init__(url)
        self._time = time
        self._told = 0

    async def clock(self, conn: AsyncConnection) -> datetime:
        self._told += 1
        return datetime.fromtimestamp(int(self._time.now), UTC) + timedelta(microseconds=self._told)


@asynccontextmanager
async def lived(url: str, folder: Path, *, changes: int, seed: int = 1) -> AsyncIterator[Days]:
    """The database at this address after two weeks with so many changes."""
    clock = Clock(FIRST.timestamp())
    setups = [
        CorpSetup(corpid, corpid, [Agent(AGENTID, f"secret of {corpid}")], [Callback("contacts", TOKEN, KEY, AGENTID)])
        for corpid in (CORPID, OTHER)
    ]
    world = small_world(setups, seed=seed, employees=10, customers=60, shared=0.5, clock=clock)
    async with AsyncExitStack() as stack:
        database = SimulatedDatabase(url, clock)
        stack.push_async_callback(database.close)
        await migrate(database)
        async with database.write() as conn:
            await conn.execute(insert(corp), [{"corpid": corpid, "name": corpid} for corpid in (CORPID, OTHER)])
        simulator = await stack.enter_async_context(Simulator(world))
        log = await EmbeddedLog.open(folder / "days-log.sqlite")
        stack.push_async_callback(log.close)
        client = await stack.enter_async_context(_client(simulator.url, database))
        reader = await stack.enter_async_context(log.reader("crm-sync", DatabasePositions(database)))
        health = Health()
        refreshers = {
            corpid: CorpRefresher(
                *(corpid, f"agent:{AGENTID}", "me", database, client, KINDS),
                *(Metrics(), health.component(corpid), clock),
            )
            for corpid in (CORPID, OTHER)
        }
        pipeline = Pipeline(log, reader, refreshers)
        stopping = asyncio.Event()
        applier = Applier(database, decode_delivery, Metrics(), health.component("apply"), applied=lambda _: None)
        running = asyncio.create_task(applier.run(reader, stopping))
        days = Days(world, database)
        try:
            await _live(days, Scenario(world, seed=seed), clock, pipeline, changes)
        finally:
            stopping.set()
            await running
        yield days


def _client(url: str, database: Database) -> WeComClient:
    return WeComClient(
        base_url=url,
        secrets={
            (corpid, f"agent:{AGENTID}"): Secret(corpid, f"agent:{AGENTID}", f"secret of {corpid}")
            for corpid in (CORPID, OTHER)
        },
        store=CredentialStore(database, "a key of at least thirty-two characters"),
        observer=Metrics(),
        total_seconds=30.0,
    )


async def _live(days: Days, scenario: Scenario, clock: Clock, pipeline: Pipeline, changes: int) -> None:
    source = random.Random(changes)
    for moment in sorted(source.sample(range(3600, DAYS * 86_400), changes)):
        clock.now = FIRST.timestamp() + moment
        before = _state(days.world)
        change = scenario.next_change()
        _note(days, before, int(clock.now))
        await pipeline.deliver(change)


def _state(world: World) -> dict[tuple[str, str, str], tuple[bool, tuple[Tag, ...]]]:
    return {
        (corpid, customer, employee): (relation.stands, tuple(relation.tags))
        for corpid, one in world.corps.items()
        for customer, followers in one.relations.items()
        for employee, relation in followers.items()
    }


def _note(days: Days, before: Mapping[tuple[str, str, str], tuple[bool, tuple[Tag, ...]]], moment: int) -> None:
    after = _state(days.world)
    standing: dict[str, set[Pair]] = {corpid: set() for corpid in days.world.corps}
    for key, (stands, _) in after.items():
        stood, tags = before.get(key, (False, ()))
        if stands:
            standing[key[0]].add(key[1:])
        if stands != stood:
            relation: Any = days.world.corps[key[0]].find(*key[1:])
            days.turns.append(Turn(*key, moment, None if stands else relation.lost_by, tags))
    days.standing[moment] = standing
