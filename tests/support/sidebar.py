"""The sidebar served in this process, with the simulator as its platform, and browsers that open it.

Everything that the product answered is kept, and searched for tokens, tickets and secrets at the end of every test.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import aiohttp
from aiohttp import web
from sqlalchemy import event as sqlalchemy_event
from yarl import URL

from core.db.engine import Database
from core.health import Health
from core.metrics import Metrics
from core.settings import Settings, parse
from sidebar.app import create_app
from sidebar.guard import SESSION_HEADER
from sidebar.keys import READER
from sync.kinds import KINDS
from sync.objects.base import Answer
from sync.objects.customers import write_answers
from sync.refresh import CorpRefresher
from tests.support.crm import crm_database, crm_database_at
from wecom.client import WeComClient
from wecom.customers import read_customer
from wecom.simulator.oauth import ACCOUNT_COOKIE, account_cookie
from wecom.simulator.server import Simulator
from wecom.simulator.state import WECHAT, WECOM, Agent, Corp, Customer, Employee, Tag
from wecom.simulator.world import World
from wecom_crm.serve import client_of

PUBLIC_URL = "https://crm.example.com"
SECRET_KEY = "a-key-of-the-service-with-enough-characters"
CRM, OTHER = 1000002, 1000003
"""Agents of each corp; the first reads customers."""
CORPIDS = ("ww1", "ww2")
LEVEL, MINE = Tag(1, "Level", "VIP", "etVip"), Tag(2, "Mine", "golf")


class Clock:
    """The time of day, which can be moved on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def tick(self, seconds: float) -> None:
        self.ahead += seconds


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer of the product."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    set_cookies: Sequence[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def location(self) -> str:
        return self.headers["Location"]

    def data(self, name: str) -> str:
        """A data attribute of the page."""
        found = re.search(rf'data-{name}="([^"]*)"', self.text)
        if found is None:
            raise LookupError(f"the page has no data-{name}")
        return found[1]


def sidebar_world(clock: Clock) -> World:
    """Two corps with the same ids everywhere: two apps, three employees, and customers who tell their corp's name."""
    return World([_corp(corpid) for corpid in CORPIDS], clock=clock)


def _corp(corpid: str) -> Corp:
    agents = [Agent(CRM, f"secret-of-crm-{corpid}"), Agent(OTHER, f"secret-of-other-{corpid}", customer_data=False)]
    corp = Corp(corpid, f"Corp {corpid}", agents, [])
    corp.employees = {name.lower(): Employee(name, name) for name in ("ZhangSan", "LiSi", "wangwu")}
    people = [
        Customer("wmA", f"Anna of {corpid}", WECHAT, 2, "https://wx.example/a", unionid="oA"),
        Customer("woB", f"Bob of {corpid}", WECOM, 1, "http://wx.example/b", position="Buyer", corp_name="Blue"),
        Customer(f"wmOnly-{corpid}", f"Only of {corpid}"),
    ]
    corp.customers = {customer.external_userid: customer for customer in people}
    corp.tags = [LEVEL]
    return corp


@dataclass
class Bench:
    """Everything that runs. ``seen`` is every answer of the product; ``statements`` what its database was asked."""

    simulator: Simulator
    settings: Settings
    database: Database
    client: WeComClient
    metrics: Metrics
    health: Health
    http: aiohttp.ClientSession
    app: web.Application
    clock: Clock
    address: str = ""
    seen: list[Seen] = field(default_factory=list)
    refreshers: dict[str, CorpRefresher] = field(default_factory=dict)
    woken: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.simulator.world

    def browser(self, corpid: str = "ww1", userid: str = "ZhangSan") -> Browser:
        """A client with this account, and nothing in it."""
        return Browser(self, account_cookie(corpid, userid))

    async def know(self, customer: str = "wmA", corpid: str = "ww1") -> None:
        """The tables get what the platform says of this customer now."""
        async with self.database.read() as conn:
            now = await self.database.clock(conn)
        record = await read_customer(self.client, corpid, f"agent:{CRM}", customer)
        async with self.database.write() as conn:
            await write_answers(conn, self.database.dialect, corpid, [Answer(customer, now, record)], now)

    async def acquaint(self, customer: str = "wmA", userid: str = "ZhangSan", corpid: str = "ww1", **more: Any) -> None:
        """The employee adds the customer, and the tables know it."""
        self.world.add(corpid, customer, userid, **more)
        await self.know(customer, corpid)

    def hurry(self, seconds: float) -> None:
        """Wait so long only for a read that somebody waits for."""
        self.app[READER].wait_seconds = seconds

    def leaks(self) -> list[str]:
        """Where a secret was in an answer."""
        api = self.simulator.api
        secrets = {
            *api.tokens.given(),
            *api.tickets.given(),
            *(agent.secret for corp in self.world.corps.values() for agent in corp.agents),
            SECRET_KEY,
        }
        found: list[str] = []
        for seen in self.seen:
            text = unquote("\n".join((*seen.headers.values(), *seen.set_cookies))) + seen.body.decode("latin-1")
            found += [f"{seen.method} {urlsplit(seen.url).path} {seen.status}" for one in secrets if one in text]
        return found


class Browser:
    """A client with cookies of its own for the product and for the platform. Follows no redirect by itself."""

    def __init__(self, bench: Bench, account: str | None) -> None:
        self.bench = bench
        self.account = account
        self.cookies: dict[str, str] = {}

    async def get(self, url: str, **headers: str) -> Seen:
        """``url`` is a path of the product, or an address of it under its public name."""
        return await self.ask("GET", url, headers=headers)

    async def ask(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Seen:
        """One request to the product, with the cookies that it gave."""
        public = self.bench.settings.service.public_url
        path = url.removeprefix(public) if url.startswith(public) else url
        if not path.startswith("/"):
            raise ValueError(f"{url} is not an address of the product")
        sent = dict(headers or {})
        if self.cookies:
            sent.setdefault("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        target = self.bench.address + path.partition("#")[0]
        async with self.bench.http.request(
            method, URL(target, encoded=True), headers=sent, allow_redirects=False, **more
        ) as response:
            set_cookies = response.headers.getall("Set-Cookie", [])
            seen = Seen(method, url, response.status, dict(response.headers), set_cookies, await response.read())
        self.bench.seen.append(seen)
        for line in set_cookies:
            self._take(line)
        return seen

    def _take(self, line: str) -> None:
        parsed: SimpleCookie = SimpleCookie(line)
        for name, morsel in parsed.items():
            if name.startswith("__Host-"):
                # A browser drops it otherwise.
                assert morsel["secure"]
                assert morsel["path"] == "/"
                assert not morsel["domain"]
            assert morsel["httponly"]
            assert morsel["samesite"] == "Lax"
            if morsel["max-age"] == "0" or "1970" in morsel["expires"]:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value

    async def authorize(self, location: str) -> str:
        """Where the platform's login page sends this client: back to the product."""
        headers = {"Cookie": f"{ACCOUNT_COOKIE}={self.account}"} if self.account else {}
        address = URL(location.partition("#")[0], encoded=True)
        async with self.bench.http.get(address, headers=headers, allow_redirects=False) as response:
            if response.status != 302:
                raise LookupError(f"the login page says: {await response.text()}")
            return response.headers["Location"]

    def tab(self, corpid: str = "ww1", agentid: int = CRM) -> Tab:
        """A page of this client."""
        return Tab(self, f"/sidebar/{quote(corpid, safe='')}/{agentid}")


class Tab:
    """One opening of the page, which does what its script does."""

    def __init__(self, browser: Browser, base: str) -> None:
        self.browser = browser
        self.base = base
        self.marker = ""

    async def open(self, query: str = "") -> Seen:
        """Open the page, log in if it asks for that, and return what is shown in the end: page or message."""
        shown = await self.browser.get(self.base + query)
        if shown.status != 200 or (self.marker and self.marker == shown.data("session")):
            return shown
        return await self.login(query)

    async def login(self, query: str = "") -> Seen:
        """Log in, and return what is shown then."""
        self.marker = ""
        seen = await self.browser.get(f"{self.base}/login?return={quote(self.base + query, safe='')}")
        for _ in range(10):
            if seen.status != 302:
                return seen
            target = seen.location
            if target.startswith(self.browser.bench.simulator.url):
                seen = await self.browser.get(await self.browser.authorize(target))
                continue
            path, _, fragment = target.partition("#")
            shown = await self.browser.get(path)
            if fragment.startswith("session=") and fragment.removeprefix("session=") == shown.data("session"):
                self.marker = shown.data("session")
            return shown
        raise RecursionError("the login goes in circles")

    async def customer(self, external_userid: str = "wmA") -> Seen:
        return await self.browser.get(self.address_of(external_userid), **{SESSION_HEADER: self.marker})

    async def refresh(self, external_userid: str = "wmA") -> Seen:
        address = f"{self.address_of(external_userid)}/refresh"
        return await self.browser.ask("POST", address, headers={SESSION_HEADER: self.marker})

    async def sign(self, url: str | None = None, kind: str = "agent", **more: Any) -> Seen:
        wanted = {"kind": kind, "url": PUBLIC_URL + self.base if url is None else url} | more
        return await self.browser.ask(
            "POST", f"{self.base}/api/signature", headers={SESSION_HEADER: self.marker}, json=wanted
        )

    def address_of(self, external_userid: str) -> str:
        return f"{self.base}/api/customers/{quote(external_userid, safe='')}"


async def until_refused(ask: Callable[[], Awaitable[Seen]]) -> list[Seen]:
    """The answers up to the first 429; time goes by meanwhile, so there may be one or two more than at once."""
    seen = [await ask()]
    while seen[-1].status != 429:
        assert len(seen) < 100
        seen.append(await ask())
    return seen


def query_of(location: str) -> dict[str, str]:
    """The parameters of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def configuration(simulator: Simulator, **service: Any) -> Settings:
    """The product's, for the simulator's corps."""
    corps = [
        {
            "corpid": corp.corpid,
            "agent": [
                {"agentid": agent.agentid, "secret": agent.secret, "customer_data": agent.customer_data}
                for agent in corp.agents
            ],
        }
        for corp in simulator.world.corps.values()
    ]
    wecom = {"api_base_url": simulator.url, "authorize_url": f"{simulator.url}/connect/oauth2/authorize"}
    return parse(
        {
            "service": {"public_url": PUBLIC_URL, "secret_key": SECRET_KEY, "language": "en"} | service,
            "wecom": wecom,
            "corp": corps,
        }
    )


@asynccontextmanager
async def sidebar_bench(
    folder: Path, *, url: str | None = None, sync: bool = True, ready: bool = True, **service: Any
) -> AsyncIterator[Bench]:
    """Everything at work; ``url`` is an empty database, else a file; without ``sync`` nothing is read for a wish.

    Not ``ready``: the database is taken as it is.
    """
    clock = Clock()
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(sidebar_world(clock)))
        settings = configuration(simulator, **service)
        if url is not None and not ready:
            database, sync = Database(url), False
            stack.push_async_callback(database.close)
        else:
            opened = crm_database(folder, CORPIDS) if url is None else crm_database_at(url, CORPIDS)
            database = await stack.enter_async_context(opened)
        metrics, health = Metrics(), Health()
        client = await stack.enter_async_context(client_of(settings, database, metrics))
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        bench = Bench(simulator, settings, database, client, metrics, health, http, web.Application(), clock)
        if sync:
            await stack.enter_async_context(_refreshing(bench))
        bench.app = create_app(settings, database, client, metrics, health, wake=_waking(bench), clock=clock)
        bench.address = await stack.enter_async_context(served(bench.app))
        stack.enter_context(_listening(bench))
        yield bench
        assert bench.leaks() == []


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """The application's address on loopback."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _waking(bench: Bench) -> Any:
    def wake(corpid: str) -> None:
        bench.woken.append(corpid)
        if corpid in bench.refreshers:
            bench.refreshers[corpid].wake()

    return wake


@asynccontextmanager
async def _refreshing(bench: Bench) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    for corpid in CORPIDS:
        part = bench.health.component(f"corp:{corpid}")
        bench.refreshers[corpid] = CorpRefresher(
            corpid, f"agent:{CRM}", "me", bench.database, bench.client, KINDS, bench.metrics, part
        )
    async with asyncio.TaskGroup() as tasks:
        for corpid, refresher in bench.refreshers.items():
            tasks.create_task(refresher.run(stopping), name=f"refresh:{corpid}")
        try:
            yield
        finally:
            stopping.set()


@contextmanager
def _listening(bench: Bench) -> Iterator[None]:
    def heard(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        bench.statements.append(statement)

    engine = bench.database.engine.sync_engine
    sqlalchemy_event.listen(engine, "before_cursor_execute", heard)
    try:
        yield
    finally:
        sqlalchemy_event.remove(engine, "before_cursor_execute", heard)
