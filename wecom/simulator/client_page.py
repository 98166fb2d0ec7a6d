"""A chat client to try the sidebar in without WeCom: chats of an employee on the left, the sidebar in a frame.

::

    GET  /simulator/client                  the page (and GET /, which leads to it)
    GET  /simulator/client/state            corps with their employees, apps and tags
    GET  /simulator/client/chats            ?corpid=…&userid=…: the customers of an employee, newest first
    POST /simulator/client/verify           the bridge asks whether a signature is right; only yes or no is told

The page acts through the control endpoints and the account cookie of ``oauth``; the sidebar comes through
``client_proxy``.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from wecom.jssdk import signature
from wecom.simulator.client_proxy import ClientProxy
from wecom.simulator.control import guarded
from wecom.simulator.pusher import Pusher
from wecom.simulator.state import Agent, ChangeRefused, Corp, Relation
from wecom.simulator.tickets import AGENT, CONFIG, Tickets
from wecom.simulator.world import World

FOLDER = Path(__file__).parent / "client"
PATH = "/simulator/client"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_FILES = {"": "client.html", "/client.js": "client.js", "/client.css": "client.css", "/shim.js": "shim.js"}


class ClientPage:
    """The handlers."""

    def __init__(self, world: World, tickets: Tickets, pusher: Pusher) -> None:
        self._world = world
        self._tickets = tickets
        self._proxy = ClientProxy(lambda: pusher.base_url)
        self._files = {path: (FOLDER / name).read_bytes() for path, name in _FILES.items()}

    def add_routes(self, app: web.Application) -> None:
        """Serve everything under ``/simulator/client``, and the sidebar."""
        for path in _FILES:
            app.router.add_get(PATH + path, guarded(self._file))
        app.router.add_get(f"{PATH}/state", guarded(self._state))
        app.router.add_get(f"{PATH}/chats", guarded(self._chats))
        app.router.add_post(f"{PATH}/verify", guarded(self._verify))
        app.router.add_get("/", guarded(_to_the_page))
        self._proxy.add_routes(app)

    async def _file(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix(PATH)
        return web.Response(
            body=self._files[path],
            content_type=_TYPES[Path(_FILES[path]).suffix],
            charset="utf-8",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response({"corps": [_shown(corp) for corp in self._world.corps.values()]})

    async def _chats(self, request: web.Request) -> web.Response:
        corp = self._world.corp(request.query.get("corpid", ""))
        userid = corp.employee(request.query.get("userid", "")).userid.lower()
        relations = [followers[userid] for followers in corp.relations.values() if userid in followers]
        relations.sort(key=lambda relation: max(relation.began, relation.ended), reverse=True)
        return web.json_response({"chats": [_chat(corp, relation) for relation in relations]})

    async def _verify(self, request: web.Request) -> web.Response:
        """Documents 90506 and 90313: the client knows the page's address and WeCom's tickets."""
        asked = await _asked(request)
        corp = self._world.corps.get(str(asked.get("corpid")))
        if corp is None:
            return _refused("invalid corpid", 40013)
        agent = next((one for one in corp.agents if str(one.agentid) == str(asked.get("agentid"))), None)
        if asked.get("kind") == AGENT and agent is None:
            return _refused("invalid agentid", 40056)
        url = str(asked.get("url"))
        if asked.get("domain") is False or not _on_a_trusted_domain(url, [agent] if agent else corp.agents):
            return _refused("invalid url domain", 40048)
        kind = AGENT if asked.get("kind") == AGENT else CONFIG
        tickets = self._tickets.valid(corp.corpid, kind, agent.agentid if agent else 0)
        if asked.get("ticket") is False or not _signed(asked, url, tickets):
            return _refused("invalid signature", 40093)
        return web.json_response({"refused": ""})


async def _to_the_page(request: web.Request) -> web.Response:
    raise web.HTTPFound(PATH)


async def _asked(request: web.Request) -> Mapping[str, Any]:
    try:
        asked = json.loads(await request.text())
    except ValueError as error:
        raise ChangeRefused("the body is not JSON") from error
    if not isinstance(asked, dict):
        raise ChangeRefused("the body must be a JSON object")
    return asked


def _signed(asked: Mapping[str, Any], url: str, tickets: list[str]) -> bool:
    timestamp = str(asked.get("timestamp"))
    # Seconds: milliseconds are a mistake that the real client does not forgive either.
    if not timestamp.isdecimal() or len(timestamp) > 10:
        return False
    given = str(asked.get("signature")).encode()
    nonce = str(asked.get("nonceStr"))
    return any(hmac.compare_digest(signature(ticket, nonce, int(timestamp), url).encode(), given) for ticket in tickets)


def _on_a_trusted_domain(url: str, agents: list[Agent]) -> bool:
    """The page's host is an app's trusted domain or a sub-domain of it (document 90514)."""
    host = urlsplit(url).netloc.lower()
    domains = [agent.trusted_domain for agent in agents]
    return any(domain is None or host == domain or host.endswith(f".{domain}") for domain in domains)


def _refused(words: str, errcode: int) -> web.Response:
    return web.json_response({"refused": words, "errcode": errcode})


def _shown(corp: Corp) -> dict[str, Any]:
    return {
        "corpid": corp.corpid,
        "name": corp.name,
        "agents": [
            {"agentid": one.agentid, "name": one.name, "customer_data": one.customer_data} for one in corp.agents
        ],
        "employees": [{"userid": one.userid, "name": one.name} for one in corp.employees.values()],
        "tags": [{"tag_id": one.tag_id, "name": f"{one.group_name}/{one.tag_name}"} for one in corp.tags],
    }


def _chat(corp: Corp, relation: Relation) -> dict[str, Any]:
    customer = corp.customers[relation.external_userid]
    return {
        "external_userid": customer.external_userid,
        "name": customer.name,
        "type": customer.type,
        "corp_name": customer.corp_name,
        "remark": relation.remark,
        "description": relation.description,
        "tags": [{"tag_id": tag.tag_id, "name": f"{tag.group_name}/{tag.tag_name}"} for tag in relation.tags],
        "stands": relation.stands,
        "lost_by": relation.lost_by,
    }
