"""Sync as one service: the loop that applies and one loop per corp that reads."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from core.db.engine import Database
from core.db.tables import corp
from core.db.upsert import upsert
from core.eventlog.base import EventLog
from core.health import Health
from core.metrics import Metrics
from core.runtime import aloud
from core.schema import require_current
from core.settings import Settings
from sync.apply import Applier, DatabasePositions, Decode, decode_delivery
from sync.gauges import keep_measuring
from sync.kinds import KINDS
from sync.pending import release_all
from sync.refresh import CorpRefresher
from wecom.client import WeComClient

T = TypeVar("T")

GROUP = "crm-sync"
"""Who reads ingest's own log in the embedded mode."""


class SyncService:
    """Reads the event log and keeps the CRM tables equal to what WeCom says."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        log: EventLog,
        client: WeComClient,
        health: Health,
        metrics: Metrics,
        *,
        decode: Decode = decode_delivery,
        group: str = GROUP,
        alone: bool = True,
    ) -> None:
        """``decode`` knows what the records of ``log`` are, ``group`` is the name to read under.

        ``alone`` says that no other process works on this database: leases left by the one before are then void.
        """
        self._settings = settings
        self._database = database
        self._log = log
        self._metrics = metrics
        self._health = health
        self._group = group
        self._alone = alone
        reader = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._apply_health = health.component("apply", stalls_after=120)
        # Kept when ``run`` is called again after a failure, so that its ceilings hold until the process starts anew.
        self._applier = Applier(
            database, decode, metrics, self._apply_health, applied=self._wake, caught_up=self._hurry
        )
        self._refreshers = {
            entry.corpid: CorpRefresher(
                entry.corpid,
                entry.customer_agent.secret_name,
                reader,
                database,
                client,
                KINDS,
                metrics,
                health.component(f"corp:{entry.corpid}"),
                behind=lambda: self._applier.behind,
            )
            for entry in settings.corps
        }

    async def run(self, stopping: asyncio.Event) -> None:
        """Until told to stop. Raises ``SchemaOutdated``, a database that is away, or what broke the apply loop."""
        try:
            await self._run(stopping)
        finally:
            # None of them turns now, and that is no reason to end a process in which something else works.
            for name in ("apply", *(f"corp:{corpid}" for corpid in self._refreshers)):
                self._health.component(name).waiting("sync is not running")

    async def _run(self, stopping: asyncio.Event) -> None:
        await require_current(self._database)
        async with self._database.write() as conn:
            statement = upsert(self._database.dialect, corp, lambda _old, new: [("name", new["name"])])
            rows = [{"corpid": entry.corpid, "name": entry.name} for entry in self._settings.corps]
            await conn.execute(statement, sorted(rows, key=lambda row: row["corpid"]))
            if self._alone:
                await release_all(conn)
        async with AsyncExitStack() as stack:
            joining = stack.enter_async_context(self._log.reader(self._group, DatabasePositions(self._database)))
            reader = await _unless_stopping(joining, stopping)
            if reader is None:
                return
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for corpid, refresher in self._refreshers.items():
                tasks.create_task(aloud(refresher.run(stopping)), name=f"refresh:{corpid}")
            tasks.create_task(aloud(self._applier.run(reader, stopping)), name="apply")
            tasks.create_task(
                keep_measuring(self._database, self._metrics, list(self._refreshers), stopping), name="gauges"
            )

    def wake(self, corpid: str) -> None:
        """Somebody waits for something of this corp: look now."""
        self._hurry((corpid,))

    def _wake(self, corpids: Iterable[str], *, hurry: bool = False) -> None:
        for corpid in corpids:
            if corpid in self._refreshers:
                self._refreshers[corpid].wake(hurry=hurry)

    def _hurry(self, corpids: Iterable[str]) -> None:
        self._wake(corpids, hurry=True)


async def _unless_stopping(work: Coroutine[Any, Any, T], stopping: asyncio.Event) -> T | None:
    """Its result; None, and it is cancelled, if stopping comes first: a log that is away is waited for."""
    working = asyncio.create_task(work, name="join")
    stop = asyncio.create_task(stopping.wait(), name="join-stop")
    try:
        await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stop.cancel()
        await asyncio.gather(working, stop, return_exceptions=True)
