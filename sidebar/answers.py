"""What every answer of the sidebar has in common: headers, JSON, and refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "wecom-crm",
}


class Refusal(Exception):
    """The request is answered with this status and ``{"code": code, …}``; ``more`` goes beside the code."""

    def __init__(self, status: int, code: str, **more: Any) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.more = more


def secured(response: web.Response, policy: str) -> web.Response:
    """The same with the headers that every answer has; ``policy`` is the Content-Security-Policy."""
    response.headers.update(_HEADERS)
    response.headers["Content-Security-Policy"] = policy
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def security_policy(frame_ancestors: Sequence[str]) -> str:
    """Nothing but our own files; avatars come from wherever the platform keeps them."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: https:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            " ".join(("frame-ancestors 'self'", *frame_ancestors)),
        )
    )


def answer(content: Mapping[str, Any], status: int = 200) -> web.Response:
    """A JSON answer."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def refused(refusal: Refusal) -> web.Response:
    """The answer to a refused request."""
    response = answer({"code": refusal.code, **refusal.more}, refusal.status)
    if "retry_after" in refusal.more:
        response.headers["Retry-After"] = str(max(1, round(refusal.more["retry_after"])))
    return response
