"""What every handler of the API is made of: parameters, answers, refusals, cursors."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from wecom.simulator.state import Agent, Corp

Answer = dict[str, Any]
Params = Mapping[str, Any]
"""The query of a GET, in which everything is a text, or the JSON object of a POST."""
Handler = Callable[[Corp, Agent, Params], Answer]


class Refusal(Exception):
    """The call is answered with this errcode."""

    def __init__(self, errcode: int) -> None:
        super().__init__(str(errcode))
        self.errcode = errcode


class Cursors:
    """Cursors that are good for one listing only; any other one is refused with 50100."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def give(self, corp: Corp, listing: str, offset: int) -> str:
        """The cursor of the page that begins there."""
        text = f"{corp.corpid}\0{listing}\0{offset}"
        return f"{offset}-{hashlib.blake2b(text.encode(), key=self._key, digest_size=12).hexdigest()}"

    def take(self, corp: Corp, listing: str, cursor: Any) -> int:
        """Where the page begins; an empty cursor is the first one's. Raises ``Refusal``."""
        if cursor in (None, ""):
            return 0
        number = str(cursor).partition("-")[0]
        if not (number.isascii() and number.isdecimal()) or cursor != self.give(corp, listing, int(number)):
            raise Refusal(50100)
        return int(number)


def number_of(params: Params, name: str, missing: int = 40058) -> int:
    """A whole number, which the query of a GET has as text. Raises ``Refusal``."""
    value = params.get(name)
    if value in (None, ""):
        raise Refusal(missing)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal(40058)
    return value


def texts_of(params: Params, name: str) -> list[str]:
    """A list of texts; empty if there is none. Raises ``Refusal``."""
    value = params.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Refusal(40058)
    return value
