"""Addresses that look like the page's own and are not, for the signer and for the login's way back."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

ORIGIN = "https://crm.example.com"
PATH = "/sidebar/ww1/1000002"

_ORIGINS = (
    *("https://evil.example", "http://evil.example", "//evil.example", "///evil.example", "////evil.example"),
    *(r"\\evil.example", r"/\evil.example", r"\/evil.example", "https:evil.example", "https:/evil.example"),
    *("https:///evil.example", "https://crm.example.com.evil.example", "https://evil-crm.example.com"),
    *("https://crm.example.com@evil.example", "https://crm.example.com:443@evil.example", "https://evil@crm.example.com"),
    *("https://evil.example:password@crm.example.com", "https://evil.example?", "https://evil.example#", "https://evil.example/"),
    *(r"https://evil.example\@crm.example.com", r"https://crm.example.com\.evil.example", "https://crm.example.com%2eevil.example"),
    *("https://crm.example.com%00.evil.example", "https://crm.example.com%0d%0a.evil.example", "https://crm.example.com%2f@evil.example"),
    *("http://crm.example.com", "HTTPS://crm.example.com", "https://CRM.example.com", "https://crm.example.com."),
    *("https://crm.example.com:443", "https://crm.example.com:444", "https://crm.example.com:", "https://crm.example.com:80"),
    *("https://sub.crm.example.com", "https://example.com", "https://crm.example.co", "https://crm.example.com.cn"),
    *("https://crm。example。com", "https://сrm.example.com", "https://ｃrm.example.com", "https://crm.example.com\u200b"),
    *(" https://crm.example.com", "\thttps://crm.example.com", "https://crm.exa\nmple.com", "ht\ttps://crm.example.com"),
    *("https://crm.example.com\x00", "\x00https://crm.example.com", "https\x00://crm.example.com", "https://crm.example.com\r\n"),
    *("javascript:alert(1)//", "data:text/html,", "file://", "blob:https://crm.example.com", "wss://crm.example.com"),
    *("view-source:https://crm.example.com", "https://127.0.0.1", "https://[::1]", "https://2130706433", "about:blank"),
)  # fmt: skip

_PATHS = (
    *("/", "", "/sidebar", "/sidebar/ww1", "/sidebar/ww1/", "/sidebar/ww1/1000003", "/sidebar/ww2/1000002"),
    *("/sidebar/ww1/1000002/", "/sidebar/ww1/1000002/login", "/sidebar/ww1/1000002/callback?code=a&state=b"),
    *("/sidebar/ww1/1000002/api/signature", "/sidebar/ww1/10000020", "/sidebar/ww1/1000002x", "/sidebar/WW1/1000002"),
    *("/SIDEBAR/ww1/1000002", "//sidebar/ww1/1000002", "/sidebar//ww1/1000002", "/./sidebar/ww1/1000002"),
    *("/x/../sidebar/ww1/1000002", "/sidebar/ww1/1000002/..", "/sidebar/ww1/1000002/../1000003"),
    *("/%73idebar/ww1/1000002", "/sidebar/ww1/1000002%2f..%2f1000003", "/sidebar/ww1/1000002/%2e%2e/1000003"),
    *("/sidebar/%77w1/1000002", "/sidebar%2fww1%2f1000002", "/sidebar/ww1%2f1000002", "/sidebar/ww1/%31000002"),
    *("/sidebar/ww1/1000002;x", "/sidebar/ww1/1000002%3fx=1", "/sidebar/ww1/1000002%23", "/sidebar/ww1/1000002&x"),
    *(r"\sidebar\ww1\1000002", r"/sidebar/ww1/1000002\..\..", "/sidebar/ww1/1000002%00", "/sidebar/ww1/1000002\x00"),
    *("/sidebar/ww1/1000002#", "/sidebar/ww1/1000002#/x", "/sidebar/ww1/1000002?x=1#y", "/sidebar/ww1/1000002 "),
    *("/sidebar/ww1/1000002?x y", "/sidebar/ww1/1000002?x\ty", "/sidebar/ww1/1000002?x\r\nLocation: https://evil.example"),
    *("/sidebar/ww1/1000002?<script>", '/sidebar/ww1/1000002?"', "/sidebar/ww1/1000002?\u5f20"),
    *("/sidebar/ww1/1000002?\x7f", "/sidebar/ww1/1000002?\x00", "/sidebar/ww1/1000002?\x1b"),
    *("/sidebar/ww1/1000002?x\u2028", "/sidebar/ww1/１000002", "/sidebar/ww1/1000002\u3000", "/sidebar/ww1/01000002"),
    *("/sidebar/ww1/1000002?" + "a" * 4000, "/callback/ww1/contacts", "/sidebar/static/x/page.js", "/WW_verify_a.txt"),
)  # fmt: skip


def foreign_addresses() -> Iterator[str]:
    """More than two hundred; none of them is an address of the page of app 1000002 of corp ww1."""
    for origin in _ORIGINS:
        yield origin
        yield origin + PATH
        yield origin + PATH + "?x=1"
        yield f"{origin}/?{ORIGIN}{PATH}"
    for path in _PATHS:
        yield ORIGIN + path
        yield path
    whole = ORIGIN + PATH
    yield from (quote(whole, safe=""), quote(quote(whole, safe=""), safe=""), whole[:-1], whole.upper(), whole * 2)
