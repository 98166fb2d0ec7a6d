"""What the product writes to its log, as it would write it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from core.logs import configure


@contextmanager
def captured(level: str, *, libraries: bool = False) -> Iterator[io.StringIO]:
    """The text log at this level; with ``libraries`` everything that they say, too."""
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.level
    stream = io.StringIO()
    configure(json=False, level=level, stream=stream)
    if libraries:
        root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
        structlog.reset_defaults()
