"""Signatures for the client (document 90506): for this page's own address only, and only for who is logged in.

Anybody else who got one could put a page of theirs before the client in our name.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from core.logs import get_logger
from sidebar.answers import Refusal, answer
from sidebar.limits import Limit
from sidebar.places import Place
from sidebar.session import Caller, Sessions
from wecom.client import WeComClient
from wecom.jssdk import signature
from wecom.tokens import AGENT_TICKET, JSAPI_TICKET

KINDS = {"config": JSAPI_TICKET, "agent": AGENT_TICKET}
LONGEST_BODY = 8192

_log = get_logger(__name__)


class Signer:
    """Answers ``POST BASE/api/signature``."""

    def __init__(
        self,
        client: WeComClient,
        sessions: Sessions,
        *,
        signatures: Limit | None = None,
        renewals: Limit | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``signatures`` counts per employee, ``renewals`` per ticket; ``clock`` gives Unix seconds."""
        self._client = client
        self._sessions = sessions
        self._signatures = signatures or Limit(30, 60)
        # The platform gives a hundred an hour to an app, and a page whose domain is wrong asks at every opening.
        self._renewals = renewals or Limit(3, 900)
        self._clock = clock

    async def sign(self, request: web.Request, caller: Caller) -> web.Response:
        """One signature."""
        wanted = await _body(request)
        kind, url, rejected = wanted.get("kind"), wanted.get("url"), wanted.get("rejected")
        if not isinstance(kind, str) or not isinstance(url, str) or not isinstance(rejected, str | None):
            raise Refusal(400, "bad_request")
        if kind not in KINDS:
            raise Refusal(400, "bad_request")
        session = await self._sessions.of(caller)
        if not caller.place.is_own(url):
            raise Refusal(403, "url_not_allowed")
        self._signatures.take(session.key)
        ticket = await self._ticket(caller.place, KINDS[kind], rejected)
        noncestr, timestamp = secrets.token_hex(8), int(self._clock())
        return answer(
            {
                "timestamp": timestamp,
                "nonceStr": noncestr,
                "signature": signature(ticket, noncestr, timestamp, url),
                "ticket": handle_of(ticket),
            }
        )

    async def _ticket(self, place: Place, kind: str, rejected: str | None) -> str:
        ticket = await self._client.ticket(place.corpid, place.secret_name, kind)
        if rejected is None or handle_of(ticket) != rejected:
            return ticket
        # Nobody comes in between: whoever asks while the new one is fetched waits for it there.
        if self._renewals.wait_for((place.corpid, place.agentid, kind)) > 0:
            return ticket
        _log.warning("ticket.rejected", corpid=place.corpid, agentid=place.agentid, kind=kind)
        return await self._client.ticket(place.corpid, place.secret_name, kind, rejected=ticket)


def handle_of(ticket: str) -> str:
    """Tells tickets apart without giving any away."""
    return hashlib.sha256(b"handle\0" + ticket.encode()).hexdigest()[:16]


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Refusal(400, "bad_request")
    if (request.content_length or 0) > LONGEST_BODY:
        raise Refusal(413, "too_large")
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > LONGEST_BODY:
            raise Refusal(413, "too_large")
    try:
        table = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "bad_request") from None
    if not isinstance(table, dict):
        raise Refusal(400, "bad_request")
    return table
