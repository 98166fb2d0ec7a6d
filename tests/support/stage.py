"""The whole product in this process, and before it the simulator's client page, as in the demo: one origin for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from sqlalchemy import func, select

from core.db.engine import Database
from core.db.tables import customer
from core.eventlog.embedded import EmbeddedLog
from core.health import Health
from core.metrics import Metrics
from core.settings import Settings, parse
from ingest import app as callbacks
from ingest.callback import LARGEST_BODY
from ingest.keys import KeyRing
from sidebar import app as pages
from sync.service import SyncService
from tests.support.crm import crm_database
from tests.support.simulators import KEY, TOKEN
from tests.support.waiting import DEADLINE, until
from wecom.simulator.oauth import ACCOUNT_COOKIE, account_cookie
from wecom.simulator.server import Simulator
from wecom.simulator.state import CORP_TAG, WECHAT, WECOM, Agent, Callback, Corp, Customer, Employee, Tag
from wecom.simulator.world import Change, World
from wecom_crm.serve import client_of

if TYPE_CHECKING:
    from playwright._impl._api_structures import SetCookieParam

AGENTID = 1000002
TEA, BOOKS = "wwteaaaaaaaaaaaaaa", "wwbooksbbbbbbbbbbb"
"""Corps with the same userids, the same AgentId and one external_userid in common."""
ANNA, BOB, SHARED = (
    "wmAnnaOfZhangSan0000000000000001",
    "wmBobOfLiSi000000000000000000002",
    "wmShared000000000000000000000003",
)
SECRET_KEY = "a-key-of-the-service-with-enough-characters"
VIP = Tag(CORP_TAG, "Level", "VIP", "etVip")


@dataclass
class Stage:
    """What runs."""

    simulator: Simulator
    settings: Settings
    database: Database
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    """Path, and headers with body, of every answer of the product, as it left: compressed where it was."""

    @property
    def url(self) -> str:
        """The one origin."""
        return self.simulator.url

    @property
    def world(self) -> World:
        return self.simulator.world

    def page(self, corpid: str = TEA) -> str:
        """The address of a sidebar."""
        return f"{self.url}/sidebar/{corpid}/{AGENTID}"

    def account(self, userid: str, corpid: str = TEA) -> SetCookieParam:
        """The cookie of a client with this account, as playwright takes it."""
        return {"name": ACCOUNT_COOKIE, "value": account_cookie(corpid, userid), "url": self.url}

    async def push(self, *changes: Change) -> None:
        """WeCom tells the product, which has received it after this."""
        await self.simulator.pusher.push(list(changes))
        await self.simulator.pusher.drain()

    async def until_read(self, customers: int) -> None:
        """The tables hold what the platform says of so many customers,."""
        known = select(func.count()).select_from(customer).where(customer.c.fetched_at.is_not(None))
        async with asyncio.timeout(DEADLINE):
            while True:
                async with self.database.read() as conn:
                    if (await conn.execute(known)).scalar_one() >= customers:
                        return
                await asyncio.sleep(0.02)

    def secrets(self) -> set[str]:
        """What no browser may ever see."""
        agents = [agent for corp in self.world.corps.values() for agent in corp.agents]
        tokens = [self.simulator.api.tokens.issue(corp.corpid, AGENTID)[0] for corp in self.world.corps.values()]
        return {TOKEN, KEY, SECRET_KEY, *self.simulator.tickets.given(), *tokens, *(agent.secret for agent in agents)}


async def next_second() -> None:
    """Opposite events of one relation must not have the same CreateTime."""
    now = int(time.time())
    await until(lambda: int(time.time()) > now)


def _populate(world: World) -> list[Change]:
    """Each employee has somebody whom nobody else has; the remarks tell whose they are."""
    changes: list[Change] = []
    for corpid, name in ((TEA, "Tea"), (BOOKS, "Books")):
        for whom, who, userid in (
            *((ANNA, "Anna", "ZhangSan"), (BOB, "Bob", "LiSi")),
            *((SHARED, "Shared", "ZhangSan"), (SHARED, "Shared", "LiSi")),
        ):
            note = f"{who}-for-{userid}-of-{name}"
            changes.append(world.add(corpid, whom, userid, remark=note, description="from the fair", add_way=3))
        changes.append(world.mark(corpid, ANNA, "ZhangSan", add=[VIP]))
    return changes


def _corp(corpid: str, name: str) -> Corp:
    agent = Agent(AGENTID, f"secret-of-the-app-of-{name}")
    corp = Corp(corpid, name, [agent], [Callback("contacts", TOKEN, KEY, AGENTID)], tags=[VIP])
    corp.employees = {userid.lower(): Employee(userid, userid) for userid in ("ZhangSan", "LiSi")}
    people = (
        Customer(ANNA, f"安娜 of {name}", WECHAT, 2, "https://wx.example/anna"),
        Customer(BOB, f"Bob <b>of</b> {name}", WECOM, 1, "https://wx.example/bob", position="Buyer", corp_name="Blue"),
        Customer(SHARED, f"Shared of {name}"),
    )
    corp.customers = {customer.external_userid: customer for customer in people}
    return corp


@asynccontextmanager
async def staged(folder: Path, **service: object) -> AsyncIterator[Stage]:
    """Everything runs inside the block; ``service`` is laid over ``[service]``."""
    async with AsyncExitStack() as stack:
        world = World([_corp(TEA, "Tea"), _corp(BOOKS, "Books")], clock=time.time)
        simulator = await stack.enter_async_context(Simulator(world))
        settings = parse(_document(simulator, folder) | {"service": _service(simulator, folder) | service})
        database = await stack.enter_async_context(crm_database(folder, (TEA, BOOKS)))
        metrics, health = Metrics(), Health()
        client = await stack.enter_async_context(client_of(settings, database, metrics))
        log = await EmbeddedLog.open(folder / "log.sqlite")
        stack.push_async_callback(log.close)
        sync = SyncService(settings, database, log, client, health, metrics)
        sent: list[tuple[str, bytes]] = []
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_recording(sent)])
        callbacks.add_routes(app, KeyRing.from_settings(settings), log, metrics, health.component("ingest"))
        pages.add_routes(app, settings, database, client, metrics, health, wake=sync.wake)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        simulator.callback_base_url = "http://127.0.0.1:{1}".format(*runner.addresses[0])
        stopping = asyncio.Event()
        running = asyncio.create_task(sync.run(stopping), name="sync")
        try:
            ready = Stage(simulator, settings, database, sent)
            await ready.push(*_populate(world))
            await ready.until_read(6)
            yield ready
        finally:
            stopping.set()
            await running


def _recording(sent: list[tuple[str, bytes]]) -> Any:
    @web.middleware
    async def record(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        body = response.body if isinstance(response, web.Response) else None
        assert body is None or isinstance(body, bytes), "a body that can not be looked into"
        sent.append((request.path, repr(sorted(response.headers.items())).encode() + b"\n" + (body or b"")))
        return response

    return record


def _service(simulator: Simulator, folder: Path) -> dict[str, object]:
    return {"public_url": simulator.url, "secret_key": SECRET_KEY, "data_dir": str(folder)}


def _document(simulator: Simulator, folder: Path) -> dict[str, object]:
    return {
        "database": {"url": f"sqlite+aiosqlite:///{folder / 'crm.sqlite'}"},
        "wecom": {
            "api_base_url": simulator.url,
            "authorize_url": f"{simulator.url}/connect/oauth2/authorize",
        },
        "corp": [
            {
                "corpid": corp.corpid,
                "callback": [{"name": "contacts", "token": TOKEN, "encoding_aes_key": KEY}],
                "agent": [{"agentid": AGENTID, "secret": corp.agents[0].secret, "customer_data": True}],
            }
            for corp in simulator.world.corps.values()
        ],
    }
