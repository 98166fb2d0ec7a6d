"""Log lines: an action and ids, and never what an exception quotes."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import structlog
from sqlalchemy.exc import IntegrityError

from core.logs import configure, describe, get_logger
from core.runtime import FatalError


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fails(error: Exception, cause: Exception | None = None) -> NoReturn:
    raise error from cause


def test_a_line_has_its_action_and_ids(stream: io.StringIO) -> None:
    configure(json=True, stream=stream)
    get_logger("sync.apply").info("apply.batch", corpid="ww1", events=3)
    (line,) = lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {"action": "apply.batch", "level": "info", "corpid": "ww1", "events": 3}


def test_the_level_is_kept(stream: io.StringIO) -> None:
    configure(json=True, level="WARNING", stream=stream)
    get_logger("sync.apply").info("apply.batch")
    get_logger("sync.apply").warning("apply.waits")
    assert [line["action"] for line in lines(stream)] == ["apply.waits"]


def test_an_exception_is_a_type_and_a_place(stream: io.StringIO) -> None:
    configure(json=True, stream=stream)
    try:
        fails(ValueError("Li Si 13800000000"), KeyError("Zhang San"))
    except ValueError:
        get_logger("sync.apply").exception("apply.failed", corpid="ww1")
    (line,) = lines(stream)
    assert line["error"] == "ValueError"
    assert line["cause"] == "KeyError"
    assert line["where"][-1].endswith(" fails")
    assert "Zhang San" not in stream.getvalue()
    assert "Li Si" not in stream.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
def test_a_library_does_not_quote_either(stream: io.StringIO, as_json: bool) -> None:
    configure(json=as_json, stream=stream)
    logging.getLogger("aiohttp.client").warning("GET %s failed", "https://x/?access_token=LEAK")
    logging.getLogger("aiohttp.client").info("too little to mention")
    try:
        fails(ValueError("LEAK"))
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
        logging.getLogger("asyncio").exception("Task exception was never retrieved: LEAK")
    text = stream.getvalue()
    assert "LEAK" not in text
    assert "GET %s failed" in text
    assert text.count("ValueError") == 2
    assert "mention" not in text


def test_lines_for_a_terminal(stream: io.StringIO) -> None:
    configure(json=False, stream=stream)
    get_logger("sync.apply").info("apply.batch", corpid="ww1", reason="two words")
    assert stream.getvalue().rstrip().endswith("info    apply.batch corpid=ww1 reason='two words'")


def test_an_error_of_ours_may_speak() -> None:
    assert describe(FatalError("run wecom-crm migrate")) == "FatalError: run wecom-crm migrate"


def test_an_error_of_others_may_not() -> None:
    driver = ValueError("Key (userid)=(LEAK) already exists")
    assert describe(IntegrityError("INSERT", {"name": "LEAK"}, driver)) == "IntegrityError (ValueError)"
    assert describe(OSError(111, "Connection refused", "LEAK")) == "ConnectionRefusedError: Connection refused"
    group = ExceptionGroup("LEAK", [ValueError("LEAK"), FatalError("ours")])
    assert describe(group) == "ExceptionGroup: ValueError; FatalError: ours"
