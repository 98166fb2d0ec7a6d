"""A member of the group, with a consumer that does what is hard to get a broker to do."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from aiokafka.errors import CommitFailedError

from core.eventlog import kafka_member
from core.eventlog.kafka_member import Member, Pace
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio


class _Source:
    topic = "contact-events"
    options: dict[str, Any] = {}  # noqa: RUF012
    away = False

    def trouble(self, part: object, reason: str | None) -> None:
        """Nobody looks."""


class _SlowConsumer:
    """Answers a commit when it is told to, with a refusal."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = asyncio.Event()

    async def commit(self, offsets: object) -> None:
        self.asked += 1
        await self.answer.wait()
        raise CommitFailedError


async def test_a_commit_that_fails_when_nobody_waits_for_it_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    monkeypatch.setattr(kafka_member, "_BOUND", 0.01)
    source: Any = _Source()
    member, consumer = Member(source, "crm-sync", Pace()), _SlowConsumer()
    member._consumer = consumer
    assert not await member.commit({0: 7})
    # One at a time, however long that takes.
    assert not await member.commit({0: 8})
    assert consumer.asked == 1
    consumer.answer.set()
    await until(lambda: not member._committing)
    gc.collect()
    assert complaints == []


async def test_a_commit_that_the_client_cancels_was_none() -> None:
    source: Any = _Source()
    member, consumer = Member(source, "crm-sync", Pace()), _SlowConsumer()
    member._consumer = consumer
    committing = asyncio.create_task(member.commit({0: 7}))
    await until(lambda: consumer.asked == 1)
    (asked,) = member._committing
    asked.cancel()
    assert await committing is False


async def test_a_member_whose_client_cancels_its_start_goes_on_with_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []

    class Consumer:
        def __init__(self, **_options: object) -> None:
            made.append(self)

        def subscribe(self, topics: object, listener: object) -> None:
            """Nothing comes."""

        async def start(self) -> None:
            if len(made) == 1:
                raise asyncio.CancelledError

    async def stop_consumer(*_arguments: object) -> None:
        """There is nothing to stop."""

    monkeypatch.setattr(kafka_member, "AIOKafkaConsumer", Consumer)
    monkeypatch.setattr(kafka_member, "stop_consumer", stop_consumer)
    source: Any = _Source()
    member = Member(source, "crm-sync", Pace())
    member.start()
    await until(lambda: member.consumer is not None)
    assert member.consumer is made[1]
    await member.stop()
    member.check()
    assert len(made) == 2
