"""The product's sidebar through the simulator's own origin, with the client's bridge put into every page.

The real client injects its bridge into a page; the product has no hook for that, so the proxy writes one script
element before everything else in the head. Nothing else is changed: addresses, headers and cookies pass as they are.
"""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable, Iterable

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, web
from multidict import CIMultiDict

SHIM = "/simulator/client/shim.js"
_ELEMENT = f'<script src="{SHIM}"></script>'.encode()
_HEAD = b"<head>"
# Of one connection only (RFC 9110, 7.6.1), or told anew.
_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
        *("transfer-encoding", "upgrade", "content-length"),
    }
)
_SECONDS = 60.0


class ClientProxy:
    """Passes the paths of a sidebar on to the product."""

    def __init__(self, product: Callable[[], str | None]) -> None:
        """``product`` gives the origin that the product listens on."""
        self._product = product
        self._http: ClientSession | None = None

    def add_routes(self, app: web.Application) -> None:
        """Serve ``/sidebar/…`` and ``/WW_verify_….txt``."""
        app.cleanup_ctx.append(self._connected)
        app.router.add_route("*", "/sidebar/{path:.+}", self._pass)
        app.router.add_get("/WW_verify_{name}.txt", self._pass)

    async def _connected(self, app: web.Application) -> AsyncIterator[None]:
        # What the product said goes on as it is, compressed or not.
        timeout = ClientTimeout(total=_SECONDS)
        async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False, timeout=timeout) as http:
            self._http = http
            yield
        self._http = None

    async def _pass(self, request: web.Request) -> web.Response:
        origin = self._product()
        if origin is None or self._http is None:
            raise web.HTTPBadGateway(text="the simulator does not know where the product is")
        headers = _without_hops(request.headers.items())
        try:
            # The path as the browser wrote it: signatures and ids depend on every byte.
            async with self._http.request(
                request.method,
                f"{origin}{request.raw_path}",
                headers=headers,
                data=await request.read() or None,
                allow_redirects=False,
            ) as response:
                body = await response.read()
                passed = _without_hops(response.headers.items())
                kind, status = response.content_type, response.status
        except (ClientError, TimeoutError) as error:
            raise web.HTTPBadGateway(text=f"the product does not answer: {type(error).__name__}") from None
        if kind == "text/html" and body:
            if passed.pop("Content-Encoding", "") == "gzip":
                body = gzip.decompress(body)
            body = with_shim(body)
        return web.Response(status=status, body=body, headers=passed)


def with_shim(page: bytes) -> bytes:
    """The page with the bridge's script as the first element of its head."""
    before, head, after = page.partition(_HEAD)
    return before + head + _ELEMENT + after if head else page


def _without_hops(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers if name.lower() not in _HOP)
