"""Tokens: who asks the platform, when, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from wecom.errors import CorpPaused, RateLimited, RequestRefused, Retry, TokenRejected
from wecom.tokens import Secret, Stored, StoreUnavailable, TokenKeeper

pytestmark = pytest.mark.asyncio

SECRET = Secret("ww1", "agent:1000002", "s3cret")
OTHER = Secret("ww2", "agent:1000002", "another")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class SharedStore:
    """What the table does, in memory, so that two keepers can share it; ``away`` makes it unreachable."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.values: dict[tuple[str, str], tuple[str, float, float]] = {}
        self.refusals: dict[tuple[str, str], tuple[int, float]] = {}
        self.leased: set[tuple[str, str]] = set()
        self.away = False

    def _reach(self, secret: Secret, kind: str) -> tuple[str, str]:
        if self.away:
            raise StoreUnavailable
        return (secret.fingerprint, kind)

    async def load(self, secret: Secret, kind: str) -> Stored | None:
        key = self._reach(secret, kind)
        value, lifetime, end = self.values.get(key, (None, 0.0, 0.0))
        code, until = self.refusals.get(key, (None, 0.0))
        return Stored(value, lifetime, end - self.clock(), code, until - self.clock())

    async def lease(self, secret: Secret, kind: str, seconds: float) -> bool:
        key = self._reach(secret, kind)
        if key in self.leased:
            return False
        self.leased.add(key)
        return True

    async def save(self, secret: Secret, kind: str, value: str, lifetime: float) -> None:
        key = self._reach(secret, kind)
        self.values[key] = (value, lifetime, self.clock() + lifetime)
        self.refusals.pop(key, None)
        self.leased.discard(key)

    async def refuse(self, secret: Secret, kind: str, code: int, seconds: float) -> None:
        key = self._reach(secret, kind)
        self.refusals[key] = (code, self.clock() + seconds)
        self.leased.discard(key)

    async def release(self, secret: Secret, kind: str) -> None:
        self.leased.discard(self._reach(secret, kind))


class Platform:
    """Counts what it was asked, and answers as it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def fetch(self, secret: Secret) -> tuple[str, float]:
        self.asked.append(secret.corpid)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return f"token-{secret.corpid}-{len(self.asked)}", 7200.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def store(clock: Clock) -> SharedStore:
    return SharedStore(clock)


@pytest.fixture
def make(platform: Platform, store: SharedStore, clock: Clock) -> Callable[[], TokenKeeper]:
    def keeper() -> TokenKeeper:
        return TokenKeeper("access_token", "gettoken", platform.fetch, store, lambda *_: None, clock)

    return keeper


async def test_one_fetch_serves_everybody_who_waits(make: Callable[[], TokenKeeper], platform: Platform) -> None:
    keeper = make()
    platform.gate = asyncio.Event()
    waiting = [asyncio.create_task(keeper.get(SECRET)) for _ in range(50)]
    await asyncio.sleep(0)
    platform.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"token-ww1-1"}
    assert platform.asked == ["ww1"]


async def test_corps_with_equal_agentids_have_tokens_of_their_own(
    make: Callable[[], TokenKeeper], platform: Platform
) -> None:
    keeper = make()
    assert await keeper.get(SECRET) != await keeper.get(OTHER)
    assert platform.asked == ["ww1", "ww2"]


async def test_it_is_renewed_some_minutes_early(
    make: Callable[[], TokenKeeper], platform: Platform, clock: Clock
) -> None:
    keeper = make()
    await keeper.get(SECRET)
    clock.now += 7200 - 301
    assert await keeper.get(SECRET) == "token-ww1-1"
    clock.now += 2
    assert await keeper.get(SECRET) == "token-ww1-2"


async def test_an_early_renewal_that_fails_leaves_the_old_one_in_use(
    make: Callable[[], TokenKeeper], platform: Platform, clock: Clock
) -> None:
    keeper = make()
    await keeper.get(SECRET)
    clock.now += 7200 - 100
    platform.error = Retry("gettoken", None, "away")
    assert await keeper.get(SECRET) == "token-ww1-1"
    clock.now += 200
    with pytest.raises(Retry):
        await keeper.get(SECRET)


async def test_many_with_the_same_dead_token_cause_one_fetch(
    make: Callable[[], TokenKeeper], platform: Platform
) -> None:
    keeper = make()
    dead = await keeper.get(SECRET)
    renewed = await asyncio.gather(*(keeper.replace(SECRET, dead) for _ in range(20)))
    assert set(renewed) == {"token-ww1-2"}
    assert platform.asked == ["ww1", "ww1"]


async def test_a_dead_token_is_never_taken_from_the_store_again(
    make: Callable[[], TokenKeeper], platform: Platform
) -> None:
    first, second = make(), make()
    dead = await first.get(SECRET)
    assert await second.get(SECRET) == dead
    fresh = await first.replace(SECRET, dead)
    assert await second.replace(SECRET, dead) == fresh
    assert platform.asked == ["ww1", "ww1"]


async def test_a_second_process_uses_what_the_first_fetched(
    make: Callable[[], TokenKeeper], platform: Platform, clock: Clock
) -> None:
    await make().get(SECRET)
    clock.now += 3600
    assert await make().get(SECRET) == "token-ww1-1"
    # And renews it as early as the first would have.
    clock.now += 3600 - 299
    assert await make().get(SECRET) == "token-ww1-2"


async def test_a_wrong_secret_is_asked_once_not_in_a_loop(
    make: Callable[[], TokenKeeper], platform: Platform, clock: Clock
) -> None:
    keeper = make()
    platform.error = CorpPaused("gettoken", 40001, "invalid credential")
    for _ in range(100):
        with pytest.raises(CorpPaused) as raised:
            await keeper.get(SECRET)
        assert raised.value.errcode == 40001
        assert 0 < raised.value.retry_after <= 600
    assert platform.asked == ["ww1"]
    # Neither does a process that was started again.
    with pytest.raises(CorpPaused):
        await make().get(SECRET)
    assert platform.asked == ["ww1"]
    clock.now += 601
    with pytest.raises(CorpPaused):
        await keeper.get(SECRET)
    assert platform.asked == ["ww1", "ww1"]
    clock.now += 601
    with pytest.raises(CorpPaused):
        await keeper.get(SECRET)
    assert len(platform.asked) == 2, "the second refusal holds longer"


async def test_a_changed_secret_is_asked_at_once(make: Callable[[], TokenKeeper], platform: Platform) -> None:
    platform.error = CorpPaused("gettoken", 40001, "invalid credential")
    with pytest.raises(CorpPaused):
        await make().get(SECRET)
    platform.error = None
    mended = Secret(SECRET.corpid, SECRET.name, "the right one")
    assert await make().get(mended) == "token-ww1-2"


async def test_a_limited_gettoken_is_left_alone(make: Callable[[], TokenKeeper], platform: Platform) -> None:
    keeper = make()
    platform.error = RateLimited("gettoken", 45009, "api freq out of limit")
    for _ in range(3):
        with pytest.raises(RateLimited):
            await keeper.get(SECRET)
    assert platform.asked == ["ww1"]


async def test_fresh_tokens_that_are_rejected_too_slow_down(
    make: Callable[[], TokenKeeper], platform: Platform, clock: Clock
) -> None:
    keeper = make()
    token = await keeper.get(SECRET)
    token = await keeper.replace(SECRET, token)
    keeper.fruitless(SECRET)
    with pytest.raises(TokenRejected):
        await keeper.replace(SECRET, token)
    assert len(platform.asked) == 2
    clock.now += 1.1
    token = await keeper.replace(SECRET, token)
    keeper.fruitless(SECRET)
    clock.now += 1.1
    with pytest.raises(TokenRejected):
        await keeper.replace(SECRET, token)
    keeper.accepted(SECRET)
    assert await keeper.replace(SECRET, token) == "token-ww1-4"


async def test_without_the_store_it_goes_on_from_memory(
    make: Callable[[], TokenKeeper], platform: Platform, store: SharedStore
) -> None:
    keeper = make()
    store.away = True
    assert await keeper.get(SECRET) == "token-ww1-1"
    assert await keeper.get(SECRET) == "token-ww1-1"
    assert platform.asked == ["ww1"]


async def test_a_failed_fetch_gives_the_lease_back(
    make: Callable[[], TokenKeeper], platform: Platform, store: SharedStore
) -> None:
    platform.error = Retry("gettoken", None, "away")
    with pytest.raises(Retry):
        await make().get(SECRET)
    assert store.leased == set()


async def test_a_secret_shows_itself_nowhere() -> None:
    assert "s3cret" not in repr(SECRET)
    assert "s3cret" not in SECRET.fingerprint
    assert "value" not in repr(Stored("token"))


async def test_who_waited_for_a_failed_fetch_shares_its_end(
    make: Callable[[], TokenKeeper], platform: Platform, clock: Clock
) -> None:
    keeper = make()
    platform.gate, platform.error = asyncio.Event(), Retry("gettoken", None, "TimeoutError")
    waiting = [asyncio.create_task(keeper.get(SECRET)) for _ in range(50)]
    await asyncio.sleep(0)
    platform.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {Retry}
    assert platform.asked == ["ww1"], "an attempt for each would be a loop, and the last would wait for fifty time-outs"
    platform.error = None
    assert await keeper.get(OTHER) == "token-ww2-2"
    clock.now += 1.0
    assert await keeper.get(SECRET) == "token-ww1-3"


async def test_failed_fetches_slow_down_and_recover(
    make: Callable[[], TokenKeeper], platform: Platform, clock: Clock
) -> None:
    keeper = make()
    platform.error = Retry("gettoken", None, "away")
    for wait in (1.0, 2.0, 5.0, 10.0, 30.0, 30.0):
        asked = len(platform.asked)
        for _ in range(3):
            with pytest.raises(Retry):
                await keeper.get(SECRET)
        assert len(platform.asked) == asked + 1
        clock.now += wait
    platform.error = None
    token = await keeper.get(SECRET)
    platform.error = Retry("gettoken", None, "away")
    with pytest.raises(Retry):
        await keeper.replace(SECRET, token)
    platform.error = None
    clock.now += 1.0
    assert await keeper.replace(SECRET, token) != token


async def test_early_renewals_that_fail_are_not_tried_by_every_call(
    make: Callable[[], TokenKeeper], platform: Platform, clock: Clock
) -> None:
    keeper = make()
    await keeper.get(SECRET)
    clock.now += 7200 - 100
    platform.error = Retry("gettoken", None, "away")
    for _ in range(10):
        assert await keeper.get(SECRET) == "token-ww1-1"
    assert len(platform.asked) == 2


async def test_an_unknown_refusal_is_not_asked_in_a_loop(make: Callable[[], TokenKeeper], platform: Platform) -> None:
    platform.error = RequestRefused("gettoken", 41004, "appsecret missing")
    keeper = make()
    for _ in range(10):
        with pytest.raises(Retry):
            await keeper.get(SECRET)
    assert len(platform.asked) == 1


async def test_after_a_failed_renewal_the_dead_token_is_not_taken_from_the_store(
    make: Callable[[], TokenKeeper], platform: Platform, clock: Clock
) -> None:
    keeper = make()
    dead = await keeper.get(SECRET)
    platform.error = Retry("gettoken", None, "away")
    with pytest.raises(Retry):
        await keeper.replace(SECRET, dead)
    platform.error = None
    clock.now += 1.0
    assert await keeper.get(SECRET) == "token-ww1-3"


async def test_a_holder_that_died_is_waited_for_and_then_replaced(
    platform: Platform, store: SharedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its lease runs out by the store's clock while the next one looks again and again.
    monkeypatch.setattr("wecom.tokens._LOOK_AGAIN", 0)
    looks = 0

    class Dying(SharedStore):
        async def load(self, secret: Secret, kind: str) -> Stored | None:
            nonlocal looks
            looks += 1
            clock.now += 1.0
            if looks == 20:
                self.leased.clear()
            return await super().load(secret, kind)

    dying = Dying(clock)
    assert await dying.lease(SECRET, "access_token", 20)
    keeper = TokenKeeper("access_token", "gettoken", platform.fetch, dying, lambda *_: None, clock)
    assert await keeper.get(SECRET) == "token-ww1-1"
    assert 20 <= looks <= 22


async def test_one_that_fetches_for_ever_is_not_waited_for_for_ever(
    platform: Platform, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wecom.tokens._LOOK_AGAIN", 0)

    class Busy(SharedStore):
        async def lease(self, secret: Secret, kind: str, seconds: float) -> bool:
            clock.now += 1.0
            return False

    keeper = TokenKeeper("access_token", "gettoken", platform.fetch, Busy(clock), lambda *_: None, clock)
    began = clock.now
    results = await asyncio.gather(*(keeper.get(SECRET) for _ in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {Retry}
    assert clock.now - began < 30, "together, not one after the other"
    assert platform.asked == []
