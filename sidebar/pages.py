"""The HTML of the sidebar: a shell without anything of anybody in it, and pages that say what is wrong."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

from aiohttp import web

from sidebar.places import Place
from sidebar.words import MESSAGES, RETRY, Language

FOLDER = Path(__file__).parent / "templates"
_LANGUAGES: dict[str, Language] = {"zh-CN": "zh-CN", "en": "en"}


class Pages:
    """Fills in the two templates."""

    def __init__(self, language: Language, static: str, folder: Path = FOLDER) -> None:
        """``language`` is what the configuration says; ``static`` the path of the static files."""
        self._language = language
        self._static = static
        self._shell = Template((folder / "page.html").read_text(encoding="utf-8"))
        self._message = Template((folder / "message.html").read_text(encoding="utf-8"))

    def shell(self, request: web.Request, place: Place, public_id: str | None) -> web.Response:
        """The page; ``public_id`` is that of the browser's live session."""
        return _html(
            self._shell,
            200,
            language=self._language_of(request.path_qs),
            static=self._static,
            corpid=place.corpid,
            agentid=str(place.agentid),
            base=place.path,
            session=public_id or "",
            page_url=place.url,
        )

    def message(
        self, address: str, status: int, code: str, *, errcode: int | None = None, retry: str | None = None
    ) -> web.Response:
        """What is wrong, in words. ``address`` is the page's path and query, ``retry`` where to try again, ``errcode``
        the platform's.
        """
        language = self._language_of(address)
        title, text = MESSAGES[code][language]
        return _html(
            self._message,
            status,
            language=language,
            static=self._static,
            title=title,
            text=text,
            code=code if code != "platform" else f"platform-{errcode if errcode is not None else 'none'}",
            retry_href=retry or "",
            retry_text=RETRY[language],
            retry_hidden="" if retry else "hidden",
        )

    def _language_of(self, address: str) -> Language:
        """The configuration's, unless the page's address names another: a corp may have a page for each."""
        wanted = parse_qs(address.partition("?")[2]).get("lang", [""])[0]
        return _LANGUAGES.get(wanted, self._language)


def _html(template: Template, status: int, **values: str) -> web.Response:
    text = template.substitute({name: html.escape(value, quote=True) for name, value in values.items()})
    return web.Response(text=text, status=status, content_type="text/html")
