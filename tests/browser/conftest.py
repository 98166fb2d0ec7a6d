"""A watched browser before the whole product. What a test did not expect to hear of fails it at its end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.browsing import Watched, browser, chromium, leaks, watched
from tests.support.servers.software import Unavailable
from tests.support.stage import Stage, staged


def pytest_configure(config: pytest.Config) -> None:
    """The marks of this folder."""
    config.addinivalue_line("markers", "expects(*parts): complaints with one of these parts are part of the test")
    config.addinivalue_line("markers", "context(**options): playwright's options for the profile")


@pytest.fixture(scope="session")
def chromium_program() -> str:
    """The browser, which CI must have."""
    try:
        return chromium()
    except Unavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chrome(chromium_program: str) -> AsyncIterator[Browser]:
    """One browser process for the run."""
    async with browser(chromium_program) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """The product and its small WeCom; nothing has been told to it yet."""
    async with staged(tmp_path) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def eyes(chrome: Browser, stage: Stage, request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    """A profile of the browser. At the end nothing unexpected was heard, and no secret was ever sent to it."""
    marker = request.node.get_closest_marker("expects")
    accepted = tuple(marker.args) if marker else ()
    options = request.node.get_closest_marker("context")
    async with watched(chrome, stage, **(options.kwargs if options else {})) as eyes:
        yield eyes
    unexpected = [one for one in eyes.complaints if not any(part in one for part in accepted)]
    assert unexpected == []
    secrets = stage.secrets()
    assert stage.sent, "nothing was looked into"
    assert leaks([*eyes.bodies, *stage.sent], secrets) == []
