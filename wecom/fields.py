"""Fields of the API's answers, read with care.

Every field but the ids is optional, and few types are documented: what does not fit is left out, not believed.
An absent field is None, an empty one empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LONGEST_ID = 128
_LONGEST_TEXT = 10_000
_LAST_SECOND = 253_402_300_799  # of the year 9999, the last that a date can have


def table_of(value: Any) -> dict[str, Any] | None:
    """The value if it is a JSON object."""
    return value if isinstance(value, dict) else None


def list_of(value: Any) -> list[Any]:
    """The value if it is a JSON array, else an empty list."""
    return value if isinstance(value, list) else []


def text_of(table: Mapping[str, Any], name: str) -> str | None:
    """A text, cut at 10,000 characters."""
    value = table.get(name)
    return value[:_LONGEST_TEXT] if isinstance(value, str) else None


def id_of(table: Mapping[str, Any], name: str) -> str | None:
    """An id as text. One of more than 128 characters is none: cut, it would be another's."""
    value = table.get(name)
    return value if isinstance(value, str) and len(value) <= _LONGEST_ID else None


def number_of(table: Mapping[str, Any], name: str, largest: int = 2**31 - 1) -> int | None:
    """A whole number of at most ``largest`` in absolute value."""
    value = table.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= largest else None


def moment_of(table: Mapping[str, Any], name: str) -> int | None:
    """A moment in Unix seconds, from 1970 to the end of the year 9999."""
    value = number_of(table, name, _LAST_SECOND)
    return value if value is not None and value >= 0 else None
