"""Two weeks in the life of two corporations: the simulator's people, the real pipeline, and a journal of what happened.

All clocks are the simulator's, the database's included, so the tables and their history are of those two weeks. After
every change the pipeline is drained: what is known is what is. But if there is an outage, what happens in it becomes
known afterwards. The journal is taken from the simulator's own state.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, String, bindparam, insert, select

from core.credentials import CredentialStore
from core.db.engine import Database
from core.db.tables import corp, customer_follow_tag
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
from wecom.simulator.scenario_days import working_days
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
SETTLED = 10
"""After so many seconds all that a change led to has been read."""
_LOSSES = frozenset({"del_external_contact", "del_follow_user"})

Pair = tuple[str, str]
"""Customer and employee."""


@dataclass
class Turn:
    """A relation that began or ended."""

    corpid: str
    customer: str
    employee: str
    moment: int
    lost_by: str | None
    """None if it began."""
    tags: tuple[Tag, ...]
    """As they were just before; if it ended in an outage, those that the tables had when that became known."""

    @property
    def ended(self) -> tuple[str, str, str, int] | None:
        """What of which corp ended when; None if it began."""
        return None if self.lost_by is None else (self.corpid, self.customer, self.employee, self.moment)

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
    outage: tuple[int, int] | None = None
    """The days in which nothing was applied, from one and until before the other, counted from 0."""

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
    clock: Clock

    async def deliver(self, change: Change) -> None:
        """Let it come in, be applied, and everything be read that is due by that."""
        await self.log.append(change.corpid, document_of(change.leaves), {"callback": "contacts"})
        async with asyncio.timeout(DEADLINE):
            while sum((await self.reader.lag()).values()):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            await self._read(change.corpid)

    async def settle(self) -> None:
        """Let also be read what waits for a few seconds, which go by."""
        for _ in range(SETTLED // 5):
            self.clock.tick(5)
            async with asyncio.timeout(DEADLINE):
                for corpid in self.refreshers:
                    await self._read(corpid)

    async def _read(self, corpid: str) -> None:
        while not await self.refreshers[corpid]._round(asyncio.Event()):
            pass


class SimulatedDatabase(Database):
    """Its clock is the simulator's, and never stands still."""

    def __init__(self, url: str, time: Clock) -> None:
        super().__init__(url)
        self._time = time
        self._told = 0

    def clock_column(self) -> ColumnElement[Any]:
        return bindparam("moment", callable_=self._moment, type_=String, unique=True)

    def _moment(self) -> str:
        self._told += 1
        return (datetime.fromtimestamp(int(self._time.now), UTC) + timedelta(microseconds=self._told)).isoformat()


@asynccontextmanager
async def lived(
    url: str,
    folder: Path,
    *,
    changes: int,
    seed: int = 1,
    outage: tuple[int, int] | None = None,
    settled: Callable[[Days], Awaitable[None]] | None = None,
) -> AsyncIterator[Days]:
    """The database at this address after two weeks with so many changes.

    ``settled`` is called after each change on which no other follows at once, when everything has been read.
    """
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
        pipeline = Pipeline(log, reader, refreshers, clock)
        stopping = asyncio.Event()
        applier = Applier(database, decode_delivery, Metrics(), health.component("apply"), applied=lambda _: None)
        running = asyncio.create_task(applier.run(reader, stopping))
        days = Days(world, database, outage=outage)
        moments = list(working_days(FIRST.timestamp(), days=DAYS, changes=changes, seed=seed))
        try:
            await _live(days, Scenario(world, seed=seed), moments, pipeline, settled)
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


async def _live(
    days: Days,
    scenario: Scenario,
    moments: Sequence[float],
    pipeline: Pipeline,
    settled: Callable[[Days], Awaitable[None]] | None,
) -> None:
    clock = pipeline.clock
    begin, end = (FIRST.timestamp() + day * 86_400 for day in days.outage or (DAYS, DAYS))
    late: list[Change] = []
    for moment, following in pairwise((*moments, math.inf)):
        if late and moment >= end:
            clock.now = end
            await _catch_up(days, late, pipeline)
            late = []
        clock.now = moment
        before = _state(days.world)
        made = [scenario.next_change()]
        while scenario._queue:
            # What has happened with it.
            made.append(scenario.next_change())
        _note(days, before, int(moment))
        if begin <= moment < end:
            late += made
            continue
        for change in made:
            await pipeline.deliver(change)
        if settled is not None and following > moment + SETTLED:
            await pipeline.settle()
            await settled(days)


async def _catch_up(days: Days, late: Sequence[Change], pipeline: Pipeline) -> None:
    """Deliver what waited, and note with which tags the tables had a relation when its end became known."""
    for change in late:
        pipeline.clock.tick(3)
        if change.change in _LOSSES:
            pair = (change.customer, change.employee.lower())
            ended = (change.corpid, *pair, change.create_time)
            (turn,) = [one for one in days.turns if one.ended == ended]
            turn.tags = await _tags_of(days.database, change.corpid, *pair)
        await pipeline.deliver(change)


async def _tags_of(database: Database, corpid: str, customer: str, employee: str) -> tuple[Tag, ...]:
    t = customer_follow_tag.c
    wanted = select(t.type, t.group_name, t.tag_name, t.tag_id).where(
        t.corpid == corpid, t.userid == customer, t.follow_userid == employee
    )
    async with database.read() as conn:
        return tuple([Tag(*row) for row in await conn.execute(wanted)])


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
