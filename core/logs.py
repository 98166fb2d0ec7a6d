"""Structured logs: one line per thing that happened, an ``action`` and ids, no personal data.

``get_logger(...).info("apply.batch", corpid=..., events=3)``: the first argument is the action. What an exception
says is not ours to print: a driver quotes rows and an HTTP client quotes addresses with tokens in them. So a log
shows an exception's type and where it came from, and its message only if the class is one of ours.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

_OURS = ("wecom", "core", "ingest", "sync", "sidebar", "wecom_crm", "migrations")
_DEEPEST = 12

get_logger = structlog.stdlib.get_logger


def configure(*, json: bool, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send our records, and the libraries' warnings, to ``stream`` (stderr) as JSON lines or as text.

    Safe to call again; the last call counts.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _errors_by_type,
    ]
    last: Processor = structlog.processors.JSONRenderer(ensure_ascii=False) if json else _text
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _library],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("action"),
                last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def describe(error: BaseException) -> str:
    """An exception in words that are safe to log and to show in readiness: type, and message if it is ours."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__.partition(".")[0] in _OURS:
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    if isinstance(error, BaseExceptionGroup):
        return f"{name}: " + "; ".join(describe(inner) for inner in error.exceptions)
    driver = getattr(error, "orig", None)
    return f"{name} ({type(driver).__qualname__})" if isinstance(driver, BaseException) else name


def _errors_by_type(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    told = record.pop("exc_info", None)
    if told is True:
        told = sys.exc_info()
    error = told[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        record["error"] = describe(error)
        frames = traceback.extract_tb(error.__traceback__)[-_DEEPEST:]
        record["where"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        if error.__cause__ is not None:
            record["cause"] = describe(error.__cause__)
    return record


def _library(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # Only the template: its arguments may be addresses, rows or names.
    source: logging.LogRecord = record["_record"]
    record["logger"] = source.name
    record["event"] = "library"
    record["message"] = str(source.msg)[:300] if not source.name.startswith("asyncio") else "asyncio"
    return record


def _text(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> str:
    head = f"{record.pop('at')} {record.pop('level'):<8}{record.pop('action')}"
    where = record.pop("where", ())
    tail = "".join(f" {key}={value!r}" if " " in str(value) else f" {key}={value}" for key, value in record.items())
    return head + tail + "".join(f"\n    {frame}" for frame in where)
