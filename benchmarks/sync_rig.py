"""What ``benchmarks/sync.py`` measures on: a Kafka broker, PostgreSQL, a fake API, and the product as processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiokafka import AIOKafkaProducer
from sqlalchemy import make_url

from benchmarks.fake_api import EMPLOYEE
from benchmarks.slices import ROOT, Server
from core.envelope import encode, interpret
from tests.support.databases import database_on
from tests.support.servers.kafka import KafkaServer
from tests.support.servers.postgres import PostgresServer
from wecom.callback import document_of
from wecom.simulator.population import CorpSetup
from wecom.simulator.state import Agent, Callback
from wecom_crm.demo_world import write_config
from wecom_crm.service_process import ServiceProcess, free_ports

CUSTOMERS = 1000
TOPIC = "benchmark"
CORP = CorpSetup(
    "ww1234567890abcdef",
    "Plum Garden Tea",
    agents=(Agent(1000002, "a-secret"),),
    callbacks=(Callback("customers", "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"),),
)
_START = 1_760_000_000
# Customers whom no event names, each with a relation that has a tag, and all of it with a version.
_FILL = """
INSERT INTO customer (corpid, userid, name, type, gender, avatar, first_seen_at, fetched_at)
    SELECT '{corpid}', 'wmOther' || n, 'name ' || n, 1, 1, 'https://a/0', now(), now()
    FROM generate_series(1, {rows}) n;
INSERT INTO customer_follow (corpid, userid, follow_userid, remark, description, createtime, add_way, oper_userid,
    remark_mobiles, fetched_at)
    SELECT corpid, userid, '{employee}', name, '', {start}, 1, '{employee}', '[]', now() FROM customer;
INSERT INTO customer_follow_tag (corpid, userid, follow_userid, tag_key, type, tag_id, group_name, tag_name)
    SELECT corpid, userid, follow_userid, 'et0', 1, 'et0', '客户等级', '重要' FROM customer_follow;
INSERT INTO customer_history (corpid, userid, valid_from, source, name, type, gender, avatar)
    SELECT corpid, userid, now(), 'event', name, type, gender, avatar FROM customer;
INSERT INTO customer_follow_history (corpid, userid, follow_userid, valid_from, source, remark, description, createtime,
    add_way, oper_userid, remark_mobiles)
    SELECT corpid, userid, follow_userid, now(), 'event', remark, description, createtime, add_way, oper_userid,
    remark_mobiles FROM customer_follow;
INSERT INTO customer_follow_tag_history (corpid, userid, follow_userid, tag_key, valid_from, source, type, tag_id,
    group_name, tag_name)
    SELECT corpid, userid, follow_userid, tag_key, now(), 'event', type, tag_id, group_name, tag_name
    FROM customer_follow_tag;
"""


class TimedPostgres(PostgresServer):
    """Keeps what it confirms, and knows when each transaction was committed."""

    def command(self) -> list[str]:
        """See ``Server``."""
        return [*super().command(), "--track_commit_timestamp=on"]


@dataclass
class Rig:
    """Everything that runs, and the edits that nobody has made so far."""

    folder: Path
    kafka: str
    url: str
    naive_url: str
    large_url: str
    """Another database of the product, for many more customers."""
    api: str
    config: Path
    port: int
    admin_port: int
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def service(self, services: str, url: str | None = None) -> ServiceProcess:
        """``wecom-crm serve``, not started; on the database at this address, if it is to be another one."""
        (admin_port,) = free_ports(1)
        environ = os.environ | {
            "WECOM_CRM_DATABASE__URL": url or self.url,
            "WECOM_CRM_SERVICE__ADMIN_PORT": str(admin_port),
            "WECOM_CRM_SERVICE__DATA_DIR": str(self.folder / services),
        }
        return ServiceProcess(self.config, admin_port, services=services, environ=environ, folder=ROOT)

    def edits(self, number: int) -> list[bytes]:
        """So many documents, each of them another event, over all customers in turn."""
        return [_edit(next(self.numbers)) for _ in range(number)]

    async def publish(self, documents: Sequence[bytes]) -> None:
        """Put them into the topic as the relay does."""
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all", linger_ms=5)
        await producer.start()
        try:
            sent = []
            for document in documents:
                envelope = interpret(CORP.corpid, CORP.callbacks[0].name, int(time.time() * 1000), document)
                headers = {"event": envelope.event, "change": envelope.change, "schema": str(envelope.schema)}
                pairs = [(name, text.encode()) for name, text in headers.items()]
                sent.append(await producer.send(TOPIC, encode(envelope), envelope.key.encode(), headers=pairs))
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def calls(self) -> int:
        """How often the API was asked for a customer so far."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.api}/counts") as answer:
            return int((await answer.json())["calls"])

    @asynccontextmanager
    async def connection(self, url: str) -> AsyncIterator[Any]:
        """A connection of the bare driver."""
        connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(False))
        try:
            yield connection
        finally:
            await connection.close()


async def fill(rig: Rig, url: str, rows: int) -> None:
    """Put so many customers into the database's tables."""
    async with rig.connection(url) as connection:
        for statement in _FILL.format(corpid=CORP.corpid, employee=EMPLOYEE, rows=rows, start=_START).split(";\n"):
            if statement.strip():
                await connection.execute(statement, timeout=600)
        await connection.execute("VACUUM ANALYZE", timeout=600)


def assigned_at(service: ServiceProcess) -> float:
    """When this copy of sync got its partitions last, in Unix seconds."""
    lines = service.log.read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines if '"kafka.assigned"' in line]
    return datetime.fromisoformat(told[-1]["at"]).timestamp()


@asynccontextmanager
async def rig_in(folder: Path) -> AsyncIterator[Rig]:
    """Servers are started, tables and the topic made; the product does not run yet."""
    async with AsyncExitStack() as stack:
        postgres, kafka = TimedPostgres(folder), KafkaServer(folder)
        for server in (postgres, kafka):
            await asyncio.to_thread(server.start)
            stack.callback(server.stop)
        api = stack.enter_context(_fake_api())
        url = await stack.enter_async_context(database_on(postgres.address))
        naive_url = await stack.enter_async_context(database_on(postgres.address))
        large_url = await stack.enter_async_context(database_on(postgres.address))
        port, admin_port = free_ports(2)
        config = folder / "wecom-crm.toml"
        rig = Rig(
            folder, kafka.address, url, naive_url, large_url, f"http://127.0.0.1:{api.port}", config, port, admin_port
        )
        write_config(config, [CORP], rig.api, port, admin_port)
        with config.open("a", encoding="utf-8") as file:
            file.write(f'\n[database]\nurl = "{url}"\n\n[kafka]\nbootstrap_servers = "{kafka.address}"\n')
            file.write(f'topic = "{TOPIC}"\n')
        for address in (url, naive_url, large_url):
            await _run(config, "migrate", environ={"WECOM_CRM_DATABASE__URL": address})
        await _run(config, "topics", "create")
        yield rig


@contextmanager
def _fake_api() -> Iterator[Server]:
    command = [sys.executable, "-m", "benchmarks.fake_api"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield Server("fake API", process)
    finally:
        process.kill()
        process.wait()


async def _run(config: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "wecom_crm", "--config", str(config), *arguments]
    done = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=os.environ | (environ or {}), stdout=asyncio.subprocess.DEVNULL
    )
    if await done.wait() != 0:
        raise RuntimeError(f"wecom-crm {' '.join(arguments)} ended with status {done.returncode}")


def _edit(number: int) -> bytes:
    return document_of(
        [
            *(("ToUserName", CORP.corpid), ("FromUserName", "sys"), ("CreateTime", str(_START + number // 100))),
            *(("MsgType", "event"), ("Event", "change_external_contact"), ("ChangeType", "edit_external_contact")),
            *(("UserID", EMPLOYEE), ("ExternalUserID", f"wmCustomerOfTheBenchmark{number % CUSTOMERS:08}")),
            ("State", f"n{number}"),
        ]
    )
