"""Pushes to a receiver that decrypts them as the product does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.support.simulators import AGENTID, KEY, TOKEN, Clock, tiny_world
from tests.support.waiting import until
from wecom.callback import encrypt_of, open_delivery
from wecom.crypto import CallbackCrypto
from wecom.events.base import Event
from wecom.simulator.faults import Faults
from wecom.simulator.pusher import Delivery, Pusher
from wecom.simulator.state import Callback
from wecom.simulator.world import Change, World

pytestmark = pytest.mark.asyncio

Behave = Callable[[int], Awaitable[web.StreamResponse]]


class Receiver:
    """Takes deliveries; ``behave`` is given how many came before and makes the answer."""

    def __init__(self) -> None:
        self.url = ""
        self.events: list[tuple[str, str, Event]] = []
        self.queries: list[dict[str, str]] = []
        self.raw_queries: list[str] = []
        self.bodies: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.behave: Behave = self.accept

    async def accept(self, number: int) -> web.StreamResponse:
        return web.Response()

    async def redirected(self, request: web.Request) -> web.StreamResponse:
        return web.Response()

    async def receive(self, request: web.Request) -> web.StreamResponse:
        corpid, name = request.match_info["corpid"], request.match_info["name"]
        body = await request.read()
        event = open_delivery([CallbackCrypto(TOKEN, KEY, corpid)], request.query, body)
        number = len(self.events)
        self.events.append((corpid, name, event))
        self.queries.append(dict(request.query))
        self.raw_queries.append(request.rel_url.raw_query_string)
        self.bodies.append(body)
        self.transport = request.transport
        return await self.behave(number)


class Bench:
    def __init__(self, receiver: Receiver, pusher: Pusher, world: World, faults: Faults, clock: Clock) -> None:
        self.receiver = receiver
        self.pusher = pusher
        self.world = world
        self.faults = faults
        self.clock = clock

    def changes(self, count: int) -> list[Change]:
        """Edits that tell their number in the CreateTime."""
        if self.world.corp("ww1").find("wmA", "LiSi") is None:
            self.world.add("ww1", "wmA", "LiSi")
        made = []
        for number in range(count):
            self.clock.tick()
            change = self.world.edit("ww1", "wmA", "LiSi", remark=f"{self.clock.now} {number}")
            assert change is not None
            made.append(change)
        return made

    async def push(self, *changes: Change | None) -> list[Delivery]:
        deliveries = await self.pusher.push(changes)
        async with asyncio.timeout(10):
            await self.pusher.drain()
        return deliveries

    def received(self) -> list[int | None]:
        return [event.create_time for _, _, event in self.receiver.events]


@asynccontextmanager
async def bench(faults: Faults | None = None, **settings: Any) -> AsyncIterator[Bench]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/callback/{corpid}/{name}", receiver.receive)
    app.router.add_get("/elsewhere", receiver.redirected)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    clock, faults = Clock(), faults or Faults()
    world = tiny_world(clock)
    try:
        async with Pusher(world, faults, base_url=receiver.url, **{"spacing_seconds": 0.01, **settings}) as pusher:
            yield Bench(receiver, pusher, world, faults, clock)
    finally:
        await runner.cleanup()


async def test_a_change_arrives_as_the_platform_sends_it() -> None:
    async with bench() as b:
        (delivery,) = await b.push(b.world.add("ww1", "wmA", "zhangsan", state="a & b ]]> <!"))
        ((corpid, name, event),) = b.receiver.events
        assert (corpid, name, event.event, event.change) == (
            *("ww1", "contacts", "change_external_contact"),
            "add_external_contact",
        )
        assert tuple(event.leaves) == delivery.change.leaves
        assert event.object_id == "wmA"
        (query,), (raw,) = b.receiver.queries, b.receiver.raw_queries
        assert query.keys() == {"msg_signature", "timestamp", "nonce"}
        assert not set(raw) & set("+/ ")
        body = b.receiver.bodies[0].decode()
        assert f"<AgentID><![CDATA[{AGENTID}]]></AgentID>" in body
        assert "<ToUserName><![CDATA[ww1]]></ToUserName>" in body
        assert delivery.acknowledged
        assert [one.outcome for one in delivery.attempts] == [200]
        assert (b.pusher.counts.changes, b.pusher.counts.acknowledged, b.pusher.under_way) == (1, 1, 0)


async def test_every_callback_of_the_corp_gets_its_copy_and_no_other_corps() -> None:
    async with bench() as b:
        b.world.corp("ww1").callbacks.append(Callback("other app", TOKEN, KEY, 7))
        await b.push(b.world.add("ww1", "wmA", "LiSi"), b.world.add("ww2", "wmA", "LiSi"))
        came = Counter((corpid, name) for corpid, name, _ in b.receiver.events)
        assert came == {("ww1", "contacts"): 1, ("ww1", "other app"): 1, ("ww2", "contacts"): 1}
        assert sum("<![CDATA[7]]>" in body.decode() for body in b.receiver.bodies) == 1


async def test_nothing_is_pushed_for_none() -> None:
    async with bench() as b:
        assert await b.push(None) == []
        assert b.pusher.counts.changes == 0


async def test_anything_but_200_is_tried_three_times_and_given_up() -> None:
    async with bench() as b:

        async def refuse(number: int) -> web.StreamResponse:
            return web.Response(status=(204, 503, 302)[number], headers={"Location": "/elsewhere"})

        b.receiver.behave = refuse
        (delivery,) = await b.push(b.world.add("ww1", "wmA", "LiSi"))
        assert [one.outcome for one in delivery.attempts] == [204, 503, 302]
        assert not delivery.acknowledged
        assert list(b.pusher.given_up) == [delivery]
        assert (b.pusher.counts.given_up, b.pusher.counts.acknowledged, b.pusher.counts.attempts) == (1, 0, 3)
        # Encrypted anew each time.
        assert len({encrypt_of(body) for body in b.receiver.bodies}) == 3
        assert len({query["nonce"] for query in b.receiver.queries}) == 3


async def test_a_second_try_can_succeed() -> None:
    async with bench(spacing_seconds=0.2) as b:

        async def second(number: int) -> web.StreamResponse:
            return web.Response(status=200 if number else 500)

        b.receiver.behave = second
        (delivery,) = await b.push(b.world.add("ww1", "wmA", "LiSi"))
        assert [one.outcome for one in delivery.attempts] == [500, 200]
        assert delivery.acknowledged
        assert delivery.attempts[1].at - delivery.attempts[0].at >= 0.19


async def test_an_answer_that_takes_too_long_is_none() -> None:
    async with bench(try_seconds=0.5) as b:
        gate = asyncio.Event()

        async def first_hangs(number: int) -> web.StreamResponse:
            if not number:
                await gate.wait()
            return web.Response()

        b.receiver.behave = first_hangs
        (delivery,) = await b.push(b.world.add("ww1", "wmA", "LiSi"))
        assert [one.outcome for one in delivery.attempts] == ["TimeoutError", 200]
        assert 0.4 <= delivery.attempts[0].seconds < 3
        gate.set()


async def test_a_closed_connection_is_a_failed_try() -> None:
    async with bench() as b:

        async def close_first(number: int) -> web.StreamResponse:
            if not number:
                assert b.receiver.transport is not None
                b.receiver.transport.close()
            return web.Response()

        b.receiver.behave = close_first
        (delivery,) = await b.push(b.world.add("ww1", "wmA", "LiSi"))
        assert [one.outcome for one in delivery.attempts] == ["ServerDisconnectedError", 200]


async def test_a_receiver_that_is_not_there_is_tried_and_given_up() -> None:
    async with bench() as b:
        # Nothing listens on port 1.
        b.pusher.base_url = "http://127.0.0.1:1"
        (delivery,) = await b.push(b.world.add("ww1", "wmA", "LiSi"))
        assert [one.outcome for one in delivery.attempts] == ["ClientConnectorError"] * 3
        assert list(b.pusher.given_up) == [delivery]


async def test_while_one_waits_for_its_next_try_the_others_go_on() -> None:
    async with bench(at_once=1, spacing_seconds=600) as b:

        async def first_fails(number: int) -> web.StreamResponse:
            return web.Response(status=200 if number else 500)

        b.receiver.behave = first_fails
        first, second = b.changes(2)
        one, other = await b.pusher.push([first, second])
        await other.done.wait()
        assert not one.done.is_set()
        assert b.received() == [first.create_time, second.create_time]


async def test_no_more_tries_at_once_than_allowed() -> None:
    async with bench(at_once=3) as b:
        running, most = 0, 0
        three = asyncio.Barrier(3)

        async def count(number: int) -> web.StreamResponse:
            nonlocal running, most
            running += 1
            most = max(most, running)
            # Ends only if as many as are allowed come at the same time.
            await three.wait()
            running -= 1
            return web.Response()

        b.receiver.behave = count
        await b.push(*b.changes(12))
        assert most == 3
        assert len(b.receiver.events) == 12


async def test_push_waits_while_too_many_are_under_way() -> None:
    async with bench(backlog=5) as b:
        b.faults.set(hold=True)
        pushing = asyncio.create_task(b.pusher.push(b.changes(7)))
        await until(lambda: b.pusher.under_way == 5)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (pushing.done(), b.pusher.under_way, len(b.receiver.events)) == (False, 5, 0)
        b.faults.set(hold=False)
        await pushing
        await b.pusher.drain()
        assert len(b.receiver.events) == 7


async def test_held_pushes_wait_until_they_are_released() -> None:
    async with bench() as b:
        b.faults.set(hold=True)
        changes = b.changes(20)
        deliveries = await b.pusher.push(changes)
        for _ in range(50):
            await asyncio.sleep(0)
        assert (b.receiver.events, b.pusher.under_way) == ([], 20)
        b.faults.set(hold=False)
        async with asyncio.timeout(10):
            await b.pusher.drain()
        assert all(delivery.acknowledged for delivery in deliveries)


async def test_a_share_comes_twice() -> None:
    async with bench(Faults(duplicate=0.3)) as b:
        deliveries = await b.push(*b.changes(100))
        counts = Counter(b.received())
        assert set(counts.values()) == {1, 2}
        twice = sum(count == 2 for count in counts.values())
        assert 15 < twice < 45
        assert b.pusher.counts.duplicates == twice == sum(delivery.duplicate for delivery in deliveries)
        assert b.pusher.counts.acknowledged == b.pusher.counts.deliveries == 100 + twice


async def test_a_share_never_comes() -> None:
    async with bench(Faults(drop=0.3)) as b:
        await b.push(*b.changes(100))
        assert 55 < len(b.receiver.events) < 85
        assert b.pusher.counts.dropped == 100 - len(b.receiver.events)
        assert b.pusher.counts.changes == 100


async def test_pushes_change_places_with_fewer_than_so_many_others() -> None:
    async with bench(Faults(reorder=12), at_once=1) as b:
        changes = b.changes(100)
        deliveries = await b.push(*changes)
        order = [change.create_time for change in changes]
        assert sorted(map(str, b.received())) == sorted(map(str, order))
        moved = [abs(place - order.index(moment)) for place, moment in enumerate(b.received()) if moment is not None]
        assert 4 < max(moved) < 12
        started = sorted(deliveries, key=lambda delivery: delivery.started or 0)
        assert [delivery.change.create_time for delivery in started] == b.received()


async def test_without_reordering_the_order_is_kept() -> None:
    async with bench(at_once=1) as b:
        changes = b.changes(30)
        await b.push(*changes)
        assert b.received() == [change.create_time for change in changes]


async def test_a_push_does_not_wait_for_ever_for_others_to_change_places_with() -> None:
    async with bench(Faults(reorder=12)) as b:
        (delivery,) = await b.pusher.push(b.changes(1))
        async with asyncio.timeout(5):
            await delivery.done.wait()
        assert delivery.acknowledged


async def test_without_an_address_it_says_so() -> None:
    async with bench() as b:
        b.pusher.base_url = None
        with pytest.raises(RuntimeError, match="callback_base_url"):
            await b.pusher.push(b.changes(1))


async def test_stopping_leaves_nothing_running() -> None:
    async with bench() as b:

        async def hang(number: int) -> web.StreamResponse:
            await asyncio.Event().wait()
            return web.Response()

        b.receiver.behave = hang
        await b.pusher.push(b.changes(3))
        await until(lambda: len(b.receiver.events) == 3)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("simulator-")]
