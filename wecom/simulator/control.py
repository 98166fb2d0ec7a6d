"""Changes by hand, and a look at everything, over HTTP under ``/simulator``.

::

    GET  /simulator                            corps, employees, tags, groups, customers with relations, counts
    GET  /simulator/truth                      what the tables should hold
    GET  /simulator/faults                     what is switched on
    POST /simulator/faults                     fields of ``faults.Switches``, and with them or alone
                                               {"next": {"html": 3}, "rate_limit": {"ww1": 60}, "revoke": true,
                                               "revoke_tickets": true}
    POST /simulator/corps/<corpid>/<action>    one of ``actions.ACTIONS``, with its fields as JSON or as a form

A page that the user's browser has open must not be able to do any of this: only requests that name this machine are
served, and one that comes from a page has to be JSON, which browsers send across origins to no server that does not
ask for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from wecom.simulator.actions import perform
from wecom.simulator.api import Api
from wecom.simulator.faults import FaultRefused, Faults
from wecom.simulator.pusher import Delivery, Pusher
from wecom.simulator.state import ChangeRefused, Corp
from wecom.simulator.truth import truth_of
from wecom.simulator.world import Change, World

_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_WAIT_SECONDS = 20.0
_ORDERS = frozenset({"next", "rate_limit", "revoke", "revoke_tickets"})
"""What is not a switch but happens once."""

_IDS = {
    "employees": ("userid",),
    "employee_departments": ("userid", "department_id"),
    "employee_aliases": ("userid",),
    "departments": ("department_id",),
    "employee_tags": ("tagid",),
    "employee_tag_members": ("tagid", "member_type", "member_id"),
    "tag_groups": ("group_id",),
    "corp_tags": ("tag_id",),
    "group_chats": ("chat_id",),
    "group_chat_members": ("chat_id", "type", "userid"),
    "group_chat_versions": ("chat_id", "cur_mem_ver"),
}
"""What the keys of the truth are called behind the corpid."""

Fields = Mapping[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """The handlers. Every problem is a 400 that says in words what is wrong."""

    def __init__(self, world: World, faults: Faults, api: Api, pusher: Pusher) -> None:
        self._world = world
        self._faults = faults
        self._api = api
        self._pusher = pusher

    def add_routes(self, app: web.Application) -> None:
        """Serve everything under ``/simulator``."""
        app.router.add_get("/simulator", guarded(self._overview))
        app.router.add_get("/simulator/truth", guarded(self._truth))
        app.router.add_get("/simulator/faults", guarded(self._show_faults))
        app.router.add_post("/simulator/faults", guarded(self._set_faults))
        app.router.add_post("/simulator/corps/{corpid}/{action}", guarded(self._change))

    async def _overview(self, request: web.Request) -> web.Response:
        corps = [_corp(corp) for corp in self._world.corps.values()]
        pushes = asdict(self._pusher.counts) | {"under_way": self._pusher.under_way}
        return _json(
            {"corps": corps, "api": self._api.counts.as_json(), "pushes": pushes, "faults": self._faults.as_json()}
        )

    async def _truth(self, request: web.Request) -> web.Response:
        truth = truth_of(self._world)
        endings = {key: {"lost_at": at, "lost_by": by} for key, (at, by) in truth.endings.items()}
        answer = {
            "customers": [_row(key, values) for key, values in truth.customers.items()],
            "relations": [_row(key, {**(values or {}), **endings[key]}) for key, values in truth.relations.items()],
            "tags": [_row(key[:3], values) for key, values in truth.tags.items()],
        }
        for name, ids in _IDS.items():
            answer[name] = [_object(ids, key, values) for key, values in getattr(truth, name).items()]
        return _json(answer)

    async def _show_faults(self, request: web.Request) -> web.Response:
        return _json(self._faults.as_json())

    async def _set_faults(self, request: web.Request) -> web.Response:
        fields = await _fields(request)
        if not request.content_type.endswith("json"):
            raise ChangeRefused("faults are set with a JSON object, as Content-Type: application/json")
        rest = {name: value for name, value in fields.items() if name not in _ORDERS}
        answers = {kind: int(count) for kind, count in _numbers(fields, "next").items()}
        limits = {self._world.corp(corpid).corpid: float(end) for corpid, end in _numbers(fields, "rate_limit").items()}
        for kind in answers:
            self._faults.answer_next(kind, 0)
        # Everything is known to be right from here on.
        self._faults.set(**rest)
        for kind, calls in answers.items():
            self._faults.answer_next(kind, calls)
        for corpid, seconds in limits.items():
            self._faults.rate_limit(corpid, seconds)
        if fields.get("revoke") is True:
            self._api.revoke_tokens()
        if fields.get("revoke_tickets") is True:
            self._api.revoke_tickets()
        return _json(self._faults.as_json())

    async def _change(self, request: web.Request) -> web.Response:
        corp = self._world.corp(request.match_info["corpid"])
        fields = await _fields(request)
        if self._pusher.base_url is None:
            raise ChangeRefused("nothing can be pushed yet: the simulator was started without a callback address")
        changes = perform(self._world, corp, request.match_info["action"], fields)
        deliveries = await self._pusher.push(changes)
        await self._settled(deliveries)
        answer: dict[str, Any] = {
            "changes": [_shown(change) for change in changes],
            "pushes": [_outcome(delivery) for delivery in deliveries],
        }
        if not changes:
            answer["note"] = "WeCom pushes nothing for this, so nobody is told."
        return _json(answer)

    async def _settled(self, deliveries: Sequence[Delivery]) -> None:
        if self._faults.now.hold:
            return
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                for delivery in deliveries:
                    await delivery.done.wait()
        except TimeoutError:
            return


def guarded(handler: Handler) -> Handler:
    """Only for requests that name this machine, and from a page only as JSON; problems are told as 400 in words."""

    async def guard(request: web.Request) -> web.StreamResponse:
        # Another name in Host is how a foreign page gets around the browser's rules on origins.
        if _host(request) not in _HOSTS:
            return _json({"error": "the simulator is asked as localhost or 127.0.0.1 only"}, 403)
        if request.method != "GET" and "Origin" in request.headers and request.content_type != "application/json":
            return _json({"error": "a request from a page must have Content-Type: application/json"}, 403)
        try:
            return await handler(request)
        except (ChangeRefused, FaultRefused) as error:
            return _json({"error": str(error)}, 400)

    return guard


def _host(request: web.Request) -> str | None:
    try:
        return urlsplit(f"//{request.host}").hostname
    except ValueError:
        return None


async def _fields(request: web.Request) -> Fields:
    """The fields of a JSON object or a form; no body is no fields."""
    if request.content_type in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        form = await request.post()
        return {name: value for name, value in form.items() if isinstance(value, str)}
    text = await request.text()
    if not text.strip():
        return {}
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChangeRefused("the body is neither JSON nor a form") from error
    if not isinstance(table, dict):
        raise ChangeRefused("the body must be a JSON object")
    return table


def _numbers(fields: Fields, name: str) -> Mapping[str, float]:
    """A table of numbers of 0 or more."""
    table = fields.get(name, {})
    numbers = table.values() if isinstance(table, dict) else (None,)
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and one >= 0 for one in numbers):
        raise ChangeRefused(f"{name} must be an object with numbers of 0 or more")
    return dict(table)


def _corp(corp: Corp) -> dict[str, Any]:
    return {
        "corpid": corp.corpid,
        "name": corp.name,
        "agents": [{"agentid": agent.agentid, "customer_data": agent.customer_data} for agent in corp.agents],
        "callbacks": [callback.name for callback in corp.callbacks],
        "employees": [{"userid": employee.userid, "name": employee.name} for employee in corp.employees.values()],
        "departments": [asdict(department) for department in corp.departments.values()],
        "employee_tags": [asdict(tag) for tag in corp.member_tags.values()],
        "tags": [asdict(tag) for tag in corp.tags],
        "tag_groups": [{"group_id": one.group_id, "name": one.name} for one in corp.tag_groups.values() if one.live],
        "groups": [asdict(chat) for chat in corp.chats.values() if not chat.dismissed],
        "customers": [
            {
                **asdict(corp.customers[external_userid]),
                "relations": [asdict(relation) for relation in followers.values()],
            }
            for external_userid, followers in corp.relations.items()
        ],
        "customers_without_relation": len(corp.customers) - len(corp.relations),
    }


def _row(key: tuple[str, ...], values: Mapping[str, Any] | None) -> dict[str, Any]:
    return dict(zip(("corpid", "userid", "follow_userid"), key, strict=False)) | dict(values or {})


def _object(ids: tuple[str, ...], key: tuple[Any, ...], values: Mapping[str, Any] | None) -> dict[str, Any]:
    there = {"there": False} if values is None else values
    return dict(zip(("corpid", *ids), key, strict=True)) | dict(there)


def _shown(change: Change) -> dict[str, Any]:
    """Without the leaves: the WelcomeCode is a secret."""
    if not change.customer:
        return {
            "corpid": change.corpid,
            "event": change.event,
            "change": change.change,
            "object_id": change.object_id,
            "create_time": change.create_time,
        }
    return {
        "corpid": change.corpid,
        "change": change.change,
        "customer": change.customer,
        "employee": change.employee,
        "create_time": change.create_time,
    }


def _outcome(delivery: Delivery) -> dict[str, Any]:
    became = "under way" if not delivery.done.is_set() else "acknowledged" if delivery.acknowledged else "given up"
    return {
        "change": delivery.change.change,
        "callback": delivery.callback,
        "outcome": became,
        "attempts": [{"outcome": one.outcome, "seconds": round(one.seconds, 4)} for one in delivery.attempts],
    }


def _json(answer: Mapping[str, Any], status: int = 200) -> web.Response:
    # Escaped: a nickname may hold what UTF-8 can't carry.
    return web.json_response(answer, status=status)
