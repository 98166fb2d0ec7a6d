"""Signatures that the client checks before it lets a page use its functions (document 90506). Pure."""

from __future__ import annotations

import hashlib


def signature(ticket: str, noncestr: str, timestamp: int, url: str) -> str:
    """SHA-1 in hex over the four, in this order and as they are.

    ``timestamp`` is in seconds. ``url`` is the page's whole address as the browser shows it, without ``#`` and what
    follows.
    """
    text = f"jsapi_ticket={ticket}&noncestr={noncestr}&timestamp={timestamp}&url={url}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
