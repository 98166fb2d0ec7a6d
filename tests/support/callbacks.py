"""The callback listener as the product runs it, deliveries as the platform makes them, and sockets for what it never
sends."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import pytest
import uvloop
from aiohttp import web

from core.eventlog.base import Positions, Reader, Record
from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.metrics import Metrics
from ingest.app import create_app
from ingest.keys import Callbacks, KeyRing
from ingest.server import serve
from tests.support.eventlogs import read_all
from tests.support.waiting import DEADLINE
from wecom.callback import seal_delivery
from wecom.crypto import CallbackCrypto

CORP, OTHER = "ww1", "ww2"
KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
OTHER_KEY = "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR"
CRYPTO = CallbackCrypto("token1", KEY, CORP)
DOCUMENT = b"<xml><Event><![CDATA[change_external_contact]]></Event></xml>"
TIMESTAMP, NONCE = "1770000000", "VHh7ymSeb0jc4lSb"
LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
Test = Callable[..., Coroutine[Any, Any, None]]


def on_loops(*names: str) -> Callable[[Test], Callable[..., None]]:
    """Run a test on these event loops; the product's own is uvloop."""

    def decorate(test: Test) -> Callable[..., None]:
        @functools.wraps(test)
        def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(test(**fixtures))

        own = inspect.signature(test)
        loop = inspect.Parameter("loop_factory", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = own.replace(parameters=[loop, *own.parameters.values()])  # type: ignore[attr-defined]
        del run.__wrapped__
        marked: Callable[..., None] = pytest.mark.parametrize(
            "loop_factory", [LOOPS[name] for name in names], ids=names
        )(run)
        return marked

    return decorate


on_uvloop = on_loops("uvloop")
on_both_loops = on_loops("uvloop", "asyncio")


class HeldLog:
    """A real log whose appends can be held back or made to fail."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self._gate = asyncio.Event()
        self._gate.set()
        self.waiting = 0
        """Appends that are held back now."""
        self.failure: Exception | None = None
        """What appends raise."""

    @property
    def log_id(self) -> str:
        return self._log.log_id

    @property
    def next_position(self) -> int:
        return self._log.next_position

    def hold(self) -> None:
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    async def append(self, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        self.waiting += 1
        try:
            await self._gate.wait()
        finally:
            self.waiting -= 1
        if self.failure is not None:
            raise self.failure
        await self._log.append(key, value, headers)

    def reader(self, group: str, positions: Positions | None = None) -> AbstractAsyncContextManager[Reader]:
        return self._log.reader(group, positions)

    async def close(self) -> None:
        await self._log.close()


@dataclass
class Listener:
    """An application that is served."""

    host: str
    port: int
    stopping: asyncio.Event
    served: asyncio.Task[None]
    unheard: list[dict[str, Any]]
    """What the loop's exception handler was called with."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass
class Ingest:
    """The callback endpoint that runs."""

    listener: Listener
    log: HeldLog
    metrics: Metrics
    health: Health
    first: int
    """Position of the first record that it may append."""

    @property
    def kept(self) -> int:
        """How many records it appended."""
        return self.log.next_position - self.first

    @property
    def in_hand(self) -> int:
        """Requests being answered now."""
        return int(self.metrics.registry.get_sample_value("wecom_crm_callbacks_in_hand") or 0)

    def outcomes(self) -> dict[str, int]:
        """The counter of requests."""
        return {
            sample.labels["outcome"]: int(sample.value)
            for metric in self.metrics.callbacks_total.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    async def records(self) -> list[Record]:
        """Everything that it appended."""
        async with self.log.reader("crm-sync") as reader:
            return await read_all(reader, self.kept)


@asynccontextmanager
async def listening(app: web.Application, **limits: Any) -> AsyncIterator[Listener]:
    """The product's own listener; ``limits`` are those of ``serve``.

    At the end it is stopped, and nothing may have been left to the loop's exception handler.
    """
    unheard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: unheard.append(context))
    stopping = asyncio.Event()
    address: asyncio.Future[tuple[str, int]] = loop.create_future()

    def ready(host: str, port: int) -> None:
        address.set_result((host, port))

    served = asyncio.create_task(serve(app, "127.0.0.1", 0, stopping, ready=ready, **limits))
    listener = Listener(*await address, stopping, served, unheard)
    try:
        yield listener
    finally:
        stopping.set()
        async with asyncio.timeout(DEADLINE):
            await listener.served
    assert unheard == []


@asynccontextmanager
async def ingest(
    folder: Path,
    corps: Mapping[str, Callbacks] | None = None,
    *,
    keys: KeyRing | None = None,
    answer_503: bool = False,
    most_in_hand: int = 2000,
    max_bytes: int = 2**32,
    **limits: Any,
) -> AsyncIterator[Ingest]:
    """The product's own application on its own listener and a real log; ``limits`` are those of ``serve``."""
    if keys is None:
        keys = KeyRing(corps if corps is not None else {CORP: {"contacts": (CRYPTO,)}})
    metrics, health = Metrics(), Health()
    async with await EmbeddedLog.open(folder / "log.sqlite", max_bytes=max_bytes, metrics=metrics) as embedded:
        log = HeldLog(embedded)
        part = health.component("ingest")
        app = create_app(keys, log, metrics, part, answer_503=answer_503, most_in_hand=most_in_hand)
        async with listening(app, **limits) as listener:
            part.ok()
            try:
                yield Ingest(listener, log, metrics, health, log.next_position)
            finally:
                log.release()


@dataclass(frozen=True)
class Delivery:
    """A request as the platform makes it."""

    query: Mapping[str, str]
    body: bytes

    def request(self, path: str = f"/callback/{CORP}/contacts", *headers: str) -> bytes:
        """Its bytes."""
        return post(path, encoded(self.query), self.body, *headers)


def sealed(
    document: bytes = DOCUMENT, crypto: CallbackCrypto = CRYPTO, *, timestamp: str = TIMESTAMP, nonce: str = NONCE
) -> Delivery:
    """A delivery of this inner document."""
    query, body = seal_delivery(crypto, document, timestamp=timestamp, nonce=nonce, to=CORP, agentid="1000002")
    return Delivery(query, body)


def signed_ciphertext(encrypt: str, crypto: CallbackCrypto = CRYPTO) -> Delivery:
    """A delivery with a right signature over a ciphertext, whatever that is."""
    query = {"msg_signature": crypto.signature(TIMESTAMP, NONCE, encrypt), "timestamp": TIMESTAMP, "nonce": NONCE}
    return Delivery(query, f"<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>".encode())


def encoded(query: Mapping[str, str]) -> str:
    """As the platform does it: ``%2B``, never a plus for a blank."""
    return urlencode(query, quote_via=quote, safe="")


def get(path: str, query: str, *headers: str) -> bytes:
    """The bytes of a GET."""
    return "\r\n".join([f"GET {path}?{query} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def post(path: str, query: str, body: bytes, *headers: str) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path}?{query} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass(frozen=True)
class Answer:
    """Status, headers in order without the date, body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def closes(self) -> bool:
        return ("connection", "close") in self.headers


class Socket:
    """A connection that can do everything wrong. Use as an async context manager."""

    def __init__(self, service: Ingest | Listener) -> None:
        self._listener = service.listener if isinstance(service, Ingest) else service

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(self._listener.host, self._listener.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> Answer | None:
        """The next answer; None if the connection ends instead. Raises ``TimeoutError`` if neither comes."""
        async with asyncio.timeout(DEADLINE):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                headers = [
                    (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:-2])
                ]
                body = await self.reader.readexactly(int(dict(headers).get("content-length", "0")))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        return Answer(int(lines[0].split(" ")[1]), tuple(pair for pair in headers if pair[0] != "date"), body)

    async def ends(self, deadline: float = DEADLINE) -> bytes:
        """What comes until the other side closes. Raises ``TimeoutError`` if it does not."""
        rest = b""
        async with asyncio.timeout(deadline):
            try:
                while piece := await self.reader.read(65536):
                    rest += piece
            except ConnectionError:
                pass
        return rest


async def ask(service: Ingest | Listener, request: bytes) -> Answer | None:
    """One request on a connection of its own; None if it is closed without an answer."""
    async with Socket(service) as socket:
        socket.send(request)
        return await socket.answer()


async def status(service: Ingest | Listener, request: bytes) -> int | None:
    """The status of one request's answer; None if there is none."""
    answer = await ask(service, request)
    return None if answer is None else answer.status
