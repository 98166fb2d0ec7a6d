"""States of logins: made for one browser and one place, good for ten minutes, and once.

The state goes through the platform and comes back in an address, where others may see it; a signed cookie under a name
made of the state ties it to the browser that began. So nobody is logged in with somebody else's code, several logins
run side by side, and nothing is stored for one that never comes back. One that does is kept until it has expired.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from core.db.engine import Database
from core.db.tables import login_state
from sidebar.places import Place

STATE_SECONDS = 600
MOST_AT_ONCE = 8
"""Logins under way in one browser; the header of a request has room for so many cookies only."""
_STATE = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login under way. ``back`` is the path that it comes back to, ``number`` 1 at the first try."""

    state: str
    back: str
    number: int
    expires: float


class States:
    """Makes states and takes each back once."""

    def __init__(
        self, database: Database, secret_key: str, *, secure: bool, clock: Callable[[], float] = time.time
    ) -> None:
        """``clock`` gives Unix seconds; all replicas have the same ``secret_key``."""
        self._database = database
        self._key: bytes = HKDF(secret_key.encode(), 32, b"", SHA256, context=b"wecom-crm login state")
        self._secure = secure
        self._prefix = ("__Host-" if secure else "") + "wecom-login-"
        self._clock = clock

    def begin(self, request: web.Request, response: web.Response, place: Place, back: str, number: int) -> str:
        """A new state; its cookie goes into ``response``."""
        state = secrets.token_hex(20)
        expires = int(self._clock()) + STATE_SECONDS
        content = {"s": state, "c": place.corpid, "a": place.agentid, "b": back, "n": number, "e": expires}
        body = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
        # Browsers name the oldest first.
        others = [name for name in request.cookies if name.startswith(self._prefix)]
        for name in others[: max(0, len(others) - MOST_AT_ONCE + 1)]:
            self._remove(response, name)
        response.set_cookie(
            *(self._name(state), f"{body}.{self._mac(body)}"),
            max_age=STATE_SECONDS,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="Lax",
        )
        return state

    def read(self, request: web.Request, place: Place, state: str) -> Attempt | None:
        """The login that this browser began here with this state; None if it did not, or too long ago."""
        if not _STATE.fullmatch(state):
            return None
        body, _, mac = request.cookies.get(self._name(state), "").partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(body).encode()):
            return None
        content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if (content["s"], content["c"], content["a"]) != (state, place.corpid, place.agentid):
            return None
        if content["e"] <= self._clock():
            return None
        return Attempt(state, content["b"], content["n"], content["e"])

    async def use(self, place: Place, attempt: Attempt) -> bool:
        """Use the state up; False if it was used before, here or in another replica."""
        row = {
            "digest": hashlib.sha256(attempt.state.encode()).hexdigest(),
            "corpid": place.corpid,
            "agentid": place.agentid,
            "expires_at": datetime.fromtimestamp(attempt.expires, UTC),
        }
        try:
            async with self._database.write() as conn:
                await conn.execute(insert(login_state), row | {"used_at": await self._database.clock(conn)})
        except IntegrityError:
            return False
        return True

    def forget(self, response: web.Response, state: str) -> None:
        """Take the state's cookie from the browser."""
        if _STATE.fullmatch(state):
            self._remove(response, self._name(state))

    def has_cookie(self, request: web.Request, state: str) -> bool:
        """Whether the browser has a cookie for this state, whatever is in it."""
        return self._name(state) in request.cookies

    def _remove(self, response: web.Response, name: str) -> None:
        response.del_cookie(name, path="/", secure=self._secure, httponly=True, samesite="Lax")

    def _name(self, state: str) -> str:
        return self._prefix + hashlib.sha256(state.encode()).hexdigest()[:16]

    def _mac(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()
