"""The API of the small WeCom: ``/cgi-bin/…`` with tokens, pages, limits and error codes (documents 90664, 90313)."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from wecom.simulator.answers import Answer, Cursors, Handler, Params, Refusal, number_of, texts_of
from wecom.simulator.api_directory import DirectoryApi
from wecom.simulator.api_groups import GroupsApi
from wecom.simulator.counts import Counts
from wecom.simulator.faults import BAD_GATEWAY, EMPTY, HTML, SLOW, TRUNCATED, Faults
from wecom.simulator.oauth import CodeRefused, OAuth
from wecom.simulator.state import PERSONAL_TAG, Agent, Corp, Relation
from wecom.simulator.tickets import AGENT, CONFIG, Tickets
from wecom.simulator.tokens import Tokens
from wecom.simulator.truth import contact_of, follow_of
from wecom.simulator.visibility import Visibility
from wecom.simulator.world import World

__all__ = ["PAGE_SIZE", "Answer", "Api", "Handler", "Params", "Refusal"]

GETTOKEN = "gettoken"
GET = "externalcontact/get"
LIST = "externalcontact/list"
FOLLOW_USERS = "externalcontact/get_follow_user_list"
OF_EMPLOYEES = "externalcontact/batch/get_by_user"
USERINFO = "auth/getuserinfo"
CORP_TICKET, AGENT_TICKET = "get_jsapi_ticket", "ticket/get"

PAGE_SIZE = 500
"""Followers on one page (document 92114)."""
_BATCH_SIZE, _LARGEST_BATCH, _MOST_EMPLOYEES = 50, 100, 100
"""Relations on one page unless more are asked for, at most, and employees in one call (document 92994)."""

_MESSAGES = {
    -1: "system busy",
    40001: "invalid credential",
    40013: "invalid corpid",
    40014: "invalid access_token",
    40029: "invalid code",
    40035: "invalid parameter",
    40050: "invalid chatid",
    40058: "invalid Request Parameter",
    40068: "invalid tagid",
    40096: "invalid external userid",
    41001: "access_token missing",
    41002: "corpid missing",
    41004: "corpsecret missing",
    41008: "missing code",
    41009: "userid missing",
    41035: "external_userid missing",
    42001: "access_token expired",
    42003: "code expired",
    45009: "api freq out of limit",
    45033: "api concurrent out of limit",
    48002: "api forbidden",
    49008: "group chat is dismissed",
    50001: "redirect_url domain account error",
    50100: "invalid cursor",
    60011: "no privilege to access/modify contact/party/agent",
    60111: "userid not found",
    60123: "invalid party id",
    81017: "too many users in range",
    84061: "not external contact",
}
_HTML = b"<html><head><title>502</title></head><body>upstream is not available</body></html>"


class Api:
    """Answers calls from the state of the world. Paths that need a token are a table, so more can be added."""

    def __init__(self, world: World, faults: Faults, visibility: Visibility, *, page_size: int = PAGE_SIZE) -> None:
        self.counts = Counts()
        self.tokens = Tokens(world.clock)
        self.tickets = Tickets(world.clock)
        self.oauth = OAuth(world)
        self.page_size = page_size
        self._cursors = Cursors()
        groups = GroupsApi(visibility, self._cursors)
        self.posted = frozenset({OF_EMPLOYEES, *groups.handlers})
        """Paths that are asked by POST; all others by GET."""
        self.handlers: dict[str, Handler] = {
            GET: self._customer,
            LIST: self._customers_of,
            FOLLOW_USERS: self._employees,
            OF_EMPLOYEES: self._customers_of_many,
            USERINFO: self._visitor,
            CORP_TICKET: self._corp_ticket,
            AGENT_TICKET: self._agent_ticket,
            **DirectoryApi(visibility).handlers,
            **groups.handlers,
        }
        self._world = world
        self._faults = faults
        self._visibility = visibility
        self._running: Counter[tuple[str, str]] = Counter()
        self._since_revocation = 0

    def add_routes(self, app: web.Application) -> None:
        """Serve everything under ``/cgi-bin/``."""
        app.router.add_route("*", "/cgi-bin/{path:.+}", self._answer)

    def revoke_tokens(self) -> None:
        """Every token is dead from now on: 40014."""
        self.tokens.revoke_all()
        self.counts.revocations += 1
        self._since_revocation = 0

    def revoke_tickets(self) -> None:
        """Every ticket is dead from now on: the client refuses what was signed with it."""
        self.tickets.revoke_all()
        self.counts.ticket_revocations += 1

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        if path != GETTOKEN and path not in self.handlers:
            raise web.HTTPNotFound(text=f"the simulator does not have /cgi-bin/{path}")
        method = "POST" if path in self.posted else "GET"
        if request.method != method:
            raise web.HTTPMethodNotAllowed(request.method, [method])
        instead = self._faults.take_answer()
        if instead == SLOW:
            await asyncio.sleep(self._faults.now.slow_seconds)
        elif instead is not None:
            self.counts.answered("", path, instead)
            return _fault(instead, request)
        corpid = ""
        answer: Answer = {}
        errcode = 0
        try:
            if path == GETTOKEN:
                corpid = request.query.get("corpid", "")
                corpid = corpid if corpid in self._world.corps else ""
                answer = self._gettoken(request.query)
            else:
                corp, agent = self._caller(request.query)
                corpid = corp.corpid
                params = await _body(request) if method == "POST" else request.query
                answer = await self._called(path, corp, agent, params)
        except Refusal as refusal:
            errcode = refusal.errcode
        self.counts.answered(corpid, path, errcode)
        return _json(_errors(errcode, request) | answer)

    def _gettoken(self, query: Params) -> Answer:
        corpid, secret = query.get("corpid", ""), query.get("corpsecret", "")
        if not corpid or not secret:
            raise Refusal(41004 if corpid else 41002)
        corp = self._world.corps.get(corpid)
        agent = None if corp is None else next((one for one in corp.agents if one.secret == secret), None)
        self.counts.gettoken[corpid, agent.agentid if agent else None].append(self._world.clock())
        if agent is None:
            self._foreign(corpid, lambda other: any(one.secret == secret for one in other.agents))
            raise Refusal(40013 if corp is None else 40001)
        token, seconds = self.tokens.issue(corpid, agent.agentid)
        return {"access_token": token, "expires_in": seconds}

    def _caller(self, query: Params) -> tuple[Corp, Agent]:
        value = query.get("access_token", "")
        if not value:
            raise Refusal(41001)
        self._count_towards_revocation()
        token = self.tokens.find(value)
        if token is None or token.revoked:
            raise Refusal(40014)
        if self.tokens.has_expired(token):
            raise Refusal(42001)
        corp = self._world.corps[token.corpid]
        return corp, next(agent for agent in corp.agents if agent.agentid == token.agentid)

    def _count_towards_revocation(self) -> None:
        self._since_revocation += 1
        if 0 < self._faults.now.revoke_every <= self._since_revocation:
            self.revoke_tokens()

    async def _called(self, path: str, corp: Corp, agent: Agent, params: Params) -> Answer:
        if self._faults.is_limited(corp.corpid):
            raise Refusal(45009)
        key = (corp.corpid, path)
        switches = self._faults.now
        if 0 < switches.at_once <= self._running[key]:
            raise Refusal(45033)
        self._running[key] += 1
        try:
            if switches.latency_seconds:
                await asyncio.sleep(switches.latency_seconds)
            if path.startswith("externalcontact/") and not agent.customer_data:
                raise Refusal(48002)
            return self.handlers[path](corp, agent, params)
        finally:
            self._running[key] -= 1

    def _customer(self, corp: Corp, _agent: Agent, query: Params) -> Answer:
        external_userid, cursor = query.get("external_userid", ""), query.get("cursor", "")
        if not external_userid:
            raise Refusal(41035)
        if external_userid not in corp.customers:
            self._foreign(corp.corpid, lambda other: external_userid in other.customers)
            raise Refusal(40096)
        begin = self._cursors.take(corp, external_userid, cursor)
        view = self._visibility.view(corp, external_userid, first_page=not begin)
        if not view.followers:
            # Right after an add the platform says that there is no relation; nobody at all is another code.
            raise Refusal(84061 if view.early else 40096)
        end = begin + self.page_size
        answer: Answer = {"external_contact": view.contact, "follow_user": view.followers[begin:end]}
        if end < len(view.followers):
            answer["next_cursor"] = self._cursors.give(corp, external_userid, end)
        elif begin:
            answer["next_cursor"] = ""
        return answer

    def _customers_of(self, corp: Corp, _agent: Agent, query: Params) -> Answer:
        userid = query.get("userid", "").lower()
        if not userid:
            raise Refusal(41009)
        if userid not in corp.employees:
            self._foreign(corp.corpid, lambda other: userid in other.employees)
            raise Refusal(60111)
        listed = [
            external_userid
            for external_userid, followers in corp.relations.items()
            if userid in followers and followers[userid].listed
        ]
        return {"external_userid": listed}

    def _employees(self, corp: Corp, _agent: Agent, _query: Params) -> Answer:
        return {"follow_user": [employee.userid for employee in corp.employees.values()]}

    def _customers_of_many(self, corp: Corp, agent: Agent, params: Params) -> Answer:
        userids = [userid.lower() for userid in texts_of(params, "userid_list")]
        if not 1 <= len(userids) <= _MOST_EMPLOYEES:
            raise Refusal(40058)
        if strangers := set(userids) - corp.employees.keys():
            self._foreign(corp.corpid, lambda other: not strangers.isdisjoint(other.employees))
            raise Refusal(60111)
        limit = min(number_of(params, "limit"), _LARGEST_BATCH) if params.get("limit") else _BATCH_SIZE
        found = [
            relation
            for relation in corp.made
            if relation.listed and relation.employee.lower() in userids and _sees(agent, relation)
        ]
        listing = f"of {sorted(userids)}"
        begin = self._cursors.take(corp, listing, params.get("cursor"))
        more = begin + limit < len(found)
        return {
            "external_contact_list": [_pair(corp, relation) for relation in found[begin : begin + limit]],
            "next_cursor": self._cursors.give(corp, listing, begin + limit) if more else "",
        }

    def _visitor(self, corp: Corp, agent: Agent, query: Params) -> Answer:
        if not query.get("code"):
            raise Refusal(41008)
        try:
            return dict(self.oauth.redeem(corp, agent, query["code"]))
        except CodeRefused as refused:
            raise Refusal(refused.errcode) from None

    def _corp_ticket(self, corp: Corp, agent: Agent, _query: Params) -> Answer:
        return self._ticket(corp, agent, CONFIG)

    def _agent_ticket(self, corp: Corp, agent: Agent, query: Params) -> Answer:
        if query.get("type") != "agent_config":
            raise Refusal(40035)
        return self._ticket(corp, agent, AGENT)

    def _ticket(self, corp: Corp, agent: Agent, kind: str) -> Answer:
        if not self.tickets.admits(corp.corpid, kind, agent.agentid):
            raise Refusal(45009)
        ticket, seconds = self.tickets.issue(corp.corpid, kind, agent.agentid)
        return {"ticket": ticket, "expires_in": seconds}

    def _foreign(self, corpid: str, is_of: Callable[[Corp], bool]) -> None:
        if any(is_of(other) for other in self._world.corps.values() if other.corpid != corpid):
            self.counts.foreign += 1


async def _body(request: web.Request) -> Params:
    """The JSON object of a POST."""
    try:
        params = json.loads(await request.text())
    except ValueError:
        raise Refusal(40058) from None
    if not isinstance(params, dict):
        raise Refusal(40058)
    return params


def _sees(agent: Agent, relation: Relation) -> bool:
    return agent.visible is None or relation.employee.lower() in agent.visible


def _pair(corp: Corp, relation: Relation) -> Answer:
    """A customer with one relation, of whose tags only those with an id are shown, by the id."""
    follow = follow_of(relation)
    follow["tag_id"] = [tag["tag_id"] for tag in follow.pop("tags") if tag["type"] != PERSONAL_TAG]
    return {"external_contact": contact_of(corp.customers[relation.external_userid]), "follow_info": follow}


def _errors(errcode: int, request: web.Request) -> Answer:
    if not errcode:
        return {"errcode": 0, "errmsg": "ok"}
    hint = f"hint: [{secrets.randbelow(10**10)}_{secrets.randbelow(100)}_{secrets.token_hex(16)}]"
    more = f"more info at https://open.work.weixin.qq.com/devtool/query?e={errcode}"
    return {
        "errcode": errcode,
        "errmsg": f"{_MESSAGES.get(errcode, 'error')}, {hint}, from ip: {request.remote}, {more}",
    }


def _fault(kind: str, request: web.Request) -> web.Response:
    if kind in {HTML, BAD_GATEWAY}:
        return web.Response(status=200 if kind == HTML else 502, body=_HTML, content_type="text/html")
    if kind == TRUNCATED:
        return web.Response(body=b'{"errcode": 0, "errmsg": "ok", "follow_us', content_type="application/json")
    return _json({} if kind == EMPTY else _errors(-1, request))


def _json(answer: Answer) -> web.Response:
    text = json.dumps(answer, ensure_ascii=False)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8; the platform escapes it.
        body = json.dumps(answer).encode()
    return web.Response(body=body, content_type="application/json")
