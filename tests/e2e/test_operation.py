"""What an operator meets: an old schema, a taken log, a taken port, the admin port."""

from __future__ import annotations

import socket
import sqlite3
import stat
from contextlib import closing

import pytest
from alembic.script import ScriptDirectory

from core import schema
from core.db.engine import Database
from tests.support.product import Premises
from tests.support.waiting import until, until_async
from wecom.simulator.population import small_world
from wecom.simulator.server import Simulator
from wecom_crm import __version__
from wecom_crm.demo_world import make_corps
from wecom_crm.migrate import alembic_config, migrate

pytestmark = pytest.mark.asyncio

REVISIONS = [
    revision.revision for revision in reversed(list(ScriptDirectory.from_config(alembic_config()).walk_revisions()))
]


async def test_migrate_makes_the_tables_and_says_so_once(premises: Premises) -> None:
    premises.configure(make_corps())
    first = await premises.run("migrate")
    assert (first.status, first.err) == (0, "")
    assert first.out == f"The database is at schema {schema.CURRENT} now (before: empty).\n"
    again = await premises.run("migrate")
    assert (again.status, again.err) == (0, "")
    assert again.out == f"The database is at schema {schema.CURRENT} already.\n"
    assert stat.S_IMODE(premises.data.stat().st_mode) == 0o700
    assert premises.crm("SELECT count(*) FROM customer") == [(0,)]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_older_schema_is_refused_by_sync_and_brought_up_by_migrate(
    premises: Premises, revision: str
) -> None:
    premises.configure(make_corps())
    premises.data.mkdir()
    database = Database(f"sqlite+aiosqlite:///{premises.crm_file}")
    await migrate(database, revision)
    await database.close()
    if revision != schema.CURRENT:
        refused = await premises.run("serve", "sync")
        assert refused.status == 1
        assert f"the schema is {revision}, this release needs {schema.CURRENT}: run wecom-crm migrate" in refused.err
    done = await premises.run("migrate")
    assert done.status == 0, done
    assert f"is at schema {schema.CURRENT}" in done.out
    assert premises.crm("SELECT version_num FROM alembic_version") == [(schema.CURRENT,)]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "the database has no tables yet: run wecom-crm migrate"),
        ("0000", f"the schema is 0000, this release needs {schema.CURRENT}: run wecom-crm migrate"),
        ("9999", f"the database was migrated by a newer release (schema 9999, this one is {schema.CURRENT})"),
    ],
)
async def test_serve_sync_refuses_a_schema_that_is_not_its_own(
    premises: Premises, found: str | None, words: str
) -> None:
    premises.configure(make_corps())
    if found is not None:
        await premises.migrate()
        with closing(sqlite3.connect(premises.crm_file)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (found,))
    done = await premises.run("serve", "sync")
    assert done.status == 1
    assert words in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


async def test_serve_all_receives_without_tables_and_goes_on_when_they_are_there(premises: Premises) -> None:
    corps = make_corps()
    premises.configure(corps)
    world = small_world(corps, employees=2, customers=4)
    simulator = Simulator(world, callback_base_url=premises.url, port=premises.api_port)
    async with simulator, premises.serving(ready=False):

        async def refused() -> bool:
            try:
                status, answer = await premises.admin("/readyz")
            except OSError:
                return False
            return status == 503 and "run wecom-crm migrate" in answer["components"].get("sync", {}).get("reason", "")

        await until_async(refused)
        _, answer = await premises.admin("/readyz")
        assert answer["components"]["ingest"] == {"state": "ok", "reason": ""}
        assert (await premises.admin("/livez"))[0] == 200
        corpid = corps[0].corpid
        customer = next(iter(world.corp(corpid).customers))
        await simulator.pusher.push([world.add(corpid, customer, "ZhangSan")])
        await simulator.pusher.drain()
        assert simulator.pusher.counts.acknowledged == 1

        await premises.migrate()

        async def is_ready() -> bool:
            return (await premises.admin("/readyz"))[0] == 200

        await until_async(is_ready, 30)
        await until(lambda: bool(premises.crm("SELECT 1 FROM customer WHERE userid = ? AND name <> ''", customer)))


async def test_one_service_has_the_log_the_ports_and_an_admin_port(premises: Premises) -> None:
    corps = make_corps()
    premises.configure(corps)
    await premises.migrate()
    async with premises.serving() as service:
        assert await premises.admin("/livez") == (200, {"status": "live", "stalled": []})
        status, ready = await premises.admin("/readyz")
        assert (status, ready["status"]) == (200, "ready")
        names = {"admin", "ingest", "sync", "apply", "sidebar", *(f"corp:{corp.corpid}" for corp in corps)}
        assert ready["components"] == {name: {"state": "ok", "reason": ""} for name in names}
        status, metrics = await premises.admin("/metrics")
        assert status == 200
        assert f'wecom_crm_info{{version="{__version__}"}} 1.0' in metrics
        assert (await premises.admin("/other"))[0] == 404

        second = await premises.run("serve", "all")
        assert (second.status, second.out) == (1, "")
        assert f"belongs to process {service.pid}: end it first, or give this one another data_dir" in second.err

        other = {
            "WECOM_CRM_SERVICE__DATA_DIR": str(premises.folder / "other"),
            "WECOM_CRM_SERVICE__PORT": "0",
        }
        taken = await premises.run("serve", "all", environ=other)
        assert taken.status == 1
        assert f"127.0.0.1:{premises.admin_port} can't be listened on" in taken.err.splitlines()[-1]
        assert "change [service] admin_port, or end what uses it" in taken.err.splitlines()[-1]
        service.check()


async def test_a_taken_port_ends_it_with_a_sentence(premises: Premises) -> None:
    premises.configure(make_corps())
    await premises.migrate()
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        mine.listen()
        port = mine.getsockname()[1]
        done = await premises.run("serve", "all", environ={"WECOM_CRM_SERVICE__PORT": str(port)})
    assert done.status == 1
    last = done.err.splitlines()[-1]
    assert f"127.0.0.1:{port} can't be listened on" in last
    assert "change [service] port, or end what uses it" in last
    assert "Traceback" not in done.err


async def test_what_ingest_alone_has_kept_sync_alone_applies(premises: Premises) -> None:
    corps = make_corps()
    premises.configure(corps)
    await premises.migrate()
    world = small_world(corps, employees=2, customers=4)
    simulator = Simulator(world, callback_base_url=premises.url, port=premises.api_port)
    customers = [(corp.corpid, name) for corp in corps for name in world.corp(corp.corpid).customers]
    async with simulator:
        async with premises.serving("ingest") as ingest:
            await simulator.pusher.push([world.add(corpid, name, "ZhangSan") for corpid, name in customers])
            await simulator.pusher.drain()
            assert await ingest.stop() == 0
        assert premises.newest() == len(customers) == simulator.pusher.counts.acknowledged
        assert premises.crm("SELECT count(*) FROM contact_event") == [(0,)]
        async with premises.serving("sync") as sync:
            read = "SELECT corpid, userid FROM customer WHERE fetched_at IS NOT NULL"
            await until(lambda: sorted(premises.crm(read)) == sorted(customers))
            assert await sync.stop() == 0
