"""The one way to call WeCom's API.

Every call goes through ``WeComClient.call``, which finds the token, waits for its turn in the budget, renews a token
that died early and repeats the call once, and turns what came back into the answer or an error of ``wecom.errors``.
The token travels in the query string (document 90664), so no exception and no log line may show an address.
"""

from __future__ import annotations

import json as json_
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp

from wecom.budgets import Budgets
from wecom.errcodes import TOKEN_REJECTED, error_of
from wecom.errors import RateLimited, RequestRefused, Retry, TokenRejected, TooConcurrent
from wecom.tokens import ACCESS_TOKEN, AGENT_TICKET, JSAPI_TICKET, Secret, TokenKeeper, TokenStore

PREFIX = "/cgi-bin/"
GETTOKEN = "gettoken"
TICKETS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    JSAPI_TICKET: ("get_jsapi_ticket", {}),
    AGENT_TICKET: ("ticket/get", {"type": "agent_config"}),
}
"""Kind of ticket to the path and parameters that bring it (document 90506)."""
LARGEST_ANSWER = 16 * 2**20
_LONGEST_DETAIL = 300
_SHORTEST_LIFE = 30.0
_LONGEST_LIFE = 86_400.0

# What JSON may carry and a database may not: NUL, and half of a surrogate pair (escaped, or as three bytes that are
# no UTF-8, which json reads all the same).
_UNCLEAN = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]|\x00|\xed[\xa0-\xbf]")
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
_CODE = re.compile(r"-?[0-9]{1,9}")


class Observer(Protocol):
    """Told about every call and every refresh, for metrics."""

    def api_called(self, corpid: str, api: str, outcome: str, seconds: float) -> None:
        """``outcome`` is ok or the error's class."""
        ...

    def token_asked(self, corpid: str, kind: str, outcome: str) -> None:
        """``outcome`` is ok, refused or failed."""
        ...


class WeComClient:
    """Calls the API for every corp and secret. Use as an async context manager; safe for many tasks at once."""

    def __init__(
        self,
        *,
        base_url: str,
        secrets: Mapping[tuple[str, str], Secret],
        store: TokenStore,
        observer: Observer,
        proxy: str | None = None,
        connect_seconds: float = 5.0,
        total_seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``base_url`` is an origin; ``secrets`` are by (corpid, secret name); ``clock`` gives seconds."""
        self._base_url = base_url.rstrip("/")
        self._secrets = secrets
        self._observer = observer
        self._proxy = proxy
        self._timeout = aiohttp.ClientTimeout(total=total_seconds, sock_connect=connect_seconds)
        self._clock = clock
        self._budgets = Budgets(clock)
        self._session: aiohttp.ClientSession | None = None
        self._tokens = TokenKeeper(ACCESS_TOKEN, GETTOKEN, self._gettoken, store, observer.token_asked, clock)
        self._tickets = {
            kind: TokenKeeper(kind, api, partial(self._get_ticket, kind), store, observer.token_asked, clock)
            for kind, (api, _) in TICKETS.items()
        }

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=0),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        corpid: str,
        secret_name: str,
        api: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        share: str = "events",
    ) -> dict[str, Any]:
        """Call ``/cgi-bin/<api>`` with that secret's token: POST if there is ``json``, else GET.

        Returns the answer without NUL and lone surrogates in its texts. ``share`` is one of ``wecom.budgets.SHARES``.
        Raises an ``ApiError`` for everything else, ``LookupError`` for a secret that is not configured.
        """
        secret = self._secret(corpid, secret_name)
        budget = self._budgets.of(corpid, api)
        async with budget.turn(share):
            try:
                answer = await self._with_token(secret, api, params or {}, json)
            except RateLimited as error:
                if error.api != api:
                    raise
                raise RateLimited(api, error.errcode, error.detail, budget.block()) from None
            except TooConcurrent as error:
                if error.api == api:
                    budget.shrink()
                raise
        budget.accepted()
        return answer

    async def ticket(self, corpid: str, secret_name: str, kind: str, *, rejected: str | None = None) -> str:
        """The ticket of this kind (a key of ``TICKETS``) that signatures are made with; another one than ``rejected``.

        The client of the employee checks signatures, so only that one finds out that a ticket died early. The answer
        may still be ``rejected``, when the platform gives the same one again. Raises as ``call`` does.
        """
        secret = self._secret(corpid, secret_name)
        keeper = self._tickets[kind]
        return await (keeper.get(secret) if rejected is None else keeper.replace(secret, rejected))

    def _secret(self, corpid: str, secret_name: str) -> Secret:
        secret = self._secrets.get((corpid, secret_name))
        if secret is None:
            raise LookupError(f"corp {corpid} has no secret {secret_name} in the configuration")
        return secret

    async def _get_ticket(self, kind: str, secret: Secret) -> tuple[str, float]:
        api, params = TICKETS[kind]
        answer = await self.call(secret.corpid, secret.name, api, params=params, share="sidebar")
        return _short_lived(api, answer, "ticket")

    async def _with_token(self, secret: Secret, api: str, params: Mapping[str, str], json: Any) -> dict[str, Any]:
        token = await self._tokens.get(secret)
        try:
            answer = await self._once(secret, api, {**params, ACCESS_TOKEN: token}, json)
        except TokenRejected:
            token = await self._tokens.replace(secret, token)
            try:
                answer = await self._once(secret, api, {**params, ACCESS_TOKEN: token}, json)
            except TokenRejected:
                self._tokens.fruitless(secret)
                raise
        self._tokens.accepted(secret)
        return answer

    async def _gettoken(self, secret: Secret) -> tuple[str, float]:
        answer = await self._once(secret, GETTOKEN, {"corpid": secret.corpid, "corpsecret": secret.value}, None)
        return _short_lived(GETTOKEN, answer, ACCESS_TOKEN)

    async def _once(self, secret: Secret, api: str, params: Mapping[str, str], json: Any) -> dict[str, Any]:
        began = self._clock()
        outcome = "ok"
        try:
            return await self._ask(secret, api, params, json)
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self._observer.api_called(secret.corpid, api, outcome, self._clock() - began)

    async def _ask(self, secret: Secret, api: str, params: Mapping[str, str], json: Any) -> dict[str, Any]:
        if self._session is None:
            raise RuntimeError("the client is used outside its async with block")
        method = "GET" if json is None else "POST"
        try:
            async with self._session.request(
                method,
                self._base_url + PREFIX + api,
                params=params,
                json=json,
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                status = response.status
                body = await _body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Not chained: the original's words hold the address with the token in it.
            raise Retry(api, None, type(error).__name__) from None
        answer = _parse(api, status, body)
        code = answer.get("errcode", 0)
        if isinstance(code, str) and _CODE.fullmatch(code):
            code = int(code)
        if not isinstance(code, int):
            raise Retry(api, None, "an answer whose errcode is no number")
        if code:
            # Support asks for the whole errmsg (hint, IP); what we sent must not come back with it.
            detail = str(answer.get("errmsg", ""))
            for sent in (secret.value, params.get(ACCESS_TOKEN, "")):
                detail = detail.replace(sent, "***") if sent else detail
            raise error_of(api, code, detail[:_LONGEST_DETAIL])
        if status >= 300:
            kind = RequestRefused if 400 <= status < 500 and status not in {408, 429} else Retry
            raise kind(api, None, f"HTTP {status}")
        return answer


def _short_lived(api: str, answer: Mapping[str, Any], name: str) -> tuple[str, float]:
    """A token or ticket of an answer, and for how many seconds it is good."""
    value, lifetime = answer.get(name), answer.get("expires_in")
    if not isinstance(value, str) or not value:
        raise Retry(api, None, f"an answer without {name}")
    if not isinstance(lifetime, int | float):
        return value, 7200.0
    return value, float(min(max(_SHORTEST_LIFE, lifetime), _LONGEST_LIFE))


async def _body(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise aiohttp.ClientPayloadError("too large")
        parts.append(part)
    return b"".join(parts)


def _parse(api: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = json_.loads(body)
        if _UNCLEAN.search(body):
            answer = _clean(answer)
    except (ValueError, RecursionError):
        raise Retry(api, None, f"HTTP {status} and no JSON") from None
    if not isinstance(answer, dict):
        raise Retry(api, None, f"HTTP {status} and no JSON object")
    return answer


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _NOT_TEXT.sub("", value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value


__all__ = ["GETTOKEN", "PREFIX", "TICKETS", "TOKEN_REJECTED", "Observer", "WeComClient"]
