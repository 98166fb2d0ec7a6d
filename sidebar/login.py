"""The silent login (documents 91022, 91023): to the platform and back, and who that was.

::

    BASE/login      ends the session that the cookie names, makes a state, sends the browser to the platform
    BASE/callback   takes the state back once, redeems the code here, begins a session, sends the browser to the page

The code is gone from the address by that, so neither a reload nor the signature of the page ever meets it. A code that
the platform refuses is asked for once more and no further.
"""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from core.logs import get_logger
from sidebar.pages import Pages
from sidebar.places import Place
from sidebar.session import SessionCookies, Sessions
from sidebar.states import Attempt, States
from wecom.client import WeComClient
from wecom.errors import ApiError, CodeRejected
from wecom.oauth import LONGEST_CODE, authorize_url, employee_of, is_in_range

MOST_TRIES = 2
_WRONG_DOMAIN = 50001

_log = get_logger(__name__)


class Login:
    """Both ends of the login."""

    def __init__(
        self,
        authorize: str,
        client: WeComClient,
        states: States,
        sessions: Sessions,
        cookies: SessionCookies,
        pages: Pages,
    ) -> None:
        """``authorize`` is the platform's login page, without a query."""
        self._authorize = authorize
        self._client = client
        self._states = states
        self._sessions = sessions
        self._cookies = cookies
        self._pages = pages

    async def begin(self, request: web.Request, place: Place) -> web.Response:
        """Send the browser to the platform."""
        digest = self._cookies.digest(request, place)
        if digest is not None:
            # First of all: whatever becomes of this login, the account before it is out.
            await self._sessions.end(place, digest)
        return self._send(request, place, place.return_path(request.query.get("return", "")), 1)

    async def finish(self, request: web.Request, place: Place) -> web.Response:
        """The browser is back."""
        state, code = _single(request, "state"), _single(request, "code")
        attempt = self._states.read(request, place, state)
        if attempt is None:
            known = self._states.has_cookie(request, state)
            return self._failed(place, place.path, state, 400, "login_state" if known else "login_cookie")
        if not await self._states.use(place, attempt):
            return self._failed(place, attempt.back, state, 400, "login_state")
        if not code or len(code) > LONGEST_CODE:
            return self._failed(place, attempt.back, state, 400, "login_code")
        try:
            userid = await employee_of(self._client, place.corpid, place.secret_name, code)
            in_range = userid is not None and await is_in_range(self._client, place.corpid, place.secret_name, userid)
        except CodeRejected as error:
            _log.warning("login.code_refused", corpid=place.corpid, agentid=place.agentid, errcode=error.errcode)
            if attempt.number >= MOST_TRIES:
                return self._failed(place, attempt.back, state, 400, "login_code")
            response = self._send(request, place, attempt.back, attempt.number + 1)
            self._states.forget(response, state)
            return response
        except ApiError as error:
            _log.warning(
                "login.no_answer", corpid=place.corpid, agentid=place.agentid, api=error.api, errcode=error.errcode
            )
            what = "domain" if error.errcode == _WRONG_DOMAIN else "platform"
            return self._failed(place, attempt.back, state, 503, what, error.errcode)
        if userid is None or not in_range:
            return self._failed(place, attempt.back, state, 403, "not_employee" if userid is None else "out_of_range")
        return await self._welcome(request, place, attempt, userid)

    async def _welcome(self, request: web.Request, place: Place, attempt: Attempt, userid: str) -> web.Response:
        value, public_id = await self._sessions.begin(place, userid, self._cookies.digest(request, place))
        _log.info("login.done", corpid=place.corpid, agentid=place.agentid, userid=userid)
        # The fragment never leaves the browser; it tells the page that this opening is the one that logged in.
        response = _redirect(f"{attempt.back}#session={public_id}")
        self._cookies.put(response, place, value)
        self._states.forget(response, attempt.state)
        return response

    def _send(self, request: web.Request, place: Place, back: str, number: int) -> web.Response:
        response = _redirect("")
        state = self._states.begin(request, response, place, back, number)
        response.headers["Location"] = authorize_url(
            self._authorize, place.corpid, place.agentid, f"{place.url}/callback", state
        )
        return response

    def _failed(
        self, place: Place, back: str, state: str, status: int, code: str, errcode: int | None = None
    ) -> web.Response:
        retry = f"{place.path}/login?return={quote(back, safe='')}"
        response = self._pages.message(back, status, code, errcode=errcode, retry=retry)
        self._states.forget(response, state)
        return response


def _redirect(location: str) -> web.Response:
    return web.Response(status=302, headers={"Location": location})


def _single(request: web.Request, name: str) -> str:
    """The parameter if it came exactly once, else nothing."""
    values = request.query.getall(name, [])
    return values[0] if len(values) == 1 else ""
