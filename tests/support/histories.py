"""Random histories of small corps, told in any order, twice or not at all, to the product that follows them.

Everything is real but the network and the waiting: the simulator's API is called in this process, and what waits for
its time is moved into the past.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update

from core.db.engine import Database
from core.db.tables import pending_read
from core.db.wishes import Wish, write_wishes
from core.envelope import encode, interpret
from core.eventlog.base import Batch, Record, Span
from core.health import Health
from core.metrics import Metrics
from sync.apply import Applier, decode_envelope
from sync.effects import Object, effect_of
from sync.kinds import KINDS
from sync.refresh import CorpRefresher
from wecom import client as client_module
from wecom.callback import document_of
from wecom.client import WeComClient
from wecom.errcodes import error_of
from wecom.simulator.answers import Refusal
from wecom.simulator.api import Api
from wecom.simulator.events import Change
from wecom.simulator.faults import Faults
from wecom.simulator.population import CorpSetup, small_world
from wecom.simulator.scenario import Scenario
from wecom.simulator.state import Agent
from wecom.simulator.truth import Truth, truth_of
from wecom.simulator.visibility import Visibility
from wecom.simulator.world import World

_AGENT = 1000002
# Only their events tell of these: a read shows nothing of it, or for a while the opposite.
_NEVER_DROPPED = frozenset({"del_external_contact", "del_follow_user", "delete_user"})
_BEGAN = timedelta(hours=6)
"""So long ago the histories begin: an answer more than a day after an ending would be taken for a return."""


class Clock:
    """The platform's, a second further with every change."""

    def __init__(self) -> None:
        self.now = float(int(time.time() - _BEGAN.total_seconds()))

    def __call__(self) -> float:
        return self.now


class WorldClient(WeComClient):
    """The product's client, whose calls end at the simulator's handlers instead of in the network."""

    def __init__(self, api: Api, world: World) -> None:
        self._api = api
        self._world = world

    async def call(
        self,
        corpid: str,
        secret_name: str,
        api: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        share: str = "events",
    ) -> dict[str, Any]:
        """See ``WeComClient``: also the answer is cleaned as there."""
        corp = self._world.corps[corpid]
        try:
            answer = self._api.handlers[api](corp, corp.agents[0], json if json is not None else params or {})
        except Refusal as refusal:
            raise error_of(api, refusal.errcode, "refused") from None
        return client_module._parse(api, 200, _bytes(answer))


def _bytes(answer: Any) -> bytes:
    return json.dumps(answer).encode()


class Histories:
    """As many histories as there are corps, one each, and a database that follows them."""

    def __init__(self, database: Database, seed: int, corps: int) -> None:
        self.seed = seed
        self._random = random.Random(f"order {seed}")
        self._clock = Clock()
        setups = [CorpSetup(f"ww{seed}x{number}", "Corp", (Agent(_AGENT, "s"),), ()) for number in range(corps)]
        sizes = {"employees": 4 * corps, "customers": 5 * corps}
        self.world = small_world(setups, seed=seed, clock=self._clock, **sizes)
        self._scenario = Scenario(self.world, seed=seed, others=0.5)
        faults = Faults(seed=seed, clock=self._clock)
        visibility = Visibility(faults)
        self.world.observers.append(visibility)
        self.world.object_observers.append(visibility)
        client = WorldClient(Api(self.world, faults, visibility), self.world)
        self._database = database
        metrics, health = Metrics(), Health()
        self._applier = Applier(
            database, decode_envelope, metrics, health.component("apply"), applied=lambda corpids: None
        )
        self._refreshers = [
            CorpRefresher(
                *(setup.corpid, f"agent:{_AGENT}", "me", database, client, KINDS, metrics),
                health.component(f"corp:{setup.corpid}"),
            )
            for setup in setups
        ]
        self._position = 0
        self._untold: list[Change] = []
        self._dropped: list[Change] = []
        self.told = 0

    @property
    def truth(self) -> Truth:
        """Without what only the events told that nobody was told of."""
        truth = truth_of(self.world)
        lost = {text for change in self._dropped for name, text in change.leaves if name == "CurMemVer"}
        told = {key: row for key, row in truth.group_chat_versions.items() if key[2] not in lost}
        return replace(truth, group_chat_versions=told)

    async def run(self, changes: int, *, drop: float = 0.1, twice: float = 0.2) -> None:
        """Let so many changes happen, and tell of them in any order while it goes on."""
        made = 0
        # One step of the scenario may be several changes, all of which have happened with the first.
        while made < changes or self._scenario._queue:
            made += 1
            self._clock.now += 1
            change = self._scenario.next_change()
            if change.change not in _NEVER_DROPPED and not _renames(change) and self._random.random() < drop:
                self._dropped.append(change)
            else:
                self._untold += [change] * (2 if self._random.random() < twice else 1)
            if self._random.random() < 0.08:
                self._random.shuffle(self._untold)
                part = self._random.randrange(len(self._untold) + 1)
                now, self._untold = self._untold[:part], self._untold[part:]
                await self._tell(now)
                await self._read(self._random.sample(self._refreshers, k=len(self._refreshers) // 2))
        self._random.shuffle(self._untold)
        await self._tell(self._untold)
        self._untold = []
        self._clock.now += 60

    async def heal(self) -> None:
        """Read once more what was never told of, as reconciliation would."""
        for change in self._dropped:
            effect = effect_of(self._envelope(change))
            async with self._database.write() as conn:
                now = await self._database.clock(conn)
                for kind, object_id in (*effect.wishes, *_named(change)):
                    wish = Wish(object_id, source="reconcile")
                    await write_wishes(conn, self._database.dialect, change.corpid, [wish], now, kind)
        await self.settle()

    async def settle(self) -> None:
        """Let time go by until nothing waits to be read."""
        for _ in range(40):
            await self._later(timedelta(hours=30))
            await self._read(self._refreshers)
            if not await self._left():
                return
        raise AssertionError(f"seed {self.seed}: something is read for ever")

    async def _tell(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        begin, self._position = self._position, self._position + len(changes)
        records = [
            Record(0, begin + place, change.corpid, encode(self._envelope(change)), {}, int(time.time() * 1000))
            for place, change in enumerate(changes)
        ]
        await self._applier._apply(Batch(records, {0: Span(begin, self._position)}), f"log {self.seed}")
        self.told += len(changes)

    def _envelope(self, change: Change) -> Any:
        return interpret(change.corpid, "contacts", int(self._clock() * 1000), document_of(change.leaves))

    async def _read(self, refreshers: Sequence[CorpRefresher]) -> None:
        stopping = asyncio.Event()
        for refresher in refreshers:
            while not await refresher._round(stopping):
                pass

    async def _later(self, by: timedelta) -> None:
        t = pending_read.c
        names = ("wanted_at", "due_at", "read_at", "leased_until", "recheck_at", "recheck_last_at")
        async with self._database.write() as conn:
            for row in (await conn.execute(select(pending_read))).mappings().all():
                here = (t.corpid == row["corpid"]) & (t.kind == row["kind"]) & (t.object_id == row["object_id"])
                moved = {name: row[name] - by for name in names if row[name] is not None}
                await conn.execute(update(pending_read).where(here).values(moved))

    async def _left(self) -> int:
        async with self._database.read() as conn:
            return int((await conn.execute(select(func.count()).select_from(pending_read))).scalar_one())


def _renames(change: Change) -> bool:
    return any(name == "NewUserID" and text for name, text in change.leaves)


def _named(change: Change) -> list[Object]:
    """The employee of a relation, who is read as well when an event names one for the first time."""
    return [("member", change.employee.lower())] if change.customer and change.employee else []
