"""The callback endpoint: authenticate, store, answer (documents 90930, 90968).

POST is answered with 200 only after the inner document is durable in the event log. Nothing here looks into it: an
authentic delivery is never refused for what it says. Every other answer has an empty body and tells nothing about why.
"""

from __future__ import annotations

import re
import time
from collections import deque

from aiohttp import web

from core.eventlog.base import EventLog, LogUnavailable
from core.health import Component
from core.logs import get_logger
from core.metrics import Metrics
from ingest.keys import Callbacks, KeyRing
from ingest.query import read_query, signed
from ingest.server import refusal
from wecom.callback import encrypt_of, open_ciphertext
from wecom.errors import CallbackMalformed, CallbackRejected

LARGEST_BODY = 256 * 2**10
"""Bytes. Deliveries seen are below 3 KB; one that names every member of a large group stays below this too."""
MOST_IN_HAND = 2000
"""Requests at once. Above it a request is refused at once, rather than answered after the sender gave up (5 s)."""

_ECHO = re.compile(rb"[0-9]{1,64}")
_REMEMBERED = 65_536

_log = get_logger(__name__)


class Refused(Exception):
    """What to answer instead of 200; ``outcome`` is for the counter."""

    def __init__(self, status: int, outcome: str) -> None:
        super().__init__(outcome)
        self.status = status
        self.outcome = outcome


class CallbackEndpoint:
    """Answers GET and POST on ``/callback/{corpid}/{name}`` and ``/callback/{corpid}``."""

    def __init__(
        self,
        keys: KeyRing,
        log: EventLog,
        metrics: Metrics,
        health: Component,
        *,
        answer_503: bool = False,
        most_in_hand: int = MOST_IN_HAND,
    ) -> None:
        """With ``answer_503`` a delivery that can't be kept is answered so, instead of closing the connection."""
        self._keys = keys
        self._log = log
        self._health = health
        self._answer_503 = answer_503
        self._most_in_hand = most_in_hand
        self._in_hand = 0
        self._seconds = metrics.callback_seconds
        self._outcomes = metrics.callbacks_total
        self._accepted = metrics.callbacks_total.labels("accepted")
        self._in_hand_gauge = metrics.callbacks_in_hand
        # Ciphertexts that came by POST, by Python's keyed hash: the newest ones, forgotten in order.
        self._posted: set[int] = set()
        self._posted_order: deque[int] = deque()
        metrics.callbacks_in_hand.set_function(lambda: self._in_hand)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        began = time.perf_counter()
        if self._in_hand >= self._most_in_hand:
            self._outcomes.labels("overload").inc()
            return self._no_answer(request)
        self._in_hand += 1
        try:
            if request.method == "POST":
                await self._deliver(request)
                self._accepted.inc()
                self._seconds.observe(time.perf_counter() - began)
                return web.Response()
            if request.method == "GET":
                echo = self._verify(request)
                self._outcomes.labels("verified").inc()
                return web.Response(body=echo, content_type="text/plain", charset="utf-8")
            raise Refused(405, "method")  # noqa: TRY301
        except CallbackRejected as error:
            self._outcomes.labels(error.reason).inc()
            return refusal(403)
        except CallbackMalformed as error:
            self._outcomes.labels("malformed").inc()
            _log.debug("callback.malformed", reason=error.reason)
            return refusal(400)
        except Refused as error:
            self._outcomes.labels(error.outcome).inc()
            return refusal(error.status)
        except LogUnavailable as error:
            self._outcomes.labels("not_kept").inc()
            self._not_kept(error)
            return self._no_answer(request)
        except Exception:
            # Ours to mend. Not 200, and nothing that the sender would take for a final word.
            self._outcomes.labels("failed").inc()
            _log.exception("callback.failed")
            return self._no_answer(request)
        finally:
            self._in_hand -= 1

    async def _deliver(self, request: web.Request) -> None:
        if (request.content_length or 0) > LARGEST_BODY:
            raise Refused(413, "too_large")
        if "Content-Encoding" in request.headers:
            # A few bytes may become many; the platform sends none.
            raise CallbackMalformed("content encoding")
        callbacks = self._callbacks(request)
        signature, timestamp, nonce = signed(read_query(request.rel_url.raw_query_string))
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refused(413, "too_large") from None
        except web.RequestPayloadError:
            raise CallbackMalformed("body") from None
        except OSError:
            # Nobody is there to hear the answer.
            raise Refused(400, "disconnected") from None
        encrypt = encrypt_of(body)
        name, document = _opened(callbacks, signature, timestamp, nonce, encrypt)
        self._remember(encrypt)
        await self._log.append(request.match_info["corpid"], document, {"callback": name})
        if self._health.state != "ok":
            self._kept()

    def _verify(self, request: web.Request) -> bytes:
        """The number to echo when the address is saved in the console (document 90930)."""
        callbacks = self._callbacks(request)
        query = read_query(request.rel_url.raw_query_string)
        signature, timestamp, nonce = signed(query)
        if "echostr" not in query:
            raise CallbackMalformed("parameter missing")
        echostr = query["echostr"].encode("utf-8", "surrogatepass")
        # The signature does not bind the method: without these two a delivery that somebody has caught, sent again as
        # an echostr, would come back decrypted.
        if hash(echostr) in self._posted:
            raise CallbackRejected("echo")
        _, text = _opened(callbacks, signature, timestamp, nonce, echostr)
        if not _ECHO.fullmatch(text):
            raise CallbackRejected("echo")
        return text

    def _callbacks(self, request: web.Request) -> Callbacks:
        callbacks = self._keys.callbacks(request.match_info["corpid"], request.match_info.get("name"))
        if callbacks is None:
            raise Refused(404, "unknown_address")
        return callbacks

    def _remember(self, encrypt: bytes) -> None:
        number = hash(encrypt)
        if number in self._posted:
            return
        self._posted.add(number)
        self._posted_order.append(number)
        if len(self._posted_order) > _REMEMBERED:
            self._posted.discard(self._posted_order.popleft())

    def _not_kept(self, error: LogUnavailable) -> None:
        # Once, and not for each of the deliveries that come meanwhile.
        if self._health.state != "failed":
            _log.error("callback.not_kept", exc_info=error)
        self._health.failed(f"the event log takes nothing: {error}")

    def _kept(self) -> None:
        if self._health.state == "failed":
            _log.info("callback.kept_again")
        self._health.ok()

    def _no_answer(self, request: web.Request) -> web.Response:
        # Both official wordings of what is sent again agree on a network failure only (documents 90238, 90930).
        if not self._answer_503 and request.transport is not None:
            request.transport.abort()
        return refusal(503)


def _opened(callbacks: Callbacks, signature: str, timestamp: str, nonce: str, encrypt: bytes) -> tuple[str, bytes]:
    """The name of the configuration that fits, and the message. Raises ``CallbackRejected``."""
    reason = "signature"
    for name, cryptos in callbacks.items():
        try:
            return name, open_ciphertext(cryptos, signature, timestamp, nonce, encrypt)
        except CallbackRejected as error:
            reason = error.reason if error.reason != "signature" else reason
    raise CallbackRejected(reason)
