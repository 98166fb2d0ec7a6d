"""The platform's API on loopback and the product's client for it, for tests of what is read from it.

A test that needs more of either has fixtures of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.api_server import ApiServer, api_server, client_of
from wecom.client import WeComClient


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as running:
        yield running


@pytest_asyncio.fixture
async def client(server: ApiServer) -> AsyncIterator[WeComClient]:
    async with client_of(server) as made:
        yield made
