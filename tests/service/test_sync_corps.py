"""Sync as one service: several corps that do not hold up one another, stopping, and starting again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import update

from core.db.engine import Database
from core.db.tables import corp, customer, customer_follow, dead_letter, log_position, pending_read
from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.metrics import Metrics
from core.schema import SchemaOutdated
from core.settings import Settings, parse
from sync.dead_letters import Ceiling, TooManyDeadLetters
from sync.service import SyncService
from tests.support.crm import contact_change, crm_database, day, rows
from tests.support.loopback_api import LoopbackApi, follower
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.asyncio

CORPS = ("ww1", "ww2", "ww3")


def settings_of(folder: Path, api: LoopbackApi, corpids: tuple[str, ...] = CORPS) -> Settings:
    agent = {"agentid": 1000002, "secret": "s", "customer_data": True}
    return parse(
        {
            "service": {"secret_key": "k" * 40, "data_dir": str(folder)},
            "wecom": {"api_base_url": api.base_url},
            "corp": [{"corpid": corpid, "name": f"Corp {corpid}", "agent": [agent]} for corpid in corpids],
        }
    )


class House:
    """The service of three corps on one log and one database."""

    def __init__(self, database: Database, log: EmbeddedLog, api: LoopbackApi, service: SyncService) -> None:
        self.database = database
        self.log = log
        self.api = api
        self.service = service
        self.health = service._health
        self.metrics = service._metrics
        self.stopping = asyncio.Event()

    async def deliver(self, *userids: str, corpid: str, change: str = "add_external_contact") -> None:
        for userid in userids:
            await self.log.append(corpid, contact_change(change, day(10), userid), {"callback": "contacts"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """The service runs in the block and has to stop at its end though reads hang."""
        self.stopping.clear()
        task = asyncio.create_task(self.service.run(self.stopping))
        try:
            yield task
        finally:
            self.stopping.set()
            await asyncio.wait_for(task, 2.5)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Until the condition, which may ask the database, holds."""
        async with asyncio.timeout(DEADLINE):
            while not await condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def names(self, corpid: str) -> list[str]:
        found = await rows(self.database, customer, "corpid", "userid", "name")
        return [row["userid"] for row in found if row["corpid"] == corpid and row["name"]]

    async def pending(self, corpid: str) -> list[dict[str, Any]]:
        return [row for row in await rows(self.database, pending_read) if row["corpid"] == corpid]

    def component(self, name: str) -> tuple[str, str]:
        found = self.health.component(name)
        return found.state, found.reason


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    api, metrics = LoopbackApi(), Metrics()
    async with (
        crm_database(tmp_path, ()) as database,
        await EmbeddedLog.open(tmp_path / "log.sqlite") as log,
        api.served(),
        api.client(database, metrics, CORPS) as client,
    ):
        service = SyncService(settings_of(tmp_path, api), database, log, client, Health(), metrics)
        yield House(database, log, api, service)


async def test_a_delivery_becomes_a_row_of_its_own_corp(house: House) -> None:
    for corpid in CORPS:
        house.api.show("wmA", follower(remark=corpid), corpid=corpid, name=f"Lin of {corpid}")
    async with house.running():
        for corpid in CORPS:
            await house.deliver("wmA", corpid=corpid)
        for corpid in CORPS:
            await house.until(lambda corpid=corpid: house.names(corpid))
    found = await rows(house.database, customer, "corpid", "userid", "name")
    assert found == [{"corpid": corpid, "userid": "wmA", "name": f"Lin of {corpid}"} for corpid in CORPS]
    assert [row["remark"] for row in await rows(house.database, customer_follow)] == list(CORPS)
    assert [row["name"] for row in await rows(house.database, corp)] == [f"Corp {corpid}" for corpid in CORPS]
    assert house.api.tokens_asked == dict.fromkeys(CORPS, 1)


async def test_a_blocked_and_a_misconfigured_corp_hold_up_nobody(house: House) -> None:
    house.api.codes["ww1"] = 45009
    house.api.token_codes["ww2"] = 40001
    crowd = [f"wm{number}" for number in range(60)]
    for userid in crowd:
        house.api.show(userid, follower(), corpid="ww3")
    async with house.running():
        await house.deliver("wmA", corpid="ww1")
        await house.deliver("wmA", corpid="ww2")

        async def said() -> bool:
            return all(house.component(f"corp:{corpid}")[0] == "degraded" for corpid in ("ww1", "ww2"))

        await house.until(said)
        asked = house.api.reads.count(("ww1", "wmA"))
        # While the two are in trouble, with events of theirs in between.
        for userid in crowd:
            for corpid in CORPS:
                await house.deliver(userid, corpid=corpid)

        async def read() -> bool:
            return len(await house.names("ww3")) == len(crowd)

        await house.until(read)
        ready, told = house.health.ready()
        assert ready
        reasons = {name: part["reason"] for name, part in told["components"].items() if part["state"] == "degraded"}
        assert reasons == {
            "corp:ww1": "blocked by the platform's rate limit: externalcontact/get: 45009",
            "corp:ww2": "paused, a human must act: gettoken: 40001",
        }
        assert house.metrics.corp_paused.labels("ww2", "40001")._value.get() == 1
    # Neither is asked in a loop: not for the token, and not for what is blocked.
    assert house.api.tokens_asked["ww2"] == 1
    assert house.api.reads.count(("ww1", "wmA")) == asked == 1
    assert house.api.read_of("ww1") == ["wmA"]
    # Their rows stay and say why; those that came later were not even tried.
    for corpid, reason in (("ww1", "externalcontact/get: 45009"), ("ww2", "gettoken: 40001")):
        left = {row["object_id"]: row for row in await house.pending(corpid)}
        assert set(left) == {"wmA", *crowd}
        assert left["wmA"]["reason"] == reason
        assert {row["leased_by"] for row in left.values()} == {None}
    assert await house.pending("ww3") == []


async def test_a_paused_corp_goes_on_after_a_new_start_with_a_better_setting(house: House, tmp_path: Path) -> None:
    house.api.token_codes["ww2"] = 40001
    house.api.show("wmA", follower(), corpid="ww2")
    async with house.running():
        await house.deliver("wmA", corpid="ww2")

        async def said() -> bool:
            return house.component("corp:ww2")[0] == "degraded"

        await house.until(said)
    house.api.token_codes.clear()
    async with house.api.client(house.database, Metrics(), CORPS) as client:
        # Another secret: what was remembered about the old one does not count.
        client._secrets = {
            key: type(secret)(secret.corpid, secret.name, "better") for key, secret in client._secrets.items()
        }
        settings = settings_of(tmp_path, house.api)
        house.service = SyncService(settings, house.database, house.log, client, house.health, Metrics())
        async with house.running():
            await house.until(lambda: house.names("ww2"))
            assert house.component("corp:ww2") == ("ok", "")


async def test_it_stops_at_once_with_reads_in_flight_and_gives_them_back(house: House) -> None:
    crowd = [f"wm{number}" for number in range(10)]
    house.api.held = {(corpid, userid) for corpid in CORPS for userid in crowd}
    async with house.running():
        for corpid in CORPS:
            await house.deliver(*crowd, corpid=corpid)

        async def reading() -> bool:
            applied = len(await rows(house.database, pending_read)) == 30
            return applied and {corpid for corpid, _ in house.api.reads} == set(CORPS)

        await house.until(reading)
    left = await rows(house.database, pending_read, "leased_until", "leased_by", "stage")
    assert len(left) == 30
    assert {tuple(row.values()) for row in left} == {(None, None, "first")}
    assert house.component("apply") == ("waiting", "sync is not running")


async def test_leases_of_the_process_before_end_at_the_start(house: House) -> None:
    house.api.show("wmA", follower(), corpid="ww1")
    house.api.held.add(("ww1", "wmA"))
    async with house.running():
        await house.deliver("wmA", corpid="ww1")

        async def reading() -> bool:
            return bool(house.api.reads)

        await house.until(reading)
    async with house.database.write() as conn:
        # As after kill -9.
        until = await house.database.clock(conn) + timedelta(seconds=60)
        await conn.execute(update(pending_read).values(leased_until=until, leased_by="killed"))
    house.api.release()
    async with house.running():
        await house.until(lambda: house.names("ww1"))


async def test_rows_of_a_corp_that_is_configured_no_more_are_left_alone(house: House, tmp_path: Path) -> None:
    """Its events that are still in the log are applied, nothing is read for it, and the others go on."""
    house.api.show("wmA", follower(), corpid="ww1")
    await house.deliver("wmZ", corpid="ww9")
    await house.deliver("wmA", corpid="ww1")
    async with house.running():
        await house.until(lambda: house.names("ww1"))
    assert [row["object_id"] for row in await house.pending("ww9")] == ["wmZ"]
    assert house.api.read_of("ww9") == []


async def test_an_outdated_schema_is_refused_before_anything_is_written(house: House) -> None:
    async with house.database.write() as conn:
        await conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(SchemaOutdated, match="wecom-crm migrate"):
        await house.service.run(asyncio.Event())
    assert await rows(house.database, corp) == []


async def test_a_ceiling_holds_when_the_service_is_started_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor starts it again; that must not let the next thousand through."""
    monkeypatch.setattr(house.service._applier, "_undecodable", Ceiling(run=3))
    await house.deliver("wmA", corpid="ww1")
    for _ in range(3):
        await house.log.append("ww1", b"nonsense", {})
    async with house.running():

        async def applied() -> bool:
            return len(await rows(house.database, dead_letter)) == 3

        await house.until(applied)
    (before,) = await rows(house.database, log_position, "position")
    await house.log.append("ww1", b"nonsense", {})
    for _ in range(3):
        with pytest.raises(ExceptionGroup) as caught:
            await house.service.run(asyncio.Event())
        assert caught.group_contains(TooManyDeadLetters)
        # It says that it does not turn, so that nobody ends the process for it.
        assert house.component("apply") == ("waiting", "sync is not running")
        assert not house.health.component("apply").stalled
    assert await rows(house.database, log_position, "position") == [before]
    assert len(await rows(house.database, dead_letter)) == 3
