"""The login of the small WeCom: the authorize page, codes, and whom a code stands for (documents 91022, 91023).

Whose client it is that opens the page is in a cookie of the simulator's own origin, which the client page sets:
``corpid:userid`` of an employee, or ``:external_userid`` of somebody else, each part percent-encoded.
"""

from __future__ import annotations

import hashlib
import html
import re
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from aiohttp import web

from wecom.simulator.state import Agent, Corp
from wecom.simulator.world import World

AUTHORIZE = "/connect/oauth2/authorize"
ACCOUNT_COOKIE = "wecom_simulator_account"
CODE_SECONDS = 300.0
_STATE = re.compile(r"[A-Za-z0-9]{0,128}")
_REMEMBERED = 10_000


@dataclass(slots=True)
class Code:
    """One code. ``userid`` is None for a visitor who is no employee of the corp; ``agentid`` None: any of its apps."""

    value: str = field(repr=False)
    corpid: str
    agentid: int | None
    host: str
    userid: str | None
    visitor: str
    expires: float
    used: bool = False


class CodeRefused(Exception):
    """``errcode`` says why the code can't be redeemed."""

    def __init__(self, errcode: int) -> None:
        super().__init__(str(errcode))
        self.errcode = errcode


class OAuth:
    """Gives out codes and redeems each once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._codes: dict[str, Code] = {}
        self._failures: deque[int] = deque()

    def add_routes(self, app: web.Application) -> None:
        """Serve the authorize page."""
        app.router.add_get(AUTHORIZE, self._authorize)

    def fail_next(self, errcode: int, calls: int = 1) -> None:
        """The next codes are refused with this errcode."""
        self._failures.extend([errcode] * calls)

    def issue(self, corpid: str, agentid: int | None, userid: str | None, *, host: str = "", visitor: str = "") -> str:
        """A code as the authorize page gives it."""
        code = Code(secrets.token_urlsafe(32), corpid, agentid, host, userid, visitor, self._clock() + CODE_SECONDS)
        self._codes[code.value] = code
        if len(self._codes) > _REMEMBERED:
            del self._codes[next(iter(self._codes))]
        return code.value

    def redeem(self, corp: Corp, agent: Agent, value: str) -> dict[str, str]:
        """What getuserinfo answers. Raises ``CodeRefused``."""
        if self._failures:
            raise CodeRefused(self._failures.popleft())
        code = self._codes.get(value)
        if code is None or code.used or code.corpid != corp.corpid or code.agentid not in {None, agent.agentid}:
            raise CodeRefused(40029)
        if code.expires <= self._clock():
            raise CodeRefused(42003)
        if agent.trusted_domain is not None and code.host != agent.trusted_domain:
            raise CodeRefused(50001)
        code.used = True
        # As it was left between the page and here, perhaps.
        employee = corp.employees.get(code.userid.lower()) if code.userid else None
        if employee is not None:
            return {"userid": employee.userid}
        answer = {"openid": "o" + hashlib.sha256(f"{corp.corpid}\0{code.visitor}".encode()).hexdigest()[:27]}
        if code.visitor in corp.customers and any(corp.listed(code.visitor)):
            answer["external_userid"] = code.visitor
        return answer

    @property
    def _clock(self) -> Callable[[], float]:
        return self._world.clock

    async def _authorize(self, request: web.Request) -> web.Response:
        query = request.query
        corp = self._world.corps.get(query.get("appid", ""))
        back = query.get("redirect_uri", "")
        host = _host(back)
        if corp is None:
            return _page("appid is not a corp", 40013)
        if query.get("response_type") != "code" or query.get("scope") not in {"snsapi_base", "snsapi_privateinfo"}:
            return _page("response_type or scope is wrong", 40035)
        if not _STATE.fullmatch(query.get("state", "")):
            return _page("state may have up to 128 letters and digits", 84025)
        agent = next((one for one in corp.agents if str(one.agentid) == query.get("agentid")), None)
        if "agentid" in query and agent is None:
            return _page("agentid is no app of this corp", 40056)
        if host is None or (agent is not None and agent.trusted_domain not in {None, host}):
            return _page("redirect_uri is not on the trusted domain", 50001)
        account = read_account(request.cookies.get(ACCOUNT_COOKIE, ""))
        if account is None:
            return _page("open this link in the WeCom client", None)
        corpid, name = account
        # An employee of another corp is a visitor like any other.
        userid = name if corpid == corp.corpid and name.lower() in corp.employees else None
        agentid = agent.agentid if agent is not None else None
        code = self.issue(corp.corpid, agentid, userid, host=host, visitor=name)
        target = back.partition("#")[0]
        joint = "&" if "?" in target else "?"
        location = f"{target}{joint}code={code}&state={query.get('state', '')}"
        return web.Response(status=302, headers={"Location": location, "Cache-Control": "no-store"})


def account_cookie(corpid: str, userid: str) -> str:
    """The cookie's value for this employee, or for somebody else without a corpid."""
    return f"{quote(corpid, safe='')}:{quote(userid, safe='')}"


def read_account(value: str) -> tuple[str, str] | None:
    """corpid and userid of the cookie's value; None if it names nobody."""
    corpid, colon, userid = value.partition(":")
    return (unquote(corpid), unquote(userid)) if colon and userid else None


def _host(url: str) -> str | None:
    """The host of an absolute address, with the port if it names one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in {"http", "https"} and parts.netloc else None


def _page(words: str, errcode: int | None) -> web.Response:
    code = "" if errcode is None else f"<p>errcode {errcode}</p>"
    text = f"<!doctype html><meta charset=utf-8><title>WeCom simulator</title><p>{html.escape(words)}</p>{code}"
    return web.Response(text=text, content_type="text/html", status=200 if errcode is None else 400)
