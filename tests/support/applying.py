"""An event log, a CRM database and what applies the one to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from core.db.engine import Database
from core.eventlog.base import Batch, Reader
from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.metrics import Metrics
from sync.apply import Applier, DatabasePositions, decode_delivery
from tests.support.crm import rows


class _Impatient:
    """A reader that waits for a record only for a moment, so that its applier hears at once that it shall stop."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def read(self, limit: int, wait: float) -> Batch:
        """See ``Reader``."""
        return await self._reader.read(limit, min(wait, 0.01))


class ApplyBench:
    """Deliver documents, apply them, look at the rows."""

    def __init__(self, database: Database, log: EmbeddedLog) -> None:
        self.database = database
        self.log = log
        self.metrics = Metrics()
        self.woken: list[set[str]] = []
        self.health = Health().component("apply")
        self.applier = self.new_applier()

    def new_applier(self) -> Applier:
        """As a new process has it."""
        return Applier(self.database, decode_delivery, self.metrics, self.health, applied=self._note)

    def _note(self, corpids: Iterable[str]) -> None:
        self.woken.append(set(corpids))

    async def deliver(self, *documents: bytes, corpid: str = "ww1") -> None:
        """Append deliveries to the log, as ingest does."""
        for document in documents:
            await self.log.append(corpid, document, {"callback": "contacts"})

    async def apply(self, deadline: float = 20.0) -> None:
        """Run the applier until everything in the log is applied; raises what it raises."""
        stopping = asyncio.Event()
        async with self.log.reader("crm-sync", DatabasePositions(self.database)) as reader:
            task = asyncio.create_task(self.applier.run(_Impatient(reader), stopping))

            async def drained() -> None:
                while not task.done() and (self.applier.behind or sum((await reader.lag()).values())):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)

            try:
                async with asyncio.timeout(deadline):
                    await drained()
            finally:
                stopping.set()
                async with asyncio.timeout(deadline):
                    await task

    async def rows(self, table: Any, *columns: str) -> list[dict[str, Any]]:
        """Every row in key order."""
        return await rows(self.database, table, *columns)
