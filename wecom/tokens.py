"""Access tokens and tickets: one cache, one refresh at a time, nobody else thinks of them (document 91039).

A token belongs to one secret of one corp, so (corpid, secret name, kind) is the key everywhere. The platform may
invalidate a token early; the caller then says which one was rejected and gets another, and only the first of many
callers with the same dead token causes a ``gettoken``. Frequent calls get an app blocked, and a wrong secret several
times gets the IP banned for an hour: a refusal is remembered, here and in the store, and not asked again until its
time is over or the secret changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from wecom.errcodes import error_of
from wecom.errors import ApiError, CorpPaused, RateLimited, Retry, TokenRejected

ACCESS_TOKEN = "access_token"  # noqa: S105
JSAPI_TICKET, AGENT_TICKET = "jsapi_ticket", "agent_ticket"
LEASE_SECONDS = 20.0
_EARLY_SECONDS = 300.0
_EARLY_SHARE = 0.1
_REFUSED = (600.0, 1200.0, 2400.0, 3600.0)
_FRUITLESS = (1.0, 5.0, 30.0, 60.0, 300.0)
_HELD = (1.0, 2.0, 5.0, 10.0, 30.0)
# An app may ask for its ticket a hundred times an hour (document 90506), failures included and in every process.
_HELD_TICKET = (1.0, 5.0, 30.0, 60.0, 120.0)
_LOOK_AGAIN = 0.2


@dataclass(frozen=True, slots=True)
class Secret:
    """One app's secret. ``name`` is what it is called wherever it is spoken of: ``agent:<agentid>``."""

    corpid: str
    name: str
    value: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Tells a changed secret from the old one without showing either."""
        return hashlib.sha256(f"{self.corpid}\0{self.name}\0{self.value}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store knows. ``seconds_left`` of the value's ``lifetime``; a refusal holds for ``refused_for`` more."""

    value: str | None = field(repr=False)
    lifetime: float = 0.0
    seconds_left: float = 0.0
    refused_code: int | None = None
    refused_for: float = 0.0


class StoreUnavailable(Exception):
    """The store can't be reached; the keeper goes on with what it has in memory."""


class TokenStore(Protocol):
    """Where all processes share what they fetched. Any method may raise ``StoreUnavailable``."""

    async def load(self, secret: Secret, kind: str) -> Stored | None:
        """What is known for exactly this secret; None if nothing is, or if it was made with another secret."""
        ...

    async def lease(self, secret: Secret, kind: str, seconds: float) -> bool:
        """Take the right to refresh for so long; False while another process has it."""
        ...

    async def save(self, secret: Secret, kind: str, value: str, lifetime: float) -> None:
        """Keep a value for ``lifetime`` seconds and end the lease."""
        ...

    async def refuse(self, secret: Secret, kind: str, code: int, seconds: float) -> None:
        """Remember that the platform refused, and end the lease."""
        ...

    async def release(self, secret: Secret, kind: str) -> None:
        """End the lease without a result."""
        ...


Fetch = Callable[[Secret], Awaitable[tuple[str, float]]]
"""Asks the platform: value and lifetime in seconds."""
Told = Callable[[str, str, str], None]
"""(corpid, kind, outcome) of a refresh, for metrics."""


@dataclass(slots=True)
class _Slot:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    value: str | None = None
    expires: float = 0.0
    renew: float = 0.0
    refused_code: int | None = None
    refused_until: float = 0.0
    refusals: int = 0
    fruitless: int = 0
    fruitless_until: float = 0.0
    rejected: str | None = None
    failures: int = 0
    held_until: float = 0.0


class TokenKeeper:
    """Hands out tokens of one kind; makes sure that there is one that works."""

    def __init__(
        self,
        kind: str,
        api: str,
        fetch: Fetch,
        store: TokenStore,
        told: Told,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``api`` is the path that ``fetch`` calls, for error messages; ``clock`` gives seconds."""
        self._kind = kind
        self._api = api
        self._fetch = fetch
        self._store = store
        self._told = told
        self._clock = clock
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._held = _HELD if kind == ACCESS_TOKEN else _HELD_TICKET

    async def get(self, secret: Secret) -> str:
        """A token that should work. Raises what ``fetch`` raised, without asking again while a refusal holds."""
        slot = self._slot(secret)
        now = self._clock()
        if slot.value is not None and (now < slot.renew or (now < slot.expires and slot.lock.locked())):
            return slot.value
        async with slot.lock:
            if slot.value is not None and self._clock() < slot.renew:
                return slot.value
            old, expires = slot.value, slot.expires
            try:
                return await self._renew(secret, slot)
            except Retry:
                # Early renewal has time: the old one still works.
                if old is not None and self._clock() < expires:
                    return old
                raise

    async def replace(self, secret: Secret, rejected: str) -> str:
        """Another token than ``rejected``: the one that somebody fetched meanwhile, or a new one."""
        slot = self._slot(secret)
        async with slot.lock:
            if slot.value is not None and slot.value != rejected:
                return slot.value
            if self._clock() < slot.fruitless_until:
                raise TokenRejected(self._api, None, "new tokens are rejected too; waiting before the next")
            # Kept until there is another, so that nobody takes the rejected one from the store meanwhile.
            slot.value, slot.rejected = None, rejected
            return await self._renew(secret, slot)

    def fruitless(self, secret: Secret) -> None:
        """A token that was fetched for a rejected one was rejected too: the next one has to wait."""
        slot = self._slot(secret)
        now = self._clock()
        if now >= slot.fruitless_until:
            slot.fruitless_until = now + _FRUITLESS[min(slot.fruitless, len(_FRUITLESS) - 1)]
            slot.fruitless += 1

    def accepted(self, secret: Secret) -> None:
        """The platform took the token."""
        slot = self._slot(secret)
        if slot.fruitless:
            slot.fruitless, slot.fruitless_until = 0, 0.0

    def _slot(self, secret: Secret) -> _Slot:
        return self._slots.setdefault((secret.corpid, secret.name), _Slot())

    async def _renew(self, secret: Secret, slot: _Slot) -> str:
        self._raise_refusal(slot)
        if self._clock() < slot.held_until:
            # Who waited for the attempt that failed shares its end: each with an attempt of its own would be a loop,
            # and the last of fifty would wait for fifty time-outs.
            raise Retry(self._api, None, "failed a moment ago, not asked again yet")
        try:
            return await self._obtain(secret, slot)
        except Retry:
            slot.held_until = self._clock() + self._held[min(slot.failures, len(self._held) - 1)]
            slot.failures += 1
            raise

    async def _obtain(self, secret: Secret, slot: _Slot) -> str:
        leased = False
        try:
            deadline = self._clock() + LEASE_SECONDS
            while True:
                adopted = self._adopt(slot, await self._store.load(secret, self._kind))
                if leased and (adopted or self._refused_for(slot) > 0):
                    await self._quietly(self._store.release(secret, self._kind))
                if adopted:
                    return slot.value or ""
                self._raise_refusal(slot)
                if leased:
                    break
                # With the lease it looks once more: the one before may have finished between the look and the lease.
                leased = await self._store.lease(secret, self._kind, LEASE_SECONDS)
                if not leased:
                    if self._clock() > deadline:
                        raise Retry(self._api, None, "another process is fetching the token for too long")
                    await asyncio.sleep(_LOOK_AGAIN)
        except StoreUnavailable:
            leased = False
        except asyncio.CancelledError:
            # The lease may have been taken all the same, and the next caller would wait for its end.
            await self._quietly(self._store.release(secret, self._kind))
            raise
        try:
            value, lifetime = await self._fetch(secret)
        except (CorpPaused, RateLimited) as error:
            await self._refused(secret, slot, error)
            raise error_of(self._api, error.errcode or 0, error.detail, slot.refused_until - self._clock()) from None
        except BaseException as error:
            self._told(secret.corpid, self._kind, "failed")
            if leased:
                await self._quietly(self._store.release(secret, self._kind))
            if isinstance(error, ApiError) and not isinstance(error, Retry):
                raise Retry(self._api, error.errcode, error.detail) from None
            raise
        self._told(secret.corpid, self._kind, "ok")
        self._keep(slot, value, lifetime, lifetime)
        slot.refusals = 0
        await self._quietly(self._store.save(secret, self._kind, value, lifetime))
        return value

    def _adopt(self, slot: _Slot, stored: Stored | None) -> bool:
        """Take over what another process stored, if it is of use."""
        if stored is None:
            return False
        if stored.refused_code is not None and stored.refused_for > 0:
            slot.refused_code = stored.refused_code
            slot.refused_until = self._clock() + stored.refused_for
            return False
        if stored.value is None or stored.value == slot.rejected or stored.seconds_left <= _early(stored.lifetime):
            return False
        self._keep(slot, stored.value, stored.seconds_left, stored.lifetime)
        return True

    def _keep(self, slot: _Slot, value: str, seconds_left: float, lifetime: float) -> None:
        slot.value = value
        slot.expires = self._clock() + seconds_left
        slot.renew = slot.expires - _early(lifetime)
        slot.refused_code = None
        slot.rejected = None
        slot.failures, slot.held_until = 0, 0.0

    async def _refused(self, secret: Secret, slot: _Slot, error: CorpPaused | RateLimited) -> None:
        self._told(secret.corpid, self._kind, "refused")
        seconds = _REFUSED[min(slot.refusals, len(_REFUSED) - 1)]
        slot.refusals += 1
        slot.refused_code = error.errcode
        slot.refused_until = self._clock() + seconds
        await self._quietly(self._store.refuse(secret, self._kind, error.errcode or 0, seconds))

    def _refused_for(self, slot: _Slot) -> float:
        return 0.0 if slot.refused_code is None else slot.refused_until - self._clock()

    def _raise_refusal(self, slot: _Slot) -> None:
        left = self._refused_for(slot)
        if slot.refused_code is not None and left > 0:
            raise error_of(self._api, slot.refused_code, "refused before, not asked again yet", left)

    async def _quietly(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StoreUnavailable:
            return


def _early(lifetime: float) -> float:
    """How long before its end a token of that lifetime is replaced."""
    return min(_EARLY_SECONDS, lifetime * _EARLY_SHARE)
