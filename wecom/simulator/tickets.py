"""Tickets of the small WeCom, which the client's bridge checks signatures against (document 90506)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

from wecom.simulator.tokens import LIFETIME, Tokens

CONFIG, AGENT = "config", "agent"
"""The corp's identity (get_jsapi_ticket) and the app's (ticket/get)."""
CORP_LIMIT, APP_LIMIT = 400, 100
"""Calls an hour; one more gets 45009."""
_HOUR = 3600.0


class Tickets:
    """One ticket per app and kind, the same again while it is valid."""

    def __init__(self, clock: Callable[[], float], lifetime: float = LIFETIME) -> None:
        """``clock`` gives Unix seconds."""
        self._clock = clock
        self._kinds = {CONFIG: Tokens(clock, lifetime), AGENT: Tokens(clock, lifetime)}
        self._given: dict[tuple[str, str, int], str] = {}
        self._calls: defaultdict[tuple[str, str, int | None], deque[float]] = defaultdict(deque)

    def admits(self, corpid: str, kind: str, agentid: int) -> bool:
        """Count a call; False when the corp or the app has made too many within an hour."""
        now = self._clock()
        counted = [(self._calls[corpid, kind, None], CORP_LIMIT), (self._calls[corpid, kind, agentid], APP_LIMIT)]
        for calls, _ in counted:
            while calls and calls[0] <= now - _HOUR:
                calls.popleft()
        if any(len(calls) >= limit for calls, limit in counted):
            return False
        for calls, _ in counted:
            calls.append(now)
        return True

    def issue(self, corpid: str, kind: str, agentid: int) -> tuple[str, int]:
        """The app's ticket and for how many seconds it is valid."""
        value, seconds = self._kinds[kind].issue(corpid, agentid)
        self._given[corpid, kind, agentid] = value
        return value, seconds

    def valid(self, corpid: str, kind: str, agentid: int) -> list[str]:
        """What a signature may have been made with: any app's ticket for the corp's identity, its own for the app's."""
        found: list[str] = []
        for (owner, of, app), value in self._given.items():
            ticket = self._kinds[of].find(value)
            alive = ticket is not None and not ticket.revoked and not self._kinds[of].has_expired(ticket)
            if alive and (owner, of) == (corpid, kind) and (kind == CONFIG or app == agentid):
                found.append(value)
        return found

    def given(self) -> list[str]:
        """Every ticket that was ever given out."""
        return [value for tokens in self._kinds.values() for value in tokens.given()]

    def revoke_all(self) -> None:
        """From now on none of them is valid."""
        for tokens in self._kinds.values():
            tokens.revoke_all()
