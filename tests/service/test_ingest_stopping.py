"""Stopping: no new connections, what is in hand is answered, nothing is waited for that can't be answered."""

from __future__ import annotations

import asyncio
import gc
import socket as sockets
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.metrics import Metrics
from ingest.app import create_app
from ingest.keys import KeyRing
from ingest.server import serve
from tests.support.callbacks import (
    CORP,
    CRYPTO,
    HeldLog,
    Ingest,
    Socket,
    ingest,
    on_both_loops,
    on_uvloop,
    post,
    sealed,
    status,
)
from tests.support.waiting import DEADLINE, until

GOOD = sealed().request()


async def refuses_connections(service: Ingest) -> None:
    """Wait until nobody listens any more. Raises ``TimeoutError`` if somebody still does."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                _, writer = await asyncio.open_connection(service.listener.host, service.listener.port)
            except ConnectionRefusedError:
                return
            except ConnectionError:
                # It waited to be accepted when the listener closed.
                continue
            writer.close()


@on_both_loops
async def test_what_is_in_hand_is_answered_and_nobody_else_comes_in(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service, AsyncExitStack() as stack:
        service.log.hold()
        clients = [await stack.enter_async_context(Socket(service)) for _ in range(5)]
        for client in clients:
            client.send(GOOD)
        await until(lambda: service.log.waiting == 5)
        service.listener.stopping.set()
        await refuses_connections(service)
        assert not service.listener.served.done()
        service.log.release()
        answers = [await client.answer() for client in clients]
        assert [answer and answer.status for answer in answers] == [200] * 5
        assert {await client.ends() for client in clients} == {b""}
        async with asyncio.timeout(DEADLINE):
            await service.listener.served
        assert service.kept == 5


@on_both_loops
async def test_an_answer_that_does_not_come_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    async with ingest(tmp_path, stop_seconds=1.5) as service, Socket(service) as client:
        service.log.hold()
        client.send(GOOD)
        await until(lambda: service.log.waiting == 1)
        began = asyncio.get_running_loop().time()
        service.listener.stopping.set()
        assert await client.answer() is None
        await service.listener.served
        assert 1.4 < asyncio.get_running_loop().time() - began < 2.6
        assert service.log.waiting == 0
        assert service.kept == 0
        gc.collect()
        assert service.listener.unheard == []


@on_both_loops
async def test_an_answer_within_the_deadline_s_second_half_is_still_given(tmp_path: Path) -> None:
    async with ingest(tmp_path, stop_seconds=2) as service, Socket(service) as client:
        service.log.hold()
        client.send(GOOD)
        await until(lambda: service.log.waiting == 1)
        service.listener.stopping.set()
        asyncio.get_running_loop().call_later(1.3, service.log.release)
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200


@on_both_loops
async def test_connections_that_owe_or_are_idle_are_not_waited_for(tmp_path: Path) -> None:
    async with (
        ingest(tmp_path, stop_seconds=60) as service,
        Socket(service) as silent,
        Socket(service) as idle,
        Socket(service) as head,
        Socket(service) as body,
        Socket(service) as refused,
    ):
        idle.send(GOOD)
        assert await idle.answer()
        head.send(GOOD[:50])
        body.send(GOOD[:-1])
        refused.send(post("/nowhere", "", b"xx")[:-1])
        await until(lambda: service.in_hand == 1)
        service.listener.stopping.set()
        async with asyncio.timeout(5):
            await service.listener.served
        for client in (silent, idle, head, body):
            assert await client.ends() == b""
        assert (await refused.ends()).count(b"HTTP/1.1") == 1
        assert service.kept == 1


# Not on asyncio's own loop: it forgets a connection that it has accepted and made no transport for (CPython 3.11).
@pytest.mark.parametrize("turns", range(6))
@on_uvloop
async def test_who_connects_at_that_very_moment_is_not_waited_for(tmp_path: Path, turns: int) -> None:
    async with ingest(tmp_path, stop_seconds=60) as service:
        address = (service.listener.host, service.listener.port)
        # The kernel takes them in at once, the loop a few turns later: before, while or after it stops to listen.
        clients = [sockets.create_connection(address) for _ in range(5)]
        for _ in range(turns):
            await asyncio.sleep(0)
        service.listener.stopping.set()
        async with asyncio.timeout(2):
            await service.listener.served
        for client in clients:
            client.setblocking(False)
            with suppress(ConnectionError):
                assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), DEADLINE) == b""
            client.close()


@on_both_loops
async def test_under_load_everything_acknowledged_is_kept_and_stopping_is_quick(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        acknowledged: set[bytes] = set()

        async def load(client: int) -> None:
            async with Socket(service) as socket:
                for number in range(100_000):
                    document = b"%d-%d" % (client, number)
                    socket.send(sealed(document).request())
                    answer = await socket.answer()
                    if answer is None:
                        return
                    assert answer.status == 200
                    acknowledged.add(document)

        clients = [asyncio.create_task(load(client)) for client in range(20)]
        await until(lambda: len(acknowledged) > 500)
        service.listener.stopping.set()
        async with asyncio.timeout(3):
            await service.listener.served
        await asyncio.gather(*clients)
        kept = {record.value for record in await service.records()}
        assert len(acknowledged) > 500
        assert acknowledged <= kept
        # At most what each client had under way.
        assert len(kept - acknowledged) <= 20


@on_uvloop
async def test_being_cancelled_closes_everything(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service, Socket(service) as client:
        client.send(GOOD)
        assert await client.answer()
        service.listener.served.cancel()
        with pytest.raises(asyncio.CancelledError):
            await service.listener.served
        await refuses_connections(service)
        assert await client.ends() == b""
        # What the end of the test waits for.
        service.listener.served = asyncio.create_task(asyncio.sleep(0))


@on_both_loops
async def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with await EmbeddedLog.open(tmp_path / "log.sqlite") as log:
            app = create_app(KeyRing({CORP: {"contacts": (CRYPTO,)}}), HeldLog(log), Metrics(), Health().component("x"))
            with pytest.raises(OSError, match="in use"):
                await serve(app, "127.0.0.1", taken.getsockname()[1], asyncio.Event(), ready=lambda *_: None)


@on_uvloop
async def test_it_can_be_started_again_on_the_same_log(tmp_path: Path) -> None:
    for number in range(3):
        async with ingest(tmp_path) as service:
            assert await status(service, sealed(b"%d" % number).request()) == 200
    async with ingest(tmp_path) as service, service.log.reader("crm-sync") as reader:
        batch = await reader.read(10, 1.0)
        assert [record.value for record in batch.records] == [b"0", b"1", b"2"]
