"""The small WeCom as one server on the loopback interface."""

from __future__ import annotations

import ipaddress
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from wecom.simulator.api import PAGE_SIZE, Api
from wecom.simulator.client_page import ClientPage
from wecom.simulator.control import Control
from wecom.simulator.counts import Counts
from wecom.simulator.faults import Faults
from wecom.simulator.oauth import OAuth
from wecom.simulator.pusher import Pusher
from wecom.simulator.tickets import Tickets
from wecom.simulator.truth import Truth, truth_of
from wecom.simulator.visibility import Visibility
from wecom.simulator.world import World


class Simulator:
    """World, API, pushes, faults and control together::

        async with Simulator(world, callback_base_url="http://127.0.0.1:8080") as simulator:
            await simulator.pusher.push([simulator.world.add("ww1", customer, "ZhangSan")])
            await simulator.pusher.drain()

    The API is under ``url`` + ``/cgi-bin/``, the login page is ``url`` + ``/connect/oauth2/authorize``, control under
    ``url`` + ``/simulator``.
    """

    def __init__(
        self,
        world: World,
        *,
        callback_base_url: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        page_size: int = PAGE_SIZE,
        **pusher: Any,
    ) -> None:
        """``port`` 0 takes a free one; ``pusher`` are further arguments of ``Pusher``. Everything goes by
        the world's clock.

        Raises ``ValueError`` for a host that others could reach: secrets and customers are open to all who can.
        """
        if not _is_loopback(host):
            raise ValueError(f"the simulator listens on the loopback interface only, not on {host!r}")
        self.world = world
        self.faults = faults or Faults()
        self.faults.clock = world.clock
        self.visibility = Visibility(self.faults)
        self.api = Api(world, self.faults, self.visibility, page_size=page_size)
        self.pusher = Pusher(world, self.faults, **pusher)
        self.callback_base_url = callback_base_url
        self._host = host
        self._port = port
        self._url = ""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.world.observers.append(self.visibility)
            stack.callback(self.world.observers.remove, self.visibility)
            self.world.object_observers.append(self.visibility)
            stack.callback(self.world.object_observers.remove, self.visibility)
            await stack.enter_async_context(self.pusher)
            runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, self._host, self._port, reuse_address=True)
            await site.start()
            host, port = runner.addresses[0][:2]
            self._url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """The origin that it listens on, known inside the block."""
        return self._url

    @property
    def counts(self) -> Counts:
        """What was asked of the API."""
        return self.api.counts

    @property
    def oauth(self) -> OAuth:
        """The login: codes."""
        return self.api.oauth

    @property
    def tickets(self) -> Tickets:
        """What the client checks signatures against."""
        return self.api.tickets

    @property
    def callback_base_url(self) -> str | None:
        """The origin that changes are pushed to; may be set at any time."""
        return self.pusher.base_url

    @callback_base_url.setter
    def callback_base_url(self, url: str | None) -> None:
        self.pusher.base_url = None if url is None else url.rstrip("/")

    def truth(self) -> Truth:
        """The true state, for a comparison."""
        return truth_of(self.world)

    def _app(self) -> web.Application:
        app = web.Application()
        self.api.add_routes(app)
        self.api.oauth.add_routes(app)
        Control(self.world, self.faults, self.api, self.pusher).add_routes(app)
        ClientPage(self.world, self.tickets, self.pusher).add_routes(app)
        return app


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
