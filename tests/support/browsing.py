"""A browser that is watched: what it was sent, what it complained about, and what was ever in its documents.

Chromium is the distribution's (Debian packages chromium and fonts-noto-cjk, installed if that is possible), or the
program that WECOM_CRM_TEST_CHROMIUM names.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Frame, Page, Response, Route, async_playwright

from tests.support.servers.software import found_or_installed, program
from tests.support.stage import ANNA, TEA, Stage

VARIABLE = "WECOM_CRM_TEST_CHROMIUM"
ARGUMENTS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
_FONTS = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")
_AVATAR = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 52 52"><rect width="52" height="52" fill="#7d9db5"/></svg>'
)
# In every document of a frame or window but the client page's own, from its first moment on.
_WATCH = """
(() => {
  const tell = (kind, text) => window.tellTheTest && window.tellTheTest(kind, String(text));
  document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
    tell('csp', violatedDirective + ' ' + blockedURI);
  });
  window.addEventListener('unhandledrejection', (event) => {
    setTimeout(() => event.defaultPrevented || tell('rejection', event.reason));
  });
  if (location.pathname.startsWith('/simulator/client')) return;
  const look = () => {
    const html = document.documentElement ? document.documentElement.outerHTML : '';
    let forbidden = null;
    try { forbidden = window.top.forbidden; } catch (error) { return; }
    if (!forbidden || performance.timeOrigin < forbidden.since) return;
    for (const text of forbidden.texts) if (html.includes(text)) tell('forbidden', text);
  };
  const everything = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document, everything);
  setInterval(look, 10);
})();
"""


def chromium() -> str:
    """The program. Raises ``Unavailable``."""
    if given := os.environ.get(VARIABLE):
        return given
    packages = ("chromium", "fonts-noto-cjk")
    return found_or_installed("Chromium", lambda: program("chromium") if _FONTS.exists() else None, packages, VARIABLE)


@asynccontextmanager
async def browser(path: str) -> AsyncIterator[Browser]:
    """Chromium, without a window; every context of it has a profile of its own."""
    # Root has no sandbox to be in.
    arguments = [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else [*ARGUMENTS]
    async with async_playwright() as playwright:
        chrome = await playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield chrome
        finally:
            await chrome.close()


@dataclass
class Watched:
    """One browser profile. ``complaints`` are console errors, page errors, CSP reports and forbidden texts."""

    stage: Stage
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    statuses: list[tuple[int, str]] = field(default_factory=list)
    _open: list[Response] = field(default_factory=list)

    async def sidebar(self, *, corpid: str = TEA, userid: str = "ZhangSan", path: str = "", **client: Any) -> Page:
        """The sidebar in a window of its own, in a client that does what ``client`` says (see the shim)."""
        settings = {"corpid": corpid, "userid": userid, "customer": ANNA} | client
        await self.context.add_cookies([self.stage.account(userid, corpid)])
        page = await self.context.new_page()
        await page.add_init_script(f"window.simulatorClient = {json.dumps(settings)}")
        await page.goto(self.stage.page(corpid) + path)
        return page

    async def client_page(self, query: str = "") -> Page:
        """The simulator's client page."""
        page = await self.context.new_page()
        await page.goto(f"{self.stage.url}/simulator/client{query}")
        return page

    async def forbid(self, page: Page, *texts: str, open_ones: bool = True) -> None:
        """From now on these may be in no document of a sidebar in this window.

        Without ``open_ones`` in none that is opened from now on: the one of the account that is about to be left shows
        its own customer until it is left.
        """
        since = "0" if open_ones else "performance.timeOrigin + performance.now()"
        await page.evaluate(f"texts => {{ window.forbidden = {{ texts, since: {since} }} }}", list(texts))

    async def settle(self) -> None:
        """Read what came in last."""
        for response in self._open:
            try:
                body = await response.body()
            except Exception:
                # A redirect, or a page that is gone, has no body any more.
                continue
            self.bodies.append((response.url, body))
        self._open.clear()

    def heard(self, response: Response) -> None:
        self.statuses.append((response.status, response.url))
        self._open.append(response)
        headers = json.dumps(dict(response.headers), sort_keys=True)
        self.bodies.append((response.url, headers.encode()))

    def said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"console: {message.text}")


def leaks(sent: Iterable[tuple[str, bytes]], secrets: Iterable[str]) -> list[str]:
    """Where one of the secrets stands in an answer, compressed ones included."""
    wanted = [secret.encode() for secret in secrets]
    found = []
    for place, answer in sent:
        head, _, body = answer.partition(b"\n")
        plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        if any(secret in part for secret in wanted for part in (head, plain)):
            found.append(place)
    return found


@asynccontextmanager
async def watched(chrome: Browser, stage: Stage, **options: Any) -> AsyncIterator[Watched]:
    """A new profile; ``options`` are playwright's for a context."""
    context = await chrome.new_context(**({"viewport": {"width": 360, "height": 740}} | options))
    eyes = Watched(stage, context)

    async def avatar(route: Route) -> None:
        await route.fulfill(content_type="image/svg+xml", body=_AVATAR)

    def page_made(page: Page) -> None:
        page.on("pageerror", lambda error: eyes.complaints.append(f"page: {error}"))

    try:
        await context.route(re.compile("^https://"), avatar)
        await context.expose_function("tellTheTest", lambda kind, text: eyes.complaints.append(f"{kind}: {text}"))
        await context.add_init_script(_WATCH)
        context.on("console", eyes.said)
        context.on("response", eyes.heard)
        context.on("page", page_made)
        yield eyes
        await eyes.settle()
    finally:
        # A test that failed may have left requests waiting.
        for page in context.pages:
            await page.unroute_all(behavior="ignoreErrors")
        await context.unroute_all(behavior="ignoreErrors")
        await context.close()


async def name_in(page: Page | Frame, timeout: float = 15.0) -> str:
    """The name of the customer that is shown, as soon as one is."""
    return await page.locator("h1 .name").inner_text(timeout=timeout * 1000)


async def failure_in(page: Page | Frame, timeout: float = 20.0) -> str:
    """The code of the failure that is shown, as soon as one is."""
    found = page.locator("[data-failure]")
    await found.wait_for(timeout=timeout * 1000)
    return str(await found.get_attribute("data-failure"))
