"""The API paths that sync calls, on loopback: says what it is told to say and counts what it is asked.

For what the simulator does not do on demand: hold an answer back, answer one corp with one error code for ever.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from core.credentials import CredentialStore
from core.db.engine import Database
from core.metrics import Metrics
from wecom.client import WeComClient
from wecom.tokens import Secret

SECRET_NAME = "agent:1000002"


class LoopbackApi:
    """Customers by (corpid, external_userid); error codes by corpid, or by (corpid, external_userid)."""

    def __init__(self) -> None:
        self.base_url = ""
        self.customers: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.token_codes: dict[str, int] = {}
        self.codes: dict[str | tuple[str, str], int] = {}
        self.html = False
        """Answers with a page instead of JSON."""
        self.tokens_asked: Counter[str] = Counter()
        self.reads: list[tuple[str, str]] = []
        """In the order of the calls, answered or not."""
        self.held: set[tuple[str, str]] = set()
        """Reads of these wait for ``release``."""
        self._released = asyncio.Event()
        self.objects: dict[tuple[str, str], Mapping[str, Any]] = {}
        """What is not a customer: path and id to the answer. The rest is answered with the code in ``missing``."""
        self.missing: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        """Paths and ids of those, in the order of the calls."""

    def read_of(self, corpid: str = "ww1") -> list[str]:
        """Whom of this corp was asked about."""
        return [userid for asked, userid in self.reads if asked == corpid]

    def show(self, userid: str = "wmA", *follows: Mapping[str, Any], corpid: str = "ww1", **more: Any) -> None:
        """From now on this customer looks like that."""
        contact = {"external_userid": userid, "name": "Lin", "type": 1} | more
        self.customers[corpid, userid] = {"external_contact": contact, "follow_user": list(follows)}

    def release(self) -> None:
        """Let everything go that is held."""
        self.held.clear()
        self._released.set()

    async def _gettoken(self, request: web.Request) -> web.Response:
        corpid = request.query["corpid"]
        self.tokens_asked[corpid] += 1
        code = self.token_codes.get(corpid, 0)
        if code:
            return _answer({"errcode": code, "errmsg": "refused"})
        return _answer({"errcode": 0, "access_token": f"{corpid}/token", "expires_in": 7200})

    async def _get(self, request: web.Request) -> web.Response:
        corpid = request.query["access_token"].partition("/")[0]
        key = (corpid, request.query["external_userid"])
        self.reads.append(key)
        if key in self.held:
            await self._released.wait()
        if self.html:
            return web.Response(text="<html>busy</html>", content_type="text/html")
        code = self.codes.get(key) or self.codes.get(corpid) or (0 if key in self.customers else 84061)
        return _answer({"errcode": code, "errmsg": ""} | dict(self.customers.get(key, {}) if not code else {}))

    async def _other(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        body = await request.json() if request.method == "POST" else {}
        named = [request.query.get(name) for name in ("userid", "id", "tagid")] + [body.get("chat_id")]
        named += [ids[0] for name in ("tag_id", "group_id") if (ids := body.get(name))]
        object_id = next((name for name in named if name), "")
        self.asked.append((path, object_id))
        found = self.objects.get((path, object_id))
        code = self.missing.get(path, 40058) if found is None else 0
        return _answer({"errcode": code, "errmsg": ""} | dict(found or {}))

    @asynccontextmanager
    async def served(self) -> AsyncIterator[LoopbackApi]:
        """On a free port."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/cgi-bin/gettoken", self._gettoken),
                web.get("/cgi-bin/externalcontact/get", self._get),
                web.route("*", "/cgi-bin/{path:.+}", self._other),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.release()
            await runner.cleanup()

    def client(self, database: Database, metrics: Metrics, corpids: tuple[str, ...] = ("ww1",)) -> WeComClient:
        """The product's client for these corps, with its tokens in the database."""
        return WeComClient(
            base_url=self.base_url,
            secrets={(corpid, SECRET_NAME): Secret(corpid, SECRET_NAME, f"secret of {corpid}") for corpid in corpids},
            store=CredentialStore(database, "a key of at least thirty-two characters"),
            observer=metrics,
            total_seconds=30.0,
        )


def follower(userid: str = "ZhangSan", since: int = 1772445600, **more: Any) -> dict[str, Any]:
    """An element of ``follow_user``; ``since`` is its createtime."""
    return {"userid": userid, "remark": "Lin from the fair", "createtime": since, "add_way": 1} | more


def _answer(content: Mapping[str, Any]) -> web.Response:
    return web.Response(text=json.dumps(content), content_type="application/json")
