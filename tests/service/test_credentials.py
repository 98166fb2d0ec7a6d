"""Tokens in the database: unreadable without the key, shared by every process, and no more asked for than needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from sqlalchemy import update

from core.credentials import CredentialStore
from core.db.engine import Database
from core.db.tables import credential
from tests.support.api_server import (
    API,
    OTHER,
    SECRET,
    ApiServer,
    api_server,
    ask,
    client_of,
    gathered,
    json_answer,
)
from tests.support.crm import crm_database, rows
from tests.support.waiting import until
from wecom.errors import CorpPaused, RateLimited
from wecom.tokens import Secret, Stored, StoreUnavailable

pytestmark = pytest.mark.asyncio

KEY = "a secret key of the service, long enough"
KIND = "access_token"
TOKEN = "T0ken-that-nobody-may-find"


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with crm_database(tmp_path, ["ww1", "ww2"]) as made:
        yield made


@pytest.fixture
def store(database: Database) -> CredentialStore:
    return CredentialStore(database, KEY)


async def keep(store: CredentialStore, secret: Secret = SECRET, value: str = TOKEN, lifetime: float = 7200.0) -> None:
    assert await store.lease(secret, KIND, 20)
    await store.save(secret, KIND, value, lifetime)


async def set_row(database: Database, secret: Secret = SECRET, **values: Any) -> None:
    """Change the row behind the store's back."""
    async with database.write() as conn:
        t = credential.c
        changed = await conn.execute(
            update(credential).where(t.corpid == secret.corpid, t.name == secret.name).values(**values)
        )
        assert changed.rowcount == 1


async def test_what_is_kept_is_found_again_by_every_process(database: Database, store: CredentialStore) -> None:
    assert await store.load(SECRET, KIND) is None
    await keep(store)
    for other in (store, CredentialStore(database, KEY)):
        found = await other.load(SECRET, KIND)
        assert found is not None
        assert (found.value, found.lifetime, found.refused_code) == (TOKEN, 7200.0, None)
        assert 7190 < found.seconds_left <= 7200
    assert await store.load(OTHER, KIND) is None
    assert await store.load(SECRET, "jsapi_ticket") is None


async def test_the_file_holds_neither_token_nor_secret(
    database: Database, store: CredentialStore, tmp_path: Path
) -> None:
    await keep(store)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    (row,) = await rows(database, credential)
    assert row["fingerprint"].encode() in content, "the row is in these files"
    assert row["value"] in content
    for private in (TOKEN, SECRET.value, KEY):
        assert private.encode() not in content
        assert private not in str(row)
    await keep(store)
    (again,) = await rows(database, credential)
    assert again["value"] != row["value"], "equal values do not look equal"


async def test_another_key_makes_it_unreadable_and_nothing_worse(database: Database, store: CredentialStore) -> None:
    await keep(store)
    other = CredentialStore(database, KEY + "!")
    found = await other.load(SECRET, KIND)
    assert found is not None
    assert found.value is None
    await keep(other, value="another")
    found = await other.load(SECRET, KIND)
    assert found is not None
    assert found.value == "another"


async def test_a_value_opens_in_its_own_row_only(database: Database, store: CredentialStore) -> None:
    await keep(store)
    await keep(store, OTHER, "of the other corp")
    sealed = next(row["value"] for row in await rows(database, credential) if row["corpid"] == "ww1")
    await set_row(database, OTHER, value=sealed)
    found = await store.load(OTHER, KIND)
    assert found is not None
    assert found.value is None


@pytest.mark.parametrize("damaged", [b"", b"x", b"x" * 12, b"x" * 28, b"x" * 60])
async def test_a_damaged_value_is_none(database: Database, store: CredentialStore, damaged: bytes) -> None:
    await keep(store)
    await set_row(database, value=damaged)
    found = await store.load(SECRET, KIND)
    assert found is not None
    assert found.value is None


async def test_a_flipped_bit_is_noticed(database: Database, store: CredentialStore) -> None:
    await keep(store)
    (row,) = await rows(database, credential)
    for place in range(len(row["value"])):
        changed = bytearray(row["value"])
        changed[place] ^= 1
        await set_row(database, value=bytes(changed))
        found = await store.load(SECRET, KIND)
        assert found is not None
        assert found.value is None


async def test_of_a_changed_secret_nothing_is_known(store: CredentialStore) -> None:
    changed = Secret(SECRET.corpid, SECRET.name, "the new one")
    await keep(store)
    assert await store.load(changed, KIND) is None
    await store.refuse(SECRET, KIND, 40001, 600)
    assert await store.load(changed, KIND) is None
    await keep(store, changed, "new")
    found = await store.load(changed, KIND)
    assert found is not None
    assert (found.value, found.refused_code) == ("new", None)
    assert await store.load(SECRET, KIND) is None


async def test_one_of_many_processes_gets_the_lease(database: Database) -> None:
    stores = [CredentialStore(database, KEY) for _ in range(8)]
    taken = await gathered(*(store.lease(SECRET, KIND, 20) for store in stores))
    assert sorted(taken) == [False] * 7 + [True]
    winner = stores[taken.index(True)]
    loser = stores[taken.index(False)]
    await loser.release(SECRET, KIND)
    assert not await loser.lease(SECRET, KIND, 20), "nobody ends the lease of another"
    assert await loser.lease(OTHER, KIND, 20)
    assert await loser.lease(SECRET, "jsapi_ticket", 20)
    await winner.release(SECRET, KIND)
    assert await loser.lease(SECRET, KIND, 20)


async def test_a_lease_ends_with_its_result_and_with_its_time(database: Database, store: CredentialStore) -> None:
    other = CredentialStore(database, KEY)
    await keep(store)
    assert await other.lease(SECRET, KIND, 20)
    await other.refuse(SECRET, KIND, 40001, 600)
    assert await store.lease(SECRET, KIND, 20)
    # Its holder dies: the time passes.
    async with database.read() as conn:
        now = await database.clock(conn)
    await set_row(database, leased_until=now - timedelta(seconds=0.001))
    assert await other.lease(SECRET, KIND, 20)


async def test_a_refusal_is_remembered_and_takes_the_value_along(database: Database, store: CredentialStore) -> None:
    await keep(store)
    await store.refuse(SECRET, KIND, 40001, 600)
    found = await CredentialStore(database, KEY).load(SECRET, KIND)
    assert found is not None
    assert (found.value, found.refused_code) == (None, 40001)
    assert 590 < found.refused_for <= 600
    await keep(store)
    found = await store.load(SECRET, KIND)
    assert found is not None
    assert (found.value, found.refused_code) == (TOKEN, None)


async def test_a_result_without_a_lease_is_kept_too(database: Database, store: CredentialStore) -> None:
    # The database was away when the lease was wanted and came back before the platform answered.
    await store.save(SECRET, KIND, TOKEN, 7200)
    await store.refuse(OTHER, KIND, 40001, 600)
    known, refused = await store.load(SECRET, KIND), await store.load(OTHER, KIND)
    assert known is not None
    assert refused is not None
    assert (known.value, refused.refused_code) == (TOKEN, 40001)


async def test_a_database_that_is_away_is_said_so(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'crm.sqlite'}")
    store = CredentialStore(database, KEY)
    for work in (
        store.load(SECRET, KIND),
        store.lease(SECRET, KIND, 20),
        store.save(SECRET, KIND, TOKEN, 7200),
        store.refuse(SECRET, KIND, 40001, 600),
        store.release(SECRET, KIND),
    ):
        with pytest.raises(StoreUnavailable) as raised:
            await work
        assert TOKEN not in str(raised.value)
    await gone(database)


async def gone(database: Database) -> None:
    """Close it, and wait for the threads of attempts to open it, which end on their own."""
    await database.close()
    await until(lambda: not [thread for thread in threading.enumerate() if "_connection_worker" in thread.name])


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as running:
        running.answers[API] = json_answer({"errcode": 0})
        yield running


async def test_two_processes_with_fifty_calls_cause_one_gettoken(server: ApiServer, database: Database) -> None:
    async with (
        client_of(server, store=CredentialStore(database, KEY)) as first,
        client_of(server, store=CredentialStore(database, KEY)) as second,
    ):
        await gathered(*(ask(client) for client in (first, second) for _ in range(25)))
        assert (len(server.asked("gettoken")), len(server.asked(API))) == (1, 50)
        # Both again with a token that died early: one of them fetches, the other takes that over.
        server.revoke()
        await gathered(*(ask(client) for client in (first, second) for _ in range(25)))
        assert len(server.asked("gettoken")) == 2


class Held(CredentialStore):
    """Waits between its first look and the lease, until it may go on."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, KEY)
        self.looked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def lease(self, secret: Secret, kind: str, seconds: float) -> bool:
        self.looked.set()
        await self.go_on.wait()
        return await super().lease(secret, kind, seconds)


async def test_who_gets_the_lease_late_takes_what_was_fetched_meanwhile(server: ApiServer, database: Database) -> None:
    held = Held(database)
    async with (
        client_of(server, store=held) as late,
        client_of(server, store=CredentialStore(database, KEY)) as first,
    ):
        waiting = asyncio.create_task(ask(late))
        await held.looked.wait()
        await ask(first)
        held.go_on.set()
        await gathered(waiting)
    assert len(server.asked("gettoken")) == 1
    (row,) = await rows(database, credential)
    assert row["leased_until"] is None


async def test_who_waits_for_another_process_takes_what_that_fetched(server: ApiServer, database: Database) -> None:
    gate = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return server.new_token(request)

    server.answers["gettoken"] = slow
    async with (
        client_of(server, store=CredentialStore(database, KEY)) as first,
        client_of(server, store=CredentialStore(database, KEY)) as second,
    ):
        fetching = asyncio.create_task(ask(first))
        await until(lambda: len(server.asked("gettoken")) == 1)
        waiting = asyncio.create_task(ask(second))
        gate.set()
        await gathered(fetching, waiting)
    assert len(server.asked("gettoken")) == 1


@pytest.mark.parametrize(("code", "kind"), [(40001, CorpPaused), (45009, RateLimited)])
async def test_a_refusal_holds_for_every_process_and_the_next(
    server: ApiServer, database: Database, code: int, kind: type[Exception]
) -> None:
    server.answers["gettoken"] = json_answer({"errcode": code, "errmsg": "no"})
    for _ in range(3):
        async with client_of(server, store=CredentialStore(database, KEY)) as client:
            for _ in range(5):
                with pytest.raises(kind):
                    await ask(client)
    assert len(server.asked("gettoken")) == 1
    server.answers.pop("gettoken")
    async with client_of(server, store=CredentialStore(database, KEY)) as client:
        await ask(client, OTHER)


async def test_a_restart_asks_for_no_token(server: ApiServer, database: Database) -> None:
    for _ in range(3):
        async with client_of(server, store=CredentialStore(database, KEY)) as client:
            await ask(client)
    assert len(server.asked("gettoken")) == 1


async def test_with_another_key_it_is_fetched_anew(server: ApiServer, database: Database) -> None:
    for key in (KEY, KEY + "!"):
        async with client_of(server, store=CredentialStore(database, key)) as client:
            await ask(client)
    assert len(server.asked("gettoken")) == 2


async def test_calls_go_on_without_the_database(server: ApiServer, tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'crm.sqlite'}")
    async with client_of(server, store=CredentialStore(database, KEY)) as client:
        await gathered(*(ask(client) for _ in range(20)))
        server.revoke()
        await gathered(*(ask(client) for _ in range(20)))
    assert len(server.asked("gettoken")) == 2
    await gone(database)


class LeaseCancelled(CredentialStore):
    """Takes the lease, and the caller is gone before it hears of it."""

    async def lease(self, secret: Secret, kind: str, seconds: float) -> bool:
        await super().lease(secret, kind, seconds)
        raise asyncio.CancelledError


async def test_a_caller_that_is_gone_leaves_no_lease_behind(server: ApiServer, database: Database) -> None:
    async with client_of(server, store=LeaseCancelled(database, KEY)) as client:
        with pytest.raises(asyncio.CancelledError):
            await ask(client)
    (row,) = await rows(database, credential)
    assert row["leased_until"] is None
    assert not server.calls


async def test_what_is_stored_shows_no_value() -> None:
    assert TOKEN not in repr(Stored(TOKEN))
