"""The product in Kafka mode: ``serve ingest``, copies of ``serve sync``, and what a stranger finds in the topic."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import text

from core.db.engine import Database
from core.envelope import interpret
from tests.support.databases import database_on
from tests.support.product import Premises, query
from tests.support.servers.kcat import Kcat
from tests.support.waiting import until, until_async
from wecom.callback import document_of
from wecom.simulator.faults import Faults
from wecom.simulator.population import CorpSetup, small_world
from wecom.simulator.scenario import Scenario
from wecom.simulator.server import Simulator
from wecom_crm.comparison import Report, compare
from wecom_crm.demo import FAULTS
from wecom_crm.demo_world import make_corps
from wecom_crm.progress import until_applied
from wecom_crm.service_process import ServiceProcess, free_ports

GROUP = "crm-sync"
ZEROS = "missing 0, spurious 0, differing 0"
EventId = tuple[str, str]
"""corpid and event id."""


@dataclass(frozen=True, slots=True)
class Published:
    """A record of the topic as kcat shows it."""

    partition: int
    offset: int
    key: str
    value: str
    headers: Mapping[str, str]

    @property
    def document(self) -> dict[str, Any]:
        """The JSON."""
        found: dict[str, Any] = json.loads(self.value)
        return found

    @property
    def event(self) -> EventId:
        """Whose event it is."""
        document = self.document
        return document["corpid"], document["event_id"]


def topic_records(kcat: Kcat, bootstrap: str, topic: str) -> list[Published]:
    """Everything in the topic, in the order of each partition. Blocks."""
    lines = kcat(bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J").splitlines()
    found: list[Published] = []
    for line in lines:
        record = json.loads(line)
        headers = dict(zip(record["headers"][::2], record["headers"][1::2], strict=True))
        found.append(Published(record["partition"], record["offset"], record["key"], record["payload"], headers))
    return sorted(found, key=lambda record: (record.partition, record.offset))


@dataclass
class Cluster:
    """A small WeCom beside a folder of the product that is configured for Kafka and a database of its own."""

    premises: Premises
    kcat: Kcat
    bootstrap: str
    topic: str
    corps: Sequence[CorpSetup]
    simulator: Simulator
    scenario: Scenario
    database: Database
    copies_made: int = 0

    def ingest(self) -> ServiceProcess:
        """``serve ingest``, not started."""
        return self.premises.service("ingest")

    def sync(self) -> ServiceProcess:
        """One more copy of ``serve sync``, not started, with a log, a folder and an admin port of its own."""
        self.copies_made += 1
        name = f"sync-{self.copies_made}"
        (admin_port,) = free_ports(1)
        premises = self.premises
        copy = ServiceProcess(
            premises.config,
            admin_port,
            command=premises.installed.command,
            services="sync",
            environ=premises.installed.environ
            | {
                "WECOM_CRM_SERVICE__ADMIN_PORT": str(admin_port),
                "WECOM_CRM_SERVICE__DATA_DIR": str(premises.folder / name),
            },
            folder=premises.folder,
        )
        copy.log = premises.folder / f"{name}.log"
        return copy

    def partitions_of(self, copy: ServiceProcess) -> list[list[int]]:
        """The partitions that this copy was given, one list for each time that the group was arranged."""
        lines = copy.log.read_text(encoding="utf-8").splitlines() if copy.log.exists() else []
        told = [json.loads(line) for line in lines if '"kafka.assigned"' in line]
        return [line["partitions"] for line in told]

    @asynccontextmanager
    async def running(self, *services: ServiceProcess) -> AsyncIterator[None]:
        """These are ready when the block begins, and killed at its end; what fails in it shows how their logs end."""
        try:
            async with asyncio.TaskGroup() as starting:
                for service in services:
                    starting.create_task(service.start())
            yield
        except BaseException as error:
            for service in services:
                error.add_note(f"{service.log.name} ends so:\n{service.last_words()}")
            raise
        finally:
            for service in services:
                with suppress(RuntimeError):
                    await service.kill()

    @asynccontextmanager
    async def streaming(self, per_second: float) -> AsyncIterator[None]:
        """Changes are made and pushed at that rate in the block; its end waits for the answers."""
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stream(per_second, enough), name="stream")
            try:
                yield
            finally:
                enough.set()
        await self.simulator.pusher.drain()

    async def _stream(self, per_second: float, enough: asyncio.Event) -> None:
        began, made = time.monotonic(), 0
        while not enough.is_set():
            await self.simulator.pusher.push([self.scenario.next_change()])
            made += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, made / per_second - (time.monotonic() - began))):
                    await enough.wait()

    async def until_acknowledged(self, more: int, deadline: float = 60.0) -> None:
        """Wait until so many more pushes got their 200 than now."""
        counts = self.simulator.pusher.counts
        goal = counts.acknowledged + more
        await until(lambda: counts.acknowledged >= goal, deadline)

    async def until_applied(self, more: int, deadline: float = 60.0) -> None:
        """Wait until the ledger has so many more events than now."""
        goal = await self.count("contact_event") + more

        async def enough() -> bool:
            return await self.count("contact_event") >= goal

        await until_async(enough, deadline)

    def acknowledged(self) -> set[EventId]:
        """The events that were answered with 200."""
        return {
            (change.corpid, interpret(change.corpid, delivery.callback, 0, document_of(change.leaves)).event_id)
            for delivery in self.simulator.pusher.deliveries
            if delivery.acknowledged
            for change in (delivery.change,)
        }

    def unrelayed(self) -> int:
        """Deliveries that the relay has not reported, from its own file."""
        found = query(self.premises.log_file, "SELECT position FROM reader_group WHERE name = 'relay'")
        return self.premises.newest() + 1 - int(found[0][0] if found else 1)

    async def metric(self, name: str) -> float:
        """The sum of a metric of the process on the main admin port; ``name`` may have some of its labels."""
        status, words = await self.premises.admin("/metrics")
        assert status == 200
        found = re.findall(rf"^wecom_crm_{re.escape(name)}\S* (\S+)$", words, re.MULTILINE)
        return sum(map(float, found))

    async def records(self) -> list[Published]:
        """Everything in the topic."""
        return await asyncio.to_thread(topic_records, self.kcat, self.bootstrap, self.topic)

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the CRM database."""
        async with self.database.read() as conn:
            return [tuple(row) for row in await conn.execute(text(statement))]

    async def count(self, table: str) -> int:
        """Rows of a table."""
        ((number,),) = await self.rows(f"SELECT count(*) FROM {table}")
        return int(number)

    async def positions(self) -> dict[int, int]:
        """How far each partition is applied."""
        return {int(number): int(at) for number, at in await self.rows("SELECT partition, position FROM log_position")}

    async def members(self) -> int:
        """Members of sync's group, 0 while it is being rearranged."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await client.start()
        try:
            (answer,) = await client.describe_consumer_groups([GROUP])
        finally:
            await client.close()
        ((_error, _group, state, _type, _protocol, members, *_rest),) = answer.groups
        return len(members) if state == "Stable" else 0

    async def until_receiving(self, deadline: float = 20.0) -> None:
        """Wait until the process on the main ports takes callbacks, ready or not."""

        async def receives() -> bool:
            try:
                _, body = await self.premises.admin("/readyz")
            except OSError:
                return False
            return bool(body["components"].get("ingest", {}).get("state") == "ok")

        await until_async(receives, deadline)

    async def push(self, changes: int) -> None:
        """Make so many changes, as fast as they are taken, and wait for the answers."""
        for _ in range(changes):
            await self.simulator.pusher.push([self.scenario.next_change()])
        await self.simulator.pusher.drain()

    async def until_relayed(self, deadline: float = 60.0) -> None:
        """Wait until the relay has reported everything that was received."""
        await until(lambda: self.unrelayed() == 0, deadline)

    async def until_recorded(self, seconds: float = 60.0) -> None:
        """Wait until everything acknowledged is in the ledger, whichever way it came."""
        wanted = len(self.acknowledged())

        async def recorded() -> bool:
            return await self.count("contact_event") >= wanted

        await until_async(recorded, seconds)

    async def until_read(self, seconds: float = 60.0) -> None:
        """Wait until nothing is left to be read."""

        async def read() -> bool:
            return await self.rows("SELECT count(*) FROM pending_read WHERE stage <> 'recheck'") == [(0,)]

        await until_async(read, seconds)

    async def settle(self, seconds: float = 90.0) -> Sequence[Published]:
        """Wait until everything received is published, applied and read; returns what is in the topic."""
        await self.until_relayed(seconds)
        records = await self.records()
        try:
            await until_applied(self.database, lambda: len(records), seconds=seconds, first=0)
        except TimeoutError as error:
            left = await self.rows("SELECT * FROM pending_read WHERE stage <> 'recheck'")
            error.add_note(f"positions {await self.positions()}, to read:\n" + "\n".join(map(str, left)))
            raise
        return records

    async def check(self, records: Sequence[Published]) -> Report:
        """Nothing acknowledged is missing, in the topic, in the ledger or in the tables, and nothing is there twice."""
        assert {record.event for record in records} == self.acknowledged()
        assert self.errors() == []
        return await self.check_tables()

    def errors(self) -> list[str]:
        """What the processes logged as errors."""
        logs = [path.read_text(encoding="utf-8") for path in sorted(self.premises.folder.glob("*.log"))]
        return [line for log in logs for line in log.splitlines() if '"level": "error"' in line]

    async def check_tables(self) -> Report:
        """The same without the topic."""
        pusher = self.simulator.pusher
        acknowledged = self.acknowledged()
        assert (pusher.counts.given_up, pusher.under_way) == (0, 0)
        ledger = await self.rows("SELECT corpid, event_id FROM contact_event")
        assert len(ledger) == len(set(ledger))
        assert set(ledger) == acknowledged
        assert await self.count("dead_letter") == 0
        assert self.simulator.counts.foreign == 0
        report = await compare(self.database, self.simulator.truth())
        assert str(report) == ZEROS, repr(report)
        return report


@asynccontextmanager
async def cluster_on(
    premises: Premises,
    kcat: Kcat,
    bootstrap: str,
    topic: str,
    server: str,
    *,
    customers: int = 150,
    faults: Mapping[str, Any] = FAULTS,
    create: bool = True,
    **pusher: Any,
) -> AsyncIterator[Cluster]:
    """Configured, migrated, with a topic unless ``create`` is False; no process of the product runs yet.

    ``server`` is the address of a database server for who may create databases; ``pusher`` are its arguments.
    """
    corps = make_corps()
    premises.configure(corps)
    world = small_world(corps, employees=20, customers=customers)
    simulator = Simulator(
        world, callback_base_url=premises.url, port=premises.api_port, faults=Faults(**faults), backlog=5000, **pusher
    )
    async with database_on(server) as url, simulator:
        with premises.config.open("a", encoding="utf-8") as config:
            config.write(f'\n[database]\nurl = "{url}"\n')
            config.write(f'\n[kafka]\nbootstrap_servers = "{bootstrap}"\ntopic = "{topic}"\n')
        await premises.migrate()
        if create:
            created = await premises.run("topics", "create")
            assert created.status == 0, created
        database = Database(url)
        try:
            yield Cluster(premises, kcat, bootstrap, topic, corps, simulator, Scenario(world), database)
        finally:
            await database.close()
