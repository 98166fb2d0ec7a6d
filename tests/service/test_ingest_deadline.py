"""A request has to be there within the deadline; there are only so many connections. On both loops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.callbacks import CORP, Ingest, Socket, encoded, get, ingest, on_both_loops, post, sealed, status
from tests.support.waiting import until

PATH = f"/callback/{CORP}/contacts"
DELIVERY = sealed()
GOOD = DELIVERY.request()
HEAD = len(GOOD) - len(DELIVERY.body)
SECONDS = 0.3
# And what a busy machine needs.
AT_MOST = SECONDS + 2.0


async def dribble(socket: Socket, data: bytes, gap: float = 0.02) -> bytes:
    """Send byte by byte until the other side ends the connection; what it said."""
    ended = asyncio.create_task(socket.ends(AT_MOST))
    for byte in data:
        if ended.done() or socket.writer.transport.is_closing():
            break
        socket.send(bytes([byte]))
        await asyncio.sleep(gap)
    return await ended


async def a_sweep(service: Ingest) -> None:
    """Until a connection that came after everything so far has become overdue and was ended."""
    async with Socket(service) as silent:
        assert await silent.ends(AT_MOST) == b""


CHUNKED = post(PATH, "", b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
INCOMPLETE = {
    "nothing": b"",
    "a byte": b"P",
    "half a head": GOOD[: HEAD // 2],
    "a head but for a byte": GOOD[: HEAD - 1],
    "a head": GOOD[:HEAD],
    "all but a byte": GOOD[:-1],
    "at no address": post("/nowhere", "", b"x" * 10)[:-1],
    "without a query": post(PATH, "", b"x" * 10)[:-1],
    "refused by its head": post(PATH, "", b"x", "Content-Encoding: gzip")[:-1],
    # What follows a good one on the same connection, though both came at once.
    "a second head": GOOD + GOOD[:HEAD],
    "all but a byte of a second": GOOD + GOOD[:-1],
    "all but a byte of a third": GOOD + GOOD + GOOD[:-1],
    # aiohttp waits for the rest of a body with a broken chunk.
    "a part of a chunk": CHUNKED + b"5\r\nabc",
    "a broken chunk": CHUNKED.replace(b"?", b"?" + encoded(DELIVERY.query).encode()) + b"zz\r\n",
}


@on_both_loops
async def test_what_never_becomes_complete_is_ended(tmp_path: Path) -> None:
    async with ingest(tmp_path, receive_seconds=SECONDS) as service:

        async def end_of(sent: bytes) -> int:
            async with Socket(service) as socket:
                socket.send(sent)
                return (await socket.ends(AT_MOST)).count(b"HTTP/1.1 200 ")

        accepted = dict(zip(INCOMPLETE, await asyncio.gather(*map(end_of, INCOMPLETE.values())), strict=True))
        assert accepted == {case: sent.count(DELIVERY.body) for case, sent in INCOMPLETE.items()}
        assert service.kept == sum(accepted.values())
        await until(lambda: service.in_hand == 0)


@pytest.mark.parametrize("answered_before", [0, 2], ids=["first", "later"])
@on_both_loops
async def test_dribbling_does_not_put_it_off(answered_before: int, tmp_path: Path) -> None:
    async with ingest(tmp_path, receive_seconds=SECONDS) as service:

        async def dribbled(at_once: bytes, slowly: bytes) -> bytes:
            async with Socket(service) as socket:
                for _ in range(answered_before):
                    socket.send(GOOD)
                    assert await socket.answer()
                socket.send(at_once)
                return await dribble(socket, slowly)

        chunked = GOOD[:HEAD].replace(b"Content-Length: ", b"Transfer-Encoding: chunked\r\nX-Was: ")
        said = await asyncio.gather(
            dribbled(b"", GOOD), dribbled(GOOD[:HEAD], GOOD[HEAD:]), dribbled(chunked, b"1\r\nx\r\n" * 100)
        )
        assert set(said) == {b""}
        assert service.kept == 3 * answered_before


@on_both_loops
async def test_a_head_begun_together_with_a_good_request_is_due_from_its_next_byte_on(tmp_path: Path) -> None:
    """Without one, that connection can't be told from an idle one, and ends like one."""
    async with ingest(tmp_path, receive_seconds=SECONDS, keep_alive_seconds=1.5) as service:
        async with Socket(service) as dribbling, Socket(service) as silent:
            for socket in (dribbling, silent):
                socket.send(GOOD + GOOD[:50])
                assert await socket.answer()
            assert await dribble(dribbling, GOOD[50:]) == b""
            assert await silent.ends(5) == b""
        assert service.kept == 2


@on_both_loops
async def test_slow_but_complete_is_answered(tmp_path: Path) -> None:
    async with ingest(tmp_path, receive_seconds=5) as service, Socket(service) as socket:
        for start in range(0, len(GOOD), 100):
            socket.send(GOOD[start : start + 100])
            await socket.writer.drain()
            await asyncio.sleep(0.01)
        answer = await socket.answer()
        assert answer is not None
        assert answer.status == 200


@on_both_loops
async def test_while_an_answer_is_owed_the_sender_is_not_cut_off(tmp_path: Path) -> None:
    """Not even one that sends the next request, or a part of it, before it has the answer."""
    async with ingest(tmp_path, receive_seconds=SECONDS) as service:
        service.log.hold()
        async with Socket(service) as plain, Socket(service) as pipelining, Socket(service) as dribbling:
            plain.send(GOOD)
            pipelining.send(GOOD)
            dribbling.send(GOOD)
            await until(lambda: service.log.waiting == 3)
            pipelining.send(GOOD)
            dribbling.send(GOOD[:50])
            await a_sweep(service)
            await a_sweep(service)
            assert service.log.waiting == 3
            service.log.release()
            for socket in (plain, pipelining, pipelining, dribbling):
                answer = await socket.answer()
                assert answer is not None
                assert answer.status == 200
            dribbling.send(GOOD[50:])
            answer = await dribbling.answer()
            assert answer is not None
            assert answer.status == 200
        assert service.kept == 5


@on_both_loops
async def test_between_requests_a_connection_may_be_idle_for_longer_than_the_deadline(tmp_path: Path) -> None:
    async with ingest(tmp_path, receive_seconds=SECONDS) as service, Socket(service) as socket:
        for _ in range(3):
            for request in (GOOD, GOOD):
                socket.send(request)
                answer = await socket.answer()
                assert answer is not None
                assert (answer.status, answer.closes) == (200, False)
            await a_sweep(service)
        assert service.kept == 6


@on_both_loops
async def test_an_idle_connection_ends_with_keep_alive(tmp_path: Path) -> None:
    async with ingest(tmp_path, keep_alive_seconds=0.3) as service, Socket(service) as socket:
        socket.send(GOOD)
        assert await socket.answer()
        assert await socket.ends(5) == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/nowhere", ""),
        get(PATH, ""),
        post(PATH, "", b""),
        sealed().request("/callback/ww3"),
        sealed().request().replace(b"POST", b"PUT", 1),
        sealed().request().replace(b"msg_signature=", b"msg_signature=0"),
        b"nonsense\r\n\r\n",
    ],
    ids=range(7),
)
@on_both_loops
async def test_who_is_refused_is_disconnected(request_bytes: bytes, tmp_path: Path) -> None:
    """An idle connection is kept only for those who proved who they are."""
    async with ingest(tmp_path) as service, Socket(service) as socket:
        socket.send(request_bytes)
        answer = await socket.answer()
        assert answer is not None
        assert answer.status in {400, 403, 404, 405}
        assert await socket.ends(5) == b""


@on_both_loops
async def test_above_the_cap_connections_are_refused_at_once_and_the_others_served(tmp_path: Path) -> None:
    async with ingest(tmp_path, most_connections=3) as service:
        async with Socket(service) as one, Socket(service) as two, Socket(service) as three:
            for socket in (one, two, three):
                socket.send(GOOD)
                assert await socket.answer()
            for _ in range(20):
                async with asyncio.timeout(1), Socket(service) as refused:
                    refused.send(GOOD)
                    assert await refused.ends() == b""
            for socket in (one, two, three):
                socket.send(GOOD)
                assert await socket.answer()
        assert service.kept == 6
        # Their places are free again as soon as the server has seen them go.
        async with asyncio.timeout(5):
            while await status(service, GOOD) is None:
                pass


@on_both_loops
async def test_hundreds_that_dribble_do_not_keep_deliveries_out(tmp_path: Path) -> None:
    async with ingest(tmp_path, receive_seconds=SECONDS) as service:

        async def attack() -> bytes:
            async with Socket(service) as socket:
                return await dribble(socket, GOOD, 0.2)

        attacks = [asyncio.create_task(attack()) for _ in range(300)]
        for _ in range(50):
            async with asyncio.timeout(2):
                assert await status(service, GOOD) == 200
        assert set(await asyncio.gather(*attacks)) == {b""}
        assert service.kept == 50
