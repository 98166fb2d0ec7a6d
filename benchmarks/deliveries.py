"""A thousand deliveries as the platform makes them, and the requests that carry them."""

from __future__ import annotations

import random
import string
from pathlib import Path
from urllib.parse import urlencode

from wecom.callback import document_of, seal_delivery
from wecom.crypto import CallbackCrypto

CORPID = "ww1234567890abcdef"
CALLBACK = "customers"
TOKEN = "QDG6eK"
ENCODING_AES_KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
NUMBER = 1000
SMALLEST, LARGEST = 860, 990
"""Bytes of a body: what deliveries of the two commonest kinds measure."""

_AGENTID = "1000002"
_LETTERS = string.ascii_letters + string.digits


def crypto() -> CallbackCrypto:
    """The keys that the deliveries are sealed with."""
    return CallbackCrypto(TOKEN, ENCODING_AES_KEY, CORPID)


def documents() -> list[bytes]:
    """The inner documents, all different and the same in every run."""
    chance = random.Random(1)
    return [_document(chance, number) for number in range(NUMBER)]


def write_requests(inner: list[bytes], path: Path) -> tuple[int, int]:
    """Write a request for each document, for ``callbacks.lua``; returns the sizes of the smallest and largest body."""
    chance = random.Random(2)
    keys = crypto()
    sizes: list[int] = []
    with path.open("wb") as file:
        for document in inner:
            timestamp, nonce = str(1_760_000_000 + len(sizes)), str(chance.randrange(10**9, 2 * 10**9))
            query, body = seal_delivery(keys, document, timestamp=timestamp, nonce=nonce, to=CORPID, agentid=_AGENTID)
            request = _request(urlencode(query), body)
            file.write(b"%d\n%b" % (len(request), request))
            sizes.append(len(body))
    if len(set(inner)) != NUMBER or min(sizes) < SMALLEST or max(sizes) > LARGEST:
        raise RuntimeError(f"deliveries of {min(sizes)} to {max(sizes)} bytes are not those of the platform")
    return min(sizes), max(sizes)


def _document(chance: random.Random, number: int) -> bytes:
    """A customer was added, by one side or by both (documents 92130)."""
    return document_of(
        [
            ("ToUserName", CORPID),
            ("FromUserName", "sys"),
            ("CreateTime", str(1_760_000_000 + number)),
            ("MsgType", "event"),
            ("Event", "change_external_contact"),
            ("ChangeType", "add_external_contact" if number % 2 == 0 else "add_half_external_contact"),
            ("UserID", _text(chance, chance.randint(4, 20))),
            ("ExternalUserID", "wm" + _text(chance, 30)),
            ("State", _text(chance, chance.randint(4, 32))),
            ("WelcomeCode", _text(chance, chance.randint(20, 40))),
        ]
    )


def _text(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(_LETTERS, k=length))


def _request(query: str, body: bytes) -> bytes:
    head = (
        f"POST /callback/{CORPID}/{CALLBACK}?{query} HTTP/1.1",
        "Host: crm.example.com",
        "User-Agent: Mozilla/4.0",
        "Accept: */*",
        "Content-Type: text/xml",
        f"Content-Length: {len(body)}",
        "",
        "",
    )
    return "\r\n".join(head).encode() + body
