"""Fields of a change by hand, as JSON or a form has them. What is wrong raises ``ChangeRefused`` in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wecom.simulator.state import ChangeRefused

Fields = Mapping[str, Any]


def text(fields: Fields, name: str) -> str | None:
    """None if it is not there."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ChangeRefused(f"{name} must be a text")
    return value


def required(fields: Fields, name: str) -> str:
    """A text that is not empty."""
    value = text(fields, name)
    if not value:
        raise ChangeRefused(f"{name} is missing")
    return value


def number(fields: Fields, name: str) -> int | None:
    """A whole number, which a form has as text; None if it is not there."""
    value = fields.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ChangeRefused(f"{name} must be a whole number")
    return value


def required_number(fields: Fields, name: str) -> int:
    """A whole number that has to be there."""
    value = number(fields, name)
    if value is None:
        raise ChangeRefused(f"{name} is missing")
    return value


def texts(fields: Fields, name: str) -> list[str] | None:
    """A list, or in a form one text with commas; an empty one clears. None if it is not there."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ChangeRefused(f"{name} must be a list of texts")
    return value


def numbers(fields: Fields, name: str) -> list[int] | None:
    """The same with whole numbers."""
    value = fields.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        # Of one number nobody makes a list in a form, nor always in JSON.
        value = [value]
    parts = texts({name: [str(one) for one in value]}, name) if isinstance(value, list) else texts(fields, name)
    if parts is None:
        return None
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise ChangeRefused(f"{name} must be a list of whole numbers")
    return [int(part) for part in parts]
