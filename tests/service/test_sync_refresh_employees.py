"""Employees whom only answers name, and those who left: what is looked at because of them, allowed or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.db.tables import HISTORY, customer_follow, employee
from core.envelope import interpret
from sync.effects import effect_of
from sync.told import write_effects
from tests.support.crm import contact_change, day, rows
from tests.support.loopback_api import follower
from tests.support.refreshing import Desk, desk_at

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as made:
        yield made


async def tell(desk: Desk, *documents: bytes) -> None:
    """Apply these events."""
    async with desk.database.write() as conn:
        now = await desk.database.clock(conn)
        received_at = int(now.timestamp() * 1000)
        effects = [effect_of(interpret("ww1", "contacts", received_at, document)) for document in documents]
        await write_effects(conn, desk.database.dialect, "ww1", effects, now)


async def happens(desk: Desk, change: str, ago: float = 60.0, **more: str) -> datetime:
    """Something happened to ZhangSan so many seconds ago, which is told now; returns the moment."""
    async with desk.database.read() as conn:
        moment = (await desk.database.clock(conn)).replace(microsecond=0) - timedelta(seconds=ago)
    leaves = {"CreateTime": str(int(moment.timestamp())), "MsgType": "event", "Event": "change_contact"}
    leaves |= {"ChangeType": change, "UserID": "ZhangSan"} | more
    inside = "".join(f"<{name}>{text}</{name}>" for name, text in leaves.items())
    await tell(desk, f"<xml>{inside}</xml>".encode())
    return moment


async def ended(desk: Desk) -> dict[str, Any]:
    found = await rows(desk.database, customer_follow, "follow_userid", "lost_at", "lost_by")
    return {row["follow_userid"]: (row["lost_at"], row["lost_by"]) for row in found}


@pytest.mark.parametrize("code", [48002, 60111], ids=["may not", "is not there"])
async def test_a_departure_ends_what_there_was_whether_employees_may_be_read_or_not(desk: Desk, code: int) -> None:
    desk.api.missing["user/get"] = code
    desk.api.show("wmA", follower(), follower("lisi"))
    await desk.want("wmA")
    await desk.drain()
    moment = await happens(desk, "delete_user")
    await desk.drain()
    assert await ended(desk) == {"zhangsan": (moment, "left"), "lisi": (None, None)}
    versions = await rows(desk.database, HISTORY["customer_follow"])
    (version,) = [row for row in versions if row["lost_by"] == "left"]
    assert (version["source"], version["happened_at"], version["event_id"] is None) == ("event", moment, False)
    await desk.later(6)
    await desk.drain()
    assert await desk.pending("wmA") is None
    assert len(await rows(desk.database, HISTORY["customer_follow"])) == len(versions)


async def test_a_relation_that_is_read_after_the_departure_ends_too(desk: Desk) -> None:
    desk.api.missing["user/get"] = 60111
    moment = await happens(desk, "delete_user")
    await desk.drain()
    await desk.later(6)
    await desk.drain()
    assert await desk.pending("zhangsan") is None
    # The platform goes on listing it for a while.
    desk.api.show("wmA", follower(), follower("lisi"))
    await desk.want("wmA")
    await desk.drain()
    assert await ended(desk) == {"zhangsan": (moment, "left"), "lisi": (None, None)}


async def test_what_is_moved_to_the_new_id_of_who_has_left_ends_too(desk: Desk) -> None:
    """The renaming becomes known after the departure."""
    desk.api.missing["user/get"] = 60111
    desk.api.show("wmA", follower())
    await desk.want("wmA")
    await desk.drain()
    moment = await happens(desk, "delete_user", UserID="zs")
    await desk.drain()
    await desk.later(6)
    await desk.drain()
    await happens(desk, "update_user", ago=90, NewUserID="zs")
    await desk.drain()
    assert await ended(desk) == {"zs": (moment, "left")}


async def test_who_is_named_by_answers_only_is_wished_for_once(desk: Desk) -> None:
    desk.api.objects["user/get", "sun_qi"] = {"userid": "Sun_Qi", "name": "Sun"}
    for userid in ("wmA", "wmB", "wmC"):
        desk.api.show(userid, follower(), follower("Sun_Qi"))
    await desk.want("wmA", "wmB")
    await desk.turn()
    wish = await desk.pending("sun_qi")
    assert wish is not None
    assert (wish["kind"], wish["events"], wish["version"]) == ("member", 1, 1)
    await desk.drain()
    await desk.later(6)
    await desk.drain()
    asked = list(desk.api.asked)
    assert set(asked) == {("user/get", "sun_qi")}
    (row,) = [row for row in await rows(desk.database, employee) if row["userid"] == "sun_qi"]
    assert row["name"] == "Sun"
    await desk.want("wmC")
    await desk.drain()
    assert desk.api.asked == asked
    assert await desk.pending("sun_qi") is None


async def test_who_may_not_be_read_is_not_asked_for_at_every_read(desk: Desk) -> None:
    desk.api.missing["user/get"] = 48002
    desk.api.show("wmA", follower("Sun_Qi"))
    for _ in range(3):
        await desk.want("wmA")
        await desk.drain()
        await tell(desk, contact_change("edit_external_contact", day(10), member="Sun_Qi"))
        await desk.later(3600)
        await desk.drain()
    assert desk.api.asked == [("user/get", "sun_qi")]
    await desk.later(86400)
    await desk.drain()
    assert desk.api.asked == [("user/get", "sun_qi")] * 2
