"""Random histories of small corps, told in any order, twice or not at all, to the product that follows them.

Everything is real but the network and the time: the simulator's API is called in this process, and one clock that is
moved by hand is the platform's, the database's and ours. A history is the same whenever it is told again.

Not in them: an id that is given to somebody else, several renamings of one person, and a return of somebody who had
customers. ``tests/contract/test_aliases.py`` and ``test_departures.py`` are about those.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, String, bindparam, func, select

from core.db.engine import Database
from core.db.tables import pending_read
from core.db.wishes import Wish, write_wishes
from core.envelope import encode, interpret
from core.eventlog.base import Batch, Record, Span
from core.health import Health
from core.metrics import Metrics
from sync.apply import Applier, decode_envelope
from sync.effects import TAG, TAG_GROUP, Object, effect_of
from sync.kinds import KINDS
from sync.refresh import CorpRefresher
from tests.support.untold import Known, Names, Shown, ends_a_person, known_of, renamed
from wecom import client as client_module
from wecom.callback import document_of
from wecom.client import WeComClient
from wecom.errcodes import error_of
from wecom.simulator.answers import Refusal
from wecom.simulator.api import GET, Api
from wecom.simulator.events import Change
from wecom.simulator.faults import Faults
from wecom.simulator.people import CREATE_PARTY, CREATE_USER, DELETE_USER
from wecom.simulator.population import CorpSetup, small_world
from wecom.simulator.scenario import Scenario
from wecom.simulator.state import Agent
from wecom.simulator.stories import settled_staff
from wecom.simulator.truth import Truth
from wecom.simulator.visibility import Visibility
from wecom.simulator.world import CUSTOMER_DELETE, DELETE, TooSoon, World

_AGENT = 1000002
_BEGAN = 1_770_000_000
# How long it takes until the next thing happens, in seconds, and how often that is so.
_PACES = (((1, 1), 50), ((1, 30), 30), ((60, 3_600), 15), ((3_600, 40 * 3_600), 5))
_DAY = 25 * 3_600
_COMINGS = 0.08
# Answers that lag for longer may be believed for good.
_SHORT = 5.0
# Between reads when nothing happens any more: as what waits comes due, then beyond all that waits for hours.
_PAUSES = (3, 10, 70, 700, 30 * 3_600)


class Clock:
    """Unix seconds, moved by hand. Whoever measures sees it never stand still."""

    def __init__(self) -> None:
        self.now = float(_BEGAN)

    def __call__(self) -> float:
        return self.now

    def measured(self) -> float:
        """For those who compare what they saw one after the other: a moment later each time."""
        self.now += 0.001
        return self.now


class WorldClient(WeComClient):
    """The product's client, whose calls end at the simulator's handlers instead of in the network."""

    def __init__(self, api: Api, world: World) -> None:
        self._api = api
        self._world = world
        self.shown: Shown = {}
        """Relations that answers listed, to the last beginning that one told."""

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
        if api == GET:
            for one in answer["follow_user"]:
                key = (corpid, answer["external_contact"]["external_userid"], one["userid"].lower())
                self.shown[key] = max(self.shown.get(key, 0), one["createtime"])
        return client_module._parse(api, 200, _bytes(answer))


def _bytes(answer: Any) -> bytes:
    return json.dumps(answer).encode()


class Histories:
    """As many histories as there are corps, one each, and a database that follows them."""

    def __init__(self, database: Database, seed: int, corps: int, *, lag: float = 0.0, lag_share: float = 0.5) -> None:
        """``lag``: for so many seconds answers show what was before a change, in ``lag_share`` of the cases."""
        self.seed = seed
        self._random = random.Random(f"order {seed}")
        self._clock = Clock()
        setups = [CorpSetup(f"ww{seed}x{number}", "Corp", (Agent(_AGENT, "s"),), ()) for number in range(corps)]
        sizes = {"employees": 4 * corps, "customers": 5 * corps}
        self.world = small_world(setups, seed=seed, clock=self._clock, **sizes)
        self._scenario = Scenario(self.world, seed=seed, others=0.5)
        self._lag = lag
        self._faults = Faults(seed=seed, clock=self._clock)
        self._faults.set(lag_share=lag_share if lag else 0.0, lag_seconds=lag, unseen_share=0.2 if lag else 0.0)
        self._visibility = Visibility(self._faults)
        self.world.observers.append(self._visibility)
        self.world.object_observers.append(self._visibility)
        self._client = WorldClient(Api(self.world, self._faults, self._visibility), self.world)
        self._database = database
        database.clock_column = self._moment_column  # type: ignore[method-assign]
        metrics, health = Metrics(), Health()
        self._applier = Applier(
            database, decode_envelope, metrics, health.component("apply"), applied=lambda corpids: None
        )
        self._refreshers = [
            CorpRefresher(
                *(setup.corpid, f"agent:{_AGENT}", "me", database, self._client, KINDS, metrics),
                *(health.component(f"corp:{setup.corpid}"), self._clock.measured),
            )
            for setup in setups
        ]
        self._position = 0
        self._untold: list[Change] = []
        self._happened: list[Change] = []
        self._dropped: list[Change] = []
        self.told = 0

    @property
    def known(self) -> Known:
        """The state, as far as it can be known to who was not told of everything."""
        return known_of(self.world, self._happened, self._dropped, self._client.shown)

    @property
    def truth(self) -> Truth:
        return self.known.truth

    async def run(self, changes: int, *, drop: float = 0.1, twice: float = 0.2) -> None:
        """Let so many changes happen, and tell of them in any order while it goes on."""
        made = 0
        # One step of the scenario may be several changes, all of which have happened with the first.
        while made < changes or self._scenario._queue:
            made += 1
            paces, shares = zip(*_PACES, strict=True)
            self._clock.now += self._random.randint(*self._random.choices(paces, shares)[0])
            for change in (*self._comings(), self._scenario.next_change()):
                if self._random.random() < (drop * 3 if _matters(change) else drop):
                    self._dropped.append(change)
                else:
                    self._happened.append(change)
                    self._untold += [change] * (2 if self._random.random() < twice else 1)
            if self._random.random() < 0.12:
                await self._tell_some()
            if self._random.random() < 0.12:
                await self._tell_some(newest=1)
                await self.read(self._random.sample(self._refreshers, k=(len(self._refreshers) + 1) // 2))
        self._random.shuffle(self._untold)
        await self.tell(self._untold)
        self._untold = []

    async def _tell_some(self, newest: int = 0) -> None:
        """Any part of what is not told yet, and for certain so many of the newest."""
        old, now = self._untold[: len(self._untold) - newest], self._untold[len(self._untold) - newest :]
        self._random.shuffle(old)
        part = self._random.randrange(len(old) + 1)
        self._untold = old[part:]
        await self.tell([*old[:part], *now])

    async def heal(self) -> None:
        """Read once more what was never told of, as reconciliation would on the next day: a corp that does not know of
        somebody's new id, or where answers lagged for longer than is waited for, as a whole.

        A day later, as an answer is no better word than an ending that is younger.
        """
        self._clock.now += _DAY
        self._visibility._unseen.clear()
        whole = {change.corpid for change in self._dropped if renamed(change)}
        names = self.known.names
        wishes: dict[str, set[Object]] = {corpid: self._everything(corpid) for corpid in whole}
        if self._lag > _SHORT:
            wishes = {corpid: self._everything(corpid) for corpid in self.world.corps}
        for change in self._dropped:
            wishes.setdefault(change.corpid, set()).update(self._about(change, names))
        for corpid, objects in sorted(wishes.items()):
            async with self._database.write() as conn:
                now = await self._database.clock(conn)
                for kind, object_id in sorted(objects):
                    wish = Wish(object_id, source="reconcile")
                    await write_wishes(conn, self._database.dialect, corpid, [wish], now, kind)
        await self.settle()

    def _comings(self) -> Iterable[Change]:
        """Now and then somebody leaves with everything, or comes back who had left without ever having a customer, or a
        department is made again.

        What somebody with customers had ends with the departure, or stays in doubt if the return is known before that.
        """
        if self._random.random() > _COMINGS:
            return ()
        corp = self._random.choice(list(self.world.corps.values()))
        had = {userid for followers in corp.relations.values() for userid in followers}
        away = sorted(corp.freed.keys() - corp.employees.keys() - corp.renamed.keys() - had)
        closed = sorted(corp.closed.keys() - corp.departments.keys())
        staff = [employee.userid for employee in settled_staff(corp)]
        with suppress(TooSoon):
            if away and self._random.random() < 0.7:
                return (self.world.create_employee(corp.corpid, self._random.choice(away), "back again"),)
            if closed and self._random.random() < 0.7:
                number = self._random.choice(closed)
                return (self.world.create_department(corp.corpid, "made again", department_id=number),)
            if staff:
                return self.world.delete_employee(corp.corpid, self._random.choice(staff))
        return ()

    async def settle(self) -> None:
        """Let time go by until nothing waits to be read."""
        for _ in range(8):
            for pause in _PAUSES:
                self._clock.now += pause
                await self.read()
            if not await self._left():
                return
        raise AssertionError(f"seed {self.seed}: something is read for ever")

    def _everything(self, corpid: str) -> set[Object]:
        """Without customers' tags, which name no employee and whose answers do not lag."""
        corp = self.world.corps[corpid]
        objects = {this for this in corp.told if this[0] not in {TAG, TAG_GROUP}}
        return objects | {("customer", external_userid) for external_userid in corp.relations}

    def _about(self, change: Change, names: Names) -> Iterable[Object]:
        """What a change was about, and who belongs to it: the employee of a relation, who is read as well when an event
        names one for the first time, and the customers of one who left. Employees by the ids that they have as far as
        anybody knows."""
        userid = change.employee.lower()
        if (new := renamed(change)) is not None:
            objects = [("member", userid), ("member", new)]
        else:
            objects = [*effect_of(self._envelope(change)).wishes]
        if change.customer and userid:
            objects.append(("member", userid))
        if change.change == DELETE_USER:
            relations = self.world.corps[change.corpid].relations
            objects += [("customer", one) for one, followers in relations.items() if userid in followers]
        return [(kind, names.today(change.corpid, one) if kind == "member" else one) for kind, one in objects]

    async def tell(self, changes: Sequence[Change]) -> None:
        """Let these events arrive, in this order."""
        if not changes:
            return
        begin, self._position = self._position, self._position + len(changes)
        records = [
            Record(0, begin + place, change.corpid, encode(self._envelope(change)), {}, int(self._clock() * 1000))
            for place, change in enumerate(changes)
        ]
        await self._applier._apply(Batch(records, {0: Span(begin, self._position)}), f"log {self.seed}")
        self.told += len(changes)

    def _envelope(self, change: Change) -> Any:
        return interpret(change.corpid, "contacts", int(self._clock() * 1000), document_of(change.leaves))

    async def read(self, refreshers: Sequence[CorpRefresher] | None = None) -> None:
        """Read what is due."""
        stopping = asyncio.Event()
        for refresher in self._refreshers if refreshers is None else refreshers:
            while not await refresher._round(stopping):
                pass

    def _moment_column(self) -> ColumnElement[Any]:
        """The moment of the world's clock, whenever the database is asked for its own."""

        def told() -> str:
            return datetime.fromtimestamp(self._clock.measured(), UTC).isoformat()

        return bindparam("moment", callable_=told, type_=String, unique=True)

    async def _left(self) -> int:
        async with self._database.read() as conn:
            return int((await conn.execute(select(func.count()).select_from(pending_read))).scalar_one())


def _matters(change: Change) -> bool:
    """What reading tells least of: that somebody or something ends, or is there again."""
    ends = {DELETE, CUSTOMER_DELETE, CREATE_USER, CREATE_PARTY}
    return ends_a_person(change) or change.change in ends
