"""A refresher of one corp with everything real around it but the platform, and time that is moved by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import update

from core.db.bulk import put
from core.db.engine import Database
from core.db.tables import customer, pending_read
from core.db.wishes import CUSTOMER
from core.health import Health
from core.metrics import Metrics
from sync.effects import Effect
from sync.facts import Facts
from sync.kinds import KINDS
from sync.objects.customers import write_facts
from sync.pending import want
from sync.refresh import CorpRefresher
from tests.support.crm import crm_database, day, rows
from tests.support.loopback_api import SECRET_NAME, LoopbackApi


class Clock:
    """Seconds, moved by hand, and by ``step`` whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Desk:
    """A refresher of one corp with everything real around it but the platform."""

    def __init__(self, database: Database, api: LoopbackApi, refresher: CorpRefresher, health: Health) -> None:
        self.database = database
        self.api = api
        self.refresher = refresher
        self.health = health
        self.stopping = asyncio.Event()

    async def want(self, *userids: str, times: int = 1, more_to_come: bool = False, **more: Any) -> None:
        """Events named these customers, and not for the first time."""
        effects = [
            Effect(True, userid, wishes=((CUSTOMER, userid),), **more) for userid in userids for _ in range(times)
        ]
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            known = [{"corpid": "ww1", "userid": userid, "first_seen_at": now} for userid in sorted(set(userids))]
            await put(conn, customer, known)
            await want(conn, self.database.dialect, "ww1", effects, now, more_to_come=more_to_come)

    async def added(self, member: str = "zhangsan", userid: str = "wmA") -> None:
        """An add event."""
        async with self.database.write() as conn:
            now = await self.database.clock(conn)
            await write_facts(conn, self.database.dialect, "ww1", {(userid, member): Facts(add_at=day(10))}, now)
        await self.want(userid)

    async def turn(self) -> float:
        """One round; for how long there is nothing to do."""
        return await self.refresher._round(self.stopping)

    async def drain(self) -> None:
        """Rounds until nothing is due."""
        while not await self.turn():
            pass

    async def pending(self, userid: str = "wmA") -> dict[str, Any] | None:
        return next((row for row in await rows(self.database, pending_read) if row["object_id"] == userid), None)

    async def set(self, **values: Any) -> None:
        """Change every pending row."""
        async with self.database.write() as conn:
            await conn.execute(update(pending_read).values(**values))

    async def later(self, seconds: float) -> None:
        """Let so much time go by for everything that waits: the rows move into the past instead of us waiting."""
        by = timedelta(seconds=seconds)
        for row in await rows(self.database, pending_read):
            names = ("wanted_at", "due_at", "read_at", "leased_until", "recheck_at", "recheck_last_at")
            async with self.database.write() as conn:
                await conn.execute(
                    update(pending_read)
                    .where(pending_read.c.object_id == row["object_id"])
                    .values({name: row[name] - by for name in names if row[name] is not None})
                )

    @property
    def state(self) -> tuple[str, str]:
        component = self.health.component("corp:ww1")
        return component.state, component.reason


@asynccontextmanager
async def desk_at(folder: Path, clock: Callable[[], float] | None = None) -> AsyncIterator[Desk]:
    api, metrics, health = LoopbackApi(), Metrics(), Health()
    async with crm_database(folder) as database, api.served(), api.client(database, metrics) as client:
        component = health.component("corp:ww1")
        refresher = CorpRefresher(
            "ww1", SECRET_NAME, "me", database, client, KINDS, metrics, component, clock or time.monotonic
        )
        yield Desk(database, api, refresher, health)
