"""The part of YAML that our files keep to, read strictly: what is not in it is refused, so it needs no library.

Mappings and lists by indentation, quoted texts as in JSON, words and numbers without quotes, ``[…]`` and ``{…}`` as in
JSON, anchors (``&name``) on mappings, ``<<: *name`` to take one over, and comments on lines of their own.
"""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any

_KEY = re.compile(r"([A-Za-z_][\w.-]*|<<):(?: +(.+))?")
_ANCHOR = re.compile(r"&([\w-]+)(?: +(.+))?")
_WORD = re.compile(r"[A-Za-z./][\w./-]*")
# YAML takes these for something else than the word.
_NO_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

Lines = deque[tuple[int, int, str]]
"""Number, indentation and content of each line that has some."""


class NotPlain(ValueError):
    """Not in this part of YAML, or not YAML at all; the message begins with the number of the line."""


def read_yaml(text: str) -> dict[str, Any]:
    """The mapping that the text is. Raises ``NotPlain``."""
    lines: Lines = deque()
    for number, line in enumerate(text.splitlines(), 1):
        content = line.lstrip(" ")
        if content and not content.startswith("#"):
            if content != content.strip():
                raise NotPlain(f"{number}: white space in the wrong place")
            lines.append((number, len(line) - len(content), content))
    found = _block(lines, 0, {})
    if lines or not isinstance(found, dict):
        raise NotPlain(f"{lines[0][0] if lines else 1}: not a mapping with this indentation")
    return found


def _block(lines: Lines, indent: int, anchors: dict[str, Any]) -> Any:
    if lines and lines[0][2].startswith("- "):
        items = []
        while lines and lines[0][1] == indent and lines[0][2].startswith("- "):
            number, _, content = lines.popleft()
            items.append(_value(number, content[2:].strip()))
        return items
    own: dict[str, Any] = {}
    taken_over: dict[str, Any] = {}
    while lines and lines[0][1] == indent:
        number, _, content = lines.popleft()
        key, value = _entry(number, content, lines, indent, anchors)
        if key in own or (key == "<<" and taken_over):
            raise NotPlain(f"{number}: {key} for the second time")
        if key == "<<":
            taken_over = value
        else:
            own[key] = value
    if lines and lines[0][1] > indent:
        raise NotPlain(f"{lines[0][0]}: too far to the right")
    return taken_over | own


def _entry(number: int, content: str, lines: Lines, indent: int, anchors: dict[str, Any]) -> tuple[str, Any]:
    matched = _KEY.fullmatch(content)
    if matched is None:
        raise NotPlain(f"{number}: no key with a value")
    key, rest = matched[1], matched[2]
    name = None
    if rest is not None and (anchor := _ANCHOR.fullmatch(rest)):
        name, rest = anchor[1], anchor[2]
    if key == "<<":
        if rest is None or rest[1:] not in anchors or rest[0] != "*":
            raise NotPlain(f"{number}: << needs an anchor that came before")
        return key, anchors[rest[1:]]
    if rest is not None:
        value = _value(number, rest)
    elif lines and lines[0][1] > indent:
        value = _block(lines, lines[0][1], anchors)
    else:
        raise NotPlain(f"{number}: {key} has no value")
    if name is not None:
        anchors[name] = value
    return key, value


def _value(number: int, text: str) -> Any:
    if _WORD.fullmatch(text) and text.lower() not in _NO_WORDS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise NotPlain(f"{number}: {text} has to be in quotes") from None
