"""Reading what is due when something is in the way: no answer, a bug, a dead reader, a block, a database away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import event
from structlog.testing import capture_logs

from core.db.engine import Database
from core.db.tables import customer, customer_follow, pending_read
from core.db.wishes import Wish, write_wishes
from sync.objects import customers as customers_module
from sync.pending import LEASE, claim, settle
from tests.support.crm import rows
from tests.support.loopback_api import follower
from tests.support.refreshing import Clock, Desk, desk_at
from tests.support.waiting import DEADLINE, until

pytestmark = pytest.mark.asyncio


async def read_of(desk: Desk) -> list[str]:
    """The customers of whom an answer was written."""
    return [row["userid"] for row in await rows(desk.database, customer) if row["fetched_at"] is not None]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as made:
        yield made


async def test_without_an_answer_it_waits_longer_each_time_and_says_why(desk: Desk) -> None:
    desk.api.html = True
    await desk.want("wmA", times=3)
    waits = []
    for _ in range(5):
        await desk.drain()
        row = await desk.pending()
        assert row is not None
        assert (row["stage"], row["reason"]) == ("first", "externalcontact/get: HTTP 200 and no JSON")
        waits.append(round((row["due_at"] - row["read_at"]).total_seconds()))
        assert desk.state == ("degraded", "no answer: externalcontact/get: HTTP 200 and no JSON")
        await desk.later(600)
    assert waits == [1, 2, 4, 8, 16]
    desk.api.html = False
    desk.api.show("wmA", follower())
    await desk.drain()
    # Five seconds after the last event are long over, so this was the confirming read too.
    assert len(desk.api.reads) == 6
    assert await desk.pending() is None
    assert desk.state == ("ok", "")


async def test_a_refused_request_is_said_and_not_repeated_in_a_hurry(desk: Desk) -> None:
    desk.api.codes["ww1", "wmA"] = 40058
    desk.api.show("wmB", follower())
    await desk.want("wmA", "wmB")
    await desk.drain()
    row = await desk.pending()
    assert row is not None
    assert row["reason"] == "externalcontact/get: 40058"
    assert (row["due_at"] - row["read_at"]).total_seconds() >= 600
    assert await desk.pending("wmB") is None


@pytest.mark.parametrize(
    ("kind", "api", "object_id"),
    [
        ("member", "user/get", "lisi"),
        ("chat", "externalcontact/groupchat/get", "wrTea"),
        ("party", "department/get", "7"),
    ],
)
async def test_an_app_that_may_not_read_something_else_goes_on_with_customers(
    desk: Desk, kind: str, api: str, object_id: str
) -> None:
    desk.api.missing[api] = 48002
    desk.api.show("wmA", follower())
    async with desk.database.write() as conn:
        now = await desk.database.clock(conn)
        await write_wishes(conn, desk.database.dialect, "ww1", [Wish(object_id)], now, kind)
    await desk.later(3)
    async with asyncio.timeout(DEADLINE):
        await desk.drain()
        await desk.want("wmA")
        await desk.drain()
    assert desk.api.asked == [(api, object_id)]
    assert desk.api.read_of() == ["wmA"]
    row = await desk.pending(object_id)
    assert row is not None
    # Nothing is late because of it.
    assert (row["stage"], row["reason"]) == ("recheck", f"{api}: 48002")
    assert row["due_at"] - row["read_at"] >= timedelta(days=1)
    assert desk.state == ("ok", f"not allowed to read: {api}: 48002")


async def test_what_the_app_may_not_read_is_no_fault_and_said_once(desk: Desk) -> None:
    desk.api.missing["user/get"] = 48002
    async with desk.database.write() as conn:
        now = await desk.database.clock(conn)
        wishes = [Wish("new1"), Wish("new2")]
        await write_wishes(conn, desk.database.dialect, "ww1", wishes, now, "member")
    with capture_logs() as said:
        await desk.drain()
        assert desk.state == ("ok", "not allowed to read: user/get: 48002")
        await desk.later(86400)
        await desk.drain()
    assert len(desk.api.asked) == 4
    assert [record["event"] for record in said] == ["read.not_allowed"]
    # The permission has been given, and taken back.
    desk.api.objects["user/get", "new1"] = {"userid": "new1", "name": "Li"}
    await desk.later(86400)
    await desk.drain()
    assert await desk.pending("new1") is None
    assert desk.state == ("ok", "not allowed to read: user/get: 48002")
    desk.api.objects["user/get", "new2"] = {"userid": "new2", "name": "Wu"}
    await desk.later(86400)
    await desk.drain()
    assert desk.state == ("ok", "")


async def test_a_refusal_does_not_hide_that_others_get_no_answer(desk: Desk) -> None:
    desk.api.missing["user/get"] = 48002
    desk.api.html = True
    async with desk.database.write() as conn:
        now = await desk.database.clock(conn)
        await write_wishes(conn, desk.database.dialect, "ww1", [Wish("new1")], now, "member")
    await desk.want("wmA")
    await desk.turn()
    assert desk.state == ("degraded", "no answer: externalcontact/get: HTTP 200 and no JSON")


async def test_a_name_with_nul_an_emoji_and_a_long_remark_become_rows(desk: Desk) -> None:
    follows = follower(remark="备" * 200, remark_mobiles=["13800000000", "+86 138"])
    follows["tags"] = [{"group_name": "g\x00", "tag_name": "🎉", "type": 2}]
    desk.api.show("wmA", follows, name="Li\x00n 🎉\ud83d")
    await desk.want("wmA")
    await desk.drain()
    (row,) = await rows(desk.database, customer, "name")
    assert row == {"name": "Lin 🎉"}
    (relation,) = await rows(desk.database, customer_follow, "remark", "remark_mobiles", "follow_userid")
    assert relation == {
        "remark": "备" * 200,
        "remark_mobiles": ["13800000000", "+86 138"],
        "follow_userid": "zhangsan",
    }


async def test_the_lease_of_a_reader_that_died_is_waited_out(desk: Desk) -> None:
    desk.api.show("wmA", follower())
    await desk.want("wmA")
    async with desk.database.write() as conn:
        now = await desk.database.clock(conn)
        assert len(await claim(conn, desk.database.dialect, "ww1", "dead", 10, now)) == 1
        assert await claim(conn, desk.database.dialect, "ww1", "me", 10, now) == []
    await desk.drain()
    assert desk.api.reads == []
    await desk.later(LEASE.total_seconds() + 1)
    await desk.drain()
    assert desk.api.read_of() == ["wmA"]
    assert await desk.pending() is None


async def test_a_reader_whose_lease_ran_out_leaves_the_row_to_the_next(desk: Desk) -> None:
    await desk.want("wmA")
    database = desk.database
    async with database.write() as conn:
        now = await database.clock(conn)
        (slow,) = await claim(conn, database.dialect, "ww1", "slow", 10, now)
        (fast,) = await claim(conn, database.dialect, "ww1", "fast", 10, now + LEASE + timedelta(seconds=1))
        assert slow == fast
        await settle(conn, "ww1", {slow: None}, "slow")
    row = await desk.pending()
    assert row is not None
    assert row["leased_by"] == "fast"


async def test_what_is_wished_for_beside_stays_leased_to_who_reads_it(desk: Desk) -> None:
    await desk.want("wmA", "wmB")
    database = desk.database
    async with database.write() as conn:
        now = await database.clock(conn)
        claims = {row.object_id: row for row in await claim(conn, database.dialect, "ww1", "me", 10, now)}
        await settle(conn, "ww1", {claims["wmA"]: None}, "me", [claims["wmB"].key])
    assert await desk.pending("wmA") is None
    row = await desk.pending("wmB")
    assert row is not None
    assert row["leased_by"] == "me"


async def test_an_answer_never_looks_newer_than_its_call(tmp_path: Path) -> None:
    """Waiting long for the database before the call must not add to the time of the call."""
    clock = Clock()
    async with desk_at(tmp_path, clock) as desk:
        desk.api.show("wmA", follower())
        await desk.want("wmA")
        locks = desk.database._writers
        assert locks is not None
        async with desk.database.write():
            reading = asyncio.create_task(desk.turn())
            await until(lambda: bool(locks._waiters))
            clock.now += 3600
        await reading
        async with desk.database.read() as conn:
            now = await desk.database.clock(conn)
        (row,) = await rows(desk.database, customer)
        assert row["fetched_at"] <= now


@pytest.mark.parametrize("error", [LookupError("a bug"), asyncio.CancelledError()], ids=["bug", "cancelled within"])
async def test_one_object_that_breaks_the_reader_is_put_off_and_the_others_are_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    real: Callable[..., Awaitable[Any]] = customers_module.read_customer

    async def read(client: Any, corpid: str, secret: str, userid: str) -> Any:
        if userid == "wmBad":
            raise error
        return await real(client, corpid, secret, userid)

    monkeypatch.setattr(customers_module, "read_customer", read)
    desk.api.show("wmA", follower())
    await desk.want("wmA", "wmBad")
    await desk.drain()
    assert await desk.pending() is None
    row = await desk.pending("wmBad")
    assert row is not None
    assert (row["reason"], row["leased_until"]) == (f"can't be read: {type(error).__name__}", None)
    assert row["due_at"] - row["read_at"] >= timedelta(minutes=10)


async def test_one_answer_that_cannot_be_written_is_put_off_and_the_others_are_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Awaitable[Any]] = customers_module.write_answers

    async def write(conn: Any, dialect: str, corpid: str, answers: Any, now: Any) -> Any:
        if any(answer.object_id == "wmBad" for answer in answers):
            raise LookupError("a bug")
        return await real(conn, dialect, corpid, answers, now)

    monkeypatch.setattr(customers_module, "write_answers", write)
    for name in ("wmA", "wmB", "wmBad"):
        desk.api.show(name, follower())
    desk.api.codes["ww1", "wmNone"] = -1
    await desk.want("wmA", "wmB", "wmBad", "wmNone")
    await desk.drain()
    assert await read_of(desk) == ["wmA", "wmB"]
    left = {row["object_id"]: row for row in await rows(desk.database, pending_read)}
    assert {name: row["reason"] for name, row in left.items()} == {
        "wmBad": "can't be written: LookupError",
        "wmNone": "externalcontact/get: -1",
    }
    assert {row["leased_until"] for row in left.values()} == {None}


async def test_a_blocked_corp_waits_with_a_reason_and_is_not_asked_again(desk: Desk) -> None:
    desk.api.codes["ww1"] = 45009
    await desk.want("wmA", "wmB")
    running = asyncio.create_task(desk.refresher.run(desk.stopping))
    await until(lambda: desk.state[0] == "degraded")
    asked = len(desk.api.reads)
    assert desk.state[1] == "blocked by the platform's rate limit: externalcontact/get: 45009"
    await desk.want("wmC")
    desk.refresher.wake()
    desk.stopping.set()
    await asyncio.wait_for(running, 2)
    assert len(desk.api.reads) == asked <= 2
    for name in ("wmA", "wmB"):
        row = await desk.pending(name)
        assert row is not None
        assert (row["stage"], row["attempts"], row["reason"]) == ("first", 0, "externalcontact/get: 45009")
        assert (row["due_at"] - row["read_at"]).total_seconds() > 50


async def test_a_database_that_is_away_is_waited_for_and_readiness_says_so(tmp_path: Path, desk: Desk) -> None:
    """Locked by another process for too long is as good as away; nothing is due when it is back."""

    def impatient(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 20")

    event.listen(desk.database.engine.sync_engine, "connect", impatient)
    await desk.database.close()
    other = Database(f"sqlite+aiosqlite:///{tmp_path / 'crm.sqlite'}")
    async with other.write():
        running = asyncio.create_task(desk.refresher.run(desk.stopping))
        await until(lambda: desk.state == ("waiting", "database: OperationalError"))
    await other.close()
    await until(lambda: desk.state == ("ok", ""))
    desk.stopping.set()
    await asyncio.wait_for(running, 2)


async def test_rows_of_a_round_that_failed_are_given_back_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when their lease runs out, a minute later."""
    desk.api.show("wmA", follower())
    await desk.want("wmA")
    with monkeypatch.context() as patch:

        async def away(*_: Any) -> None:
            raise ConnectionResetError

        patch.setattr(customers_module, "write_answers", away)
        with pytest.raises(ConnectionResetError):
            await desk.turn()
    row = await desk.pending()
    assert row is not None
    assert row["leased_by"] == "me"
    await desk.drain()
    assert desk.api.read_of() == ["wmA", "wmA"]
    assert await desk.pending() is None


async def test_stopping_keeps_the_answers_that_came_and_gives_back_the_rest(desk: Desk) -> None:
    for name in ("wmA", "wmB"):
        desk.api.show(name, follower())
    desk.api.held.add(("ww1", "wmB"))
    await desk.want("wmA", "wmB")
    running = asyncio.create_task(desk.refresher.run(desk.stopping))
    await until(lambda: len(desk.api.reads) == 2)
    desk.stopping.set()
    await asyncio.wait_for(running, 2)
    assert await read_of(desk) == ["wmA"]
    assert await desk.pending("wmA") is None
    row = await desk.pending("wmB")
    assert row is not None
    assert (row["stage"], row["leased_until"], row["leased_by"]) == ("first", None, None)


async def test_a_wish_wakes_a_reader_that_idles(desk: Desk) -> None:
    desk.api.show("wmA", follower())
    running = asyncio.create_task(desk.refresher.run(desk.stopping))
    await until(lambda: desk.state[0] == "ok")
    await desk.want("wmA")
    desk.refresher.wake()
    # Well before it would have looked by itself.
    await until(lambda: len(desk.api.reads) == 1, deadline=2)
    desk.stopping.set()
    await asyncio.wait_for(running, 2)
