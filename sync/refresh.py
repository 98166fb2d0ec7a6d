"""The second loop: read what is due from WeCom, write what it says.

One loop per corp, so that a corp that is blocked, paused or slow holds up nobody else. Rows are claimed for the time
of a lease, read at the same time within the client's budget, and written in one transaction together with what comes
next for each. While there is more than one round can take, a second lane works beside the first: one reads while the
other writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.db.engine import Database, is_transient, name_of
from core.db.wishes import CUSTOMER
from core.health import Component
from core.logs import get_logger
from core.metrics import Metrics
from core.runtime import aloud, cancelled_from_outside, stopped_within
from sync.effects import Effect, Object
from sync.objects.base import Answer, Kind
from sync.pending import RARELY, Claim, Next, claim, next_due, plan, postpone, release, settle, want
from wecom.client import WeComClient
from wecom.errors import ApiError, CorpPaused, NotVisible, RateLimited, RequestRefused, Retry

_log = get_logger(__name__)

# Rows of a round: few where answers take long, as all of a round are written together and its lease ends; many while
# they come quickly, as each round costs the same few statements.
AT_ONCE, MOST_AT_ONCE = 32, 128
QUICK, SLOW = 1.0, 5.0
LANES = 2
# Rows of other processes, and those left by a process that died, are looked for at least this often: somebody may be
# waiting in front of the sidebar for one.
LOOK_AGAIN = 1.0
# Between the beginnings of two rounds that are not full: each costs the same statements, whether for one row or many.
GATHER = 0.05
STOP_AFTER = 1.0
# What only a change of the program can help is not asked for in a hurry.
HOPELESS = 600.0
# No permission for one API, which says nothing about the others (document 90313).
NOT_ALLOWED = frozenset({48002, 48009})


@dataclass(slots=True)
class Round:
    """One round of reads: answers, what is put off, and what stopped the round."""

    answers: dict[Claim, Answer] = field(default_factory=dict)
    postponed: dict[Claim, tuple[str, float | None]] = field(default_factory=dict)
    blocked: RateLimited | None = None
    paused: CorpPaused | None = None


class CorpRefresher:
    """Reads the due objects of one corp."""

    def __init__(
        self,
        corpid: str,
        secret_name: str,
        reader: str,
        database: Database,
        client: WeComClient,
        kinds: Mapping[str, Kind],
        metrics: Metrics,
        health: Component,
        clock: Callable[[], float] = time.monotonic,
        behind: Callable[[], bool] = lambda: False,
    ) -> None:
        """``secret_name`` names the agent whose secret reads customers; ``reader`` this process, for the leases.

        ``kinds`` are by the name that ``pending_read`` has for them; ``behind`` says whether more events wait in line.
        """
        self._corpid = corpid
        self._secret_name = secret_name
        self._reader = reader
        self._database = database
        self._client = client
        self._kinds = kinds
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._behind = behind
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._crowded = asyncio.Event()
        self._held_until = 0.0
        self._at_once = AT_ONCE
        # Kinds whose API the app may not use, to its path and code: the corp goes on without.
        self._not_allowed: dict[str, str] = {}
        # What rounds have claimed and, if they were interrupted, still have to give back.
        self._open: dict[int, list[Object]] = {}

    def wake(self, *, hurry: bool = False) -> None:
        """There may be something due: look soon, or now if somebody waits for it."""
        self._wake.set()
        if hurry:
            self._hurry.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Read what is due until told to stop. Nothing that happens to this corp is raised."""
        self._ok()
        async with asyncio.TaskGroup() as lanes:
            for lane in range(LANES):
                lanes.create_task(aloud(self._work(lane, stopping)), name=f"refresh:{self._corpid}:{lane}")

    async def _work(self, lane: int, stopping: asyncio.Event) -> None:
        delay = 0.0
        while not stopping.is_set():
            if lane and not self._crowded.is_set():
                await self._either(stopping, self._crowded, None)
                continue
            if (held := self._held_until - self._clock()) > 0:
                await stopped_within(stopping, held)
                continue
            if not lane:
                self._wake.clear()
                self._hurry.clear()
            began = self._clock()
            try:
                wait = await self._round(stopping, lane)
                delay = 0.0
            except Exception as error:
                delay = min(60.0, delay * 2 or 1.0)
                name = name_of(error)
                if is_transient(error):
                    self._health.waiting(f"database: {name}")
                    _log.warning("refresh.waits", corpid=self._corpid, error=name)
                else:
                    self._health.failed(f"{name}, trying again")
                    _log.exception("refresh.failed", corpid=self._corpid, error=name)
                await stopped_within(stopping, delay)
                continue
            if lane:
                continue
            if wait > 0:
                await self._either(stopping, self._wake, wait)
            if not self._crowded.is_set() and (rest := began + GATHER - self._clock()) > 0:
                await self._either(stopping, self._hurry, rest)

    async def _round(self, stopping: asyncio.Event, lane: int = 0) -> float:
        """Claim, read, write; returns for how many seconds there is nothing to do."""
        async with self._database.write() as conn:
            if left := self._open.get(lane):
                await release(conn, self._corpid, left, self._reader)
            now = await self._database.clock(conn)
            # After the question, which may have waited long for its turn: an answer must not look newer than it is.
            began = self._clock()
            limit = self._at_once
            claims = await claim(
                conn, self._database.dialect, self._corpid, self._reader, limit, now, settled=not self._behind()
            )
            due = None if claims else await next_due(conn, self._corpid)
        crowded = len(claims) == limit
        if crowded:
            self._crowded.set()
        else:
            self._crowded.clear()
        if self._health.state in {"waiting", "failed"}:
            self._ok()
        self._open[lane] = [row.key for row in claims]
        if not claims:
            return LOOK_AGAIN if due is None else min(LOOK_AGAIN, max(0.05, (due - now).total_seconds()))
        result = await self._read(claims, now, began, stopping)
        await self._write(claims, result)
        self._open[lane] = []
        self._pace(self._clock() - began, crowded=crowded)
        await self._hold(result, stopping)
        return 0.0

    def _pace(self, seconds: float, *, crowded: bool) -> None:
        if seconds > SLOW:
            self._at_once = AT_ONCE
        elif crowded and seconds < QUICK:
            self._at_once = min(MOST_AT_ONCE, self._at_once * 2)

    async def _read(self, claims: list[Claim], now: datetime, began: float, stopping: asyncio.Event) -> Round:
        result = Round()
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(self._read_one(row, now, began, result), name=f"read:{self._corpid}") for row in claims
        ]
        stop: asyncio.Task[object] = asyncio.create_task(stopping.wait(), name=f"read-stop:{self._corpid}")
        try:
            left = set(tasks)
            while left and not stop.done():
                done, _ = await asyncio.wait({*left, stop}, return_when=asyncio.FIRST_COMPLETED)
                left -= done
            if left:
                # Stopping: what is on its way gets a moment, the rest is given back.
                _, left = await asyncio.wait(left, timeout=STOP_AFTER)
            for task in set(tasks) - left:
                task.result()
            return result
        finally:
            stop.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)

    async def _read_one(self, row: Claim, now: datetime, began: float, result: Round) -> None:
        # By the database's clock, carried forward by ours: the one that all processes compare.
        fetched_at = now + timedelta(seconds=self._clock() - began)
        outcome = "ok"
        kind = self._kinds.get(row.kind)
        if kind is None:
            # Of a newer release that shares the database.
            result.postponed[row] = (f"this release does not read a {row.kind}", HOPELESS)
            return
        try:
            found = await kind.read(self._client, self._corpid, self._secret_name, row.object_id)
            result.answers[row] = Answer(row.object_id, fetched_at, found, row.cause)
            self._not_allowed.pop(row.kind, None)
        except NotVisible:
            self._not_allowed.pop(row.kind, None)
            result.answers[row] = Answer(row.object_id, fetched_at, None, row.cause)
            outcome = "not_visible"
        except RateLimited as error:
            if kind.name == CUSTOMER:
                # The bulk of the work; of others only these rows wait.
                result.blocked = error
            result.postponed[row] = (_words(error), error.retry_after)
            outcome = "blocked"
        except CorpPaused as error:
            if error.errcode in NOT_ALLOWED and kind.name != CUSTOMER:
                # An app may read customers and not the address book, or groups.
                words = _words(error)
                if words not in self._not_allowed.values():
                    _log.warning("read.not_allowed", corpid=self._corpid, kind=row.kind, errcode=error.errcode)
                self._not_allowed[row.kind] = words
                result.postponed[row] = (words, RARELY)
                outcome = "not_allowed"
            else:
                result.paused = error
                # Due again at once: it is the corp that waits, and not after a new start with a better setting.
                result.postponed[row] = (_words(error), 0.0)
                outcome = "paused"
        except RequestRefused as error:
            # Ours to mend: kept, said, and not asked in a hurry.
            _log.warning("read.refused", corpid=self._corpid, errcode=error.errcode)
            result.postponed[row] = (_words(error), HOPELESS)
            outcome = "refused"
        except ApiError as error:
            result.postponed[row] = (_words(error), None)
            outcome = "retry" if isinstance(error, Retry) else "failed"
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and cancelled_from_outside():
                raise
            # A bug, or an answer that nobody thought of. One object must not hold up the others of its corp.
            _log.exception("read.failed", corpid=self._corpid, error=type(error).__name__)
            result.postponed[row] = (f"can't be read: {type(error).__name__}", HOPELESS)
            outcome = "failed"
        self._metrics.refresh_total.labels(row.kind, outcome).inc()

    async def _write(self, claims: list[Claim], result: Round) -> None:
        """Each kind in a transaction of its own, as each takes its locks in an order of its own."""
        kinds = sorted({row.kind for row in result.answers})
        rest = [row for row in claims if row not in result.answers]
        for name in kinds:
            answers = {row: answer for row, answer in result.answers.items() if row.kind == name}
            if name == kinds[-1]:
                await self._write_kind([*answers, *rest], Round(answers, result.postponed))
            else:
                await self._write_kind(list(answers), Round(answers))
        if not kinds:
            await self._commit(rest, result)

    async def _write_kind(self, claims: list[Claim], result: Round) -> None:
        try:
            await self._commit(claims, result)
        except Exception as error:
            if is_transient(error):
                raise
            _log.warning("refresh.redo", corpid=self._corpid, error=type(error).__name__)
            for row, answer in result.answers.items():
                await self._write_alone(row, answer)
            rest = [row for row in claims if row not in result.answers]
            await self._commit(rest, Round(postponed=result.postponed))

    async def _write_alone(self, row: Claim, answer: Answer) -> None:
        """One answer in a transaction of its own; one that can't be written is put off."""
        try:
            await self._commit([row], Round(answers={row: answer}))
        except Exception as error:
            if is_transient(error):
                raise
            _log.exception("read.unwritable", corpid=self._corpid, error=type(error).__name__)
            reason = f"can't be written: {type(error).__name__}"
            await self._commit([row], Round(postponed={row: (reason, HOPELESS)}))

    async def _commit(self, claims: list[Claim], result: Round) -> None:
        """Write answers of one kind, and what comes next for all these rows."""
        async with self._database.write() as conn:
            now = await self._database.clock(conn)
            plans: dict[Claim, Next | None] = {}
            others: list[Effect] = []
            if result.answers:
                kind = self._kinds[next(iter(result.answers)).kind]
                answers = list(result.answers.values())
                written = await kind.write(conn, self._database.dialect, self._corpid, answers, now)
                plans = {row: plan(row, written[row.object_id], now) for row in result.answers}
                wishes = [(row, tuple(written[row.object_id].wishes)) for row in result.answers]
                others = [Effect(True, wishes=named, cause=row.cause) for row, named in wishes if named]
            for row, (reason, wait) in result.postponed.items():
                plans[row] = postpone(row, now, reason, wait)
            named = {this for other in others for this in other.wishes}
            await settle(conn, self._corpid, plans, self._reader, named)
            await want(conn, self._database.dialect, self._corpid, others, now)
            await release(conn, self._corpid, [row.key for row in claims if row not in plans], self._reader)

    async def _hold(self, result: Round, stopping: asyncio.Event) -> None:
        """Say what stands in the way of this corp and wait it out, in every lane; new events do not shorten it."""
        if result.paused is not None:
            code = str(result.paused.errcode)
            self._health.degraded(f"paused, a human must act: {_words(result.paused)}")
            self._metrics.corp_paused.labels(self._corpid, code).set(1)
            _log.error("corp.paused", corpid=self._corpid, errcode=result.paused.errcode)
            await self._wait(stopping, max(1.0, result.paused.retry_after))
            self._metrics.corp_paused.labels(self._corpid, code).set(0)
        elif result.blocked is not None:
            self._health.degraded(f"blocked by the platform's rate limit: {_words(result.blocked)}")
            _log.warning("corp.blocked", corpid=self._corpid, seconds=result.blocked.retry_after)
            await self._wait(stopping, max(0.5, result.blocked.retry_after))
        elif result.answers:
            self._ok()
        elif result.postponed:
            unanswered = [reason for reason, _ in result.postponed.values() if reason not in self._not_allowed.values()]
            if unanswered:
                self._health.degraded(f"no answer: {unanswered[0]}")
            else:
                self._ok()

    def _ok(self) -> None:
        """It works, and what the app may not read is said: no fault, but not to be overlooked."""
        missing = ", ".join(sorted(set(self._not_allowed.values())))
        self._health.ok(f"not allowed to read: {missing}" if missing else "")

    async def _wait(self, stopping: asyncio.Event, seconds: float) -> None:
        self._held_until = max(self._held_until, self._clock() + seconds)
        await stopped_within(stopping, seconds)

    async def _either(self, stopping: asyncio.Event, event: asyncio.Event, seconds: float | None) -> None:
        """Until one of the two is set, or the time is over."""
        waits = [asyncio.create_task(one.wait(), name=f"wake:{self._corpid}") for one in (event, stopping)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def _words(error: ApiError) -> str:
    """For readiness and the row: path and code, not the platform's message, which may quote what we sent."""
    return f"{error.api}: {error.errcode if error.errcode is not None else error.detail}"
