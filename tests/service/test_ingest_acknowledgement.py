"""200 means durable. Anything else is no answer at all, because that is what the platform sends again."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request

from core.eventlog.base import LogError, LogFull, LogUnavailable
from ingest.callback import CallbackEndpoint
from ingest.keys import KeyRing
from tests.support.callbacks import (
    CORP,
    CRYPTO,
    Socket,
    ask,
    encoded,
    get,
    ingest,
    on_both_loops,
    on_uvloop,
    sealed,
    status,
)
from tests.support.logging import captured
from tests.support.waiting import until

GOOD = sealed().request()


@pytest.fixture
def logged() -> Iterator[StringIO]:
    with captured("INFO") as stream:
        yield stream


@on_both_loops
async def test_there_is_no_answer_before_the_record_is_durable(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        service.log.hold()
        async with Socket(service) as first, Socket(service) as second:
            first.send(GOOD)
            second.send(GOOD)
            answers = [asyncio.create_task(first.answer()), asyncio.create_task(second.answer())]
            await until(lambda: service.log.waiting == 2)
            assert service.in_hand == 2
            done, _ = await asyncio.wait(answers, timeout=0.3)
            assert not done
            assert service.kept == 0
            service.log.release()
            assert [answer and answer.status for answer in await asyncio.gather(*answers)] == [200, 200]
            assert service.kept == 2
            assert service.in_hand == 0
            assert service.metrics.registry.get_sample_value("wecom_crm_callback_seconds_count") == 2


@pytest.mark.parametrize("answer_503", [False, True])
@on_uvloop
async def test_a_log_that_is_full_is_said_and_gets_over_it(answer_503: bool, logged: StringIO, tmp_path: Path) -> None:
    big = sealed(b"x" * 60_000).request()
    async with ingest(tmp_path, answer_503=answer_503, max_bytes=500_000) as service:
        answers = [await ask(service, big) for _ in range(15)]
        kept = service.kept
        assert 0 < kept < 15
        assert [answer and answer.status for answer in answers] == [200] * kept + [503 if answer_503 else None] * (
            15 - kept
        )
        if answer_503:
            assert answers[-1] is not None
            assert (answers[-1].body, answers[-1].closes) == (b"", True)
        assert service.outcomes() == {"accepted": kept, "not_kept": 15 - kept}
        ready, detail = service.health.ready()
        assert not ready
        assert detail["components"]["ingest"]["state"] == "failed"
        assert "has reached 500000 bytes" in detail["components"]["ingest"]["reason"]
        # What was read may be removed, and there is room again.
        async with service.log.reader("crm-sync") as reader:
            await reader.report(await reader.read(100, 1.0))
        assert await status(service, big) == 200
        assert service.health.ready()[0]
    actions = [line.split()[2] for line in logged.getvalue().splitlines() if " callback." in line]
    assert actions == ["callback.not_kept", "callback.kept_again"]


@on_both_loops
async def test_a_log_that_is_closed_or_broken_gets_no_answer(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        for failure in (LogUnavailable("disk"), LogFull("full")):
            service.log.failure = failure
            assert await ask(service, GOOD) is None
        service.log.failure = None
        await service.log.close()
        assert await ask(service, GOOD) is None
        assert service.outcomes() == {"accepted": 0, "not_kept": 3}
        assert service.kept == 0
        assert "closed" in service.health.ready()[1]["components"]["ingest"]["reason"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyError, LogError, TimeoutError, ConnectionResetError, OSError])
@on_uvloop
async def test_a_fault_of_ours_is_told_and_never_200(fault: type[Exception], logged: StringIO, tmp_path: Path) -> None:
    async with ingest(tmp_path) as service, Socket(service) as socket:
        service.log.failure = fault("Zhang San") if fault is not LogError else LogError("ours")
        socket.send(GOOD)
        assert await socket.answer() is None
        assert service.outcomes() == {"accepted": 0, "failed": 1}
        service.log.failure = None
        assert await status(service, GOOD) == 200
        assert service.kept == 1
    lines = [line for line in logged.getvalue().splitlines() if "callback.failed" in line]
    assert len(lines) == 1
    assert fault.__name__ in lines[0]
    assert "Zhang" not in logged.getvalue()


@on_both_loops
async def test_too_many_at_once_are_refused_at_once_and_the_others_are_served(tmp_path: Path) -> None:
    async with ingest(tmp_path, most_in_hand=3) as service:
        service.log.hold()
        async with Socket(service) as one, Socket(service) as two, Socket(service) as three:
            for socket in (one, two, three):
                socket.send(GOOD)
            await until(lambda: service.log.waiting == 3)
            async with asyncio.timeout(1):
                for request in (GOOD, get(f"/callback/{CORP}", "echostr=1"), GOOD):
                    assert await ask(service, request) is None
            assert service.outcomes() == {"accepted": 0, "overload": 3}
            service.log.release()
            answers = [await socket.answer() for socket in (one, two, three)]
            assert [answer and answer.status for answer in answers] == [200] * 3
        assert await status(service, GOOD) == 200
        assert service.kept == 4


@on_uvloop
async def test_too_many_at_once_get_503_where_that_is_wanted(tmp_path: Path) -> None:
    async with ingest(tmp_path, most_in_hand=0, answer_503=True) as service:
        answer = await ask(service, GOOD)
        assert answer is not None
        assert (answer.status, answer.body, answer.closes) == (503, b"", True)


@on_both_loops
async def test_who_hangs_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        before = asyncio.all_tasks()
        service.log.hold()
        for number in range(200):
            async with Socket(service) as socket:
                socket.send(GOOD)
                await until(lambda number=number: service.log.waiting == number + 1)  # type: ignore[misc]
                if number % 2:
                    socket.writer.transport.abort()
        # Its durable write goes on without the sender.
        service.log.release()
        await until(lambda: service.kept == 200)
        await until(lambda: asyncio.all_tasks() == before)
        assert service.in_hand == 0
        gc.collect()
        assert service.listener.unheard == []
        assert await status(service, GOOD) == 200


@on_both_loops
async def test_who_hangs_up_in_the_middle_of_a_body_is_no_fault_of_ours(logged: StringIO, tmp_path: Path) -> None:
    async with ingest(tmp_path) as service:
        before = asyncio.all_tasks()
        for number in range(100):
            async with Socket(service) as socket:
                socket.send(GOOD[: -1 - number])
                await until(lambda: service.in_hand == 1)
                if number % 2:
                    socket.writer.transport.abort()
            await until(lambda number=number: service.outcomes().get("disconnected") == number + 1)  # type: ignore[misc]
        await until(lambda: asyncio.all_tasks() == before)
        gc.collect()
        assert service.listener.unheard == []
        assert service.kept == 0
        assert service.outcomes() == {"accepted": 0, "disconnected": 100}
    assert logged.getvalue() == ""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(web.RequestPayloadError("x"), "malformed"), (TimeoutError("x"), "disconnected"), (OSError("x"), "disconnected")],
)
@on_uvloop
async def test_a_body_that_ends_in_an_error_is_no_fault_of_ours(
    error: Exception, outcome: str, logged: StringIO, tmp_path: Path
) -> None:
    """What aiohttp's other parser and the kernel say, and can't be had on a loopback connection."""
    async with ingest(tmp_path) as service:
        keys = KeyRing({CORP: {"contacts": (CRYPTO,)}})
        endpoint = CallbackEndpoint(keys, service.log, service.metrics, service.health.component("ingest"))
        loop = asyncio.get_running_loop()
        payload = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        payload.set_exception(error)
        request = make_mocked_request(
            "POST", f"/?{encoded(sealed().query)}", match_info={"corpid": CORP, "name": "contacts"}, payload=payload
        )
        assert (await endpoint.handle(request)).status == 400
        assert service.outcomes() == {"accepted": 0, outcome: 1}
    assert logged.getvalue() == ""
