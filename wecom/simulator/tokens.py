"""Access tokens of the small WeCom (document 91039): one per app, the same again while it is valid."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

LIFETIME = 7200.0
_REMEMBERED = 10_000


@dataclass(slots=True)
class Token:
    """One token of one app. ``expires`` in Unix seconds."""

    value: str = field(repr=False)
    corpid: str
    agentid: int
    expires: float
    revoked: bool = False


class Tokens:
    """All tokens ever given out."""

    def __init__(self, clock: Callable[[], float], lifetime: float = LIFETIME) -> None:
        """``clock`` gives Unix seconds."""
        self.lifetime = lifetime
        self._clock = clock
        self._current: dict[tuple[str, int], Token] = {}
        self._known: dict[str, Token] = {}

    def issue(self, corpid: str, agentid: int) -> tuple[str, int]:
        """The app's token and for how many seconds it is valid."""
        now = self._clock()
        token = self._current.get((corpid, agentid))
        if token is None or token.revoked or token.expires - now < 1:
            token = Token(secrets.token_urlsafe(120), corpid, agentid, now + self.lifetime)
            self._current[corpid, agentid] = self._known[token.value] = token
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return token.value, int(token.expires - now)

    def find(self, value: str) -> Token | None:
        """The token, revoked and expired ones included."""
        return self._known.get(value)

    def has_expired(self, token: Token) -> bool:
        """Whether its time is over."""
        return token.expires <= self._clock()

    def given(self) -> list[str]:
        """Every value that was ever given out."""
        return list(self._known)

    def revoke_all(self) -> None:
        """From now on none of them is valid."""
        for token in self._current.values():
            token.revoked = True
