"""What the sidebar keeps in its application."""

from __future__ import annotations

import asyncio

from aiohttp import web

from sidebar.reading import Reader

READY: web.AppKey[asyncio.Event] = web.AppKey("sidebar_ready", asyncio.Event)
"""Set once the database was found with this release's schema."""
READER: web.AppKey[Reader] = web.AppKey("sidebar_reader", Reader)
"""Reads customers; how long it waits can be set there."""
