"""The query of a callback request: what is taken, and how (document 90930). Pure.

Not aiohttp's own reading: that turns a raw ``+`` into a blank and takes the first of several values.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from wecom.errors import CallbackMalformed

# Far above everything seen; the nonce is not always a number.
_LONGEST = {"msg_signature": 128, "timestamp": 32, "nonce": 128, "echostr": 4096}
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")


def read_query(raw: str) -> dict[str, str]:
    """The known parameters, decoded once. Others are left out.

    Raises ``CallbackMalformed`` for one that is repeated, too long or badly encoded.
    """
    found: dict[str, str] = {}
    for part in raw.split("&"):
        name, _, value = part.partition("=")
        longest = _LONGEST.get(name)
        if longest is None:
            continue
        if name in found:
            raise CallbackMalformed("parameter repeated")
        if "%" in value:
            if _BROKEN.search(value):
                raise CallbackMalformed("parameter encoding")
            value = unquote(value)
        if not value or len(value) > longest:
            raise CallbackMalformed("parameter length")
        # Base64 has no blank, so a blank was a plus before some proxy decoded it.
        found[name] = value.replace(" ", "+") if name == "echostr" else value
    return found


def signed(query: dict[str, str]) -> tuple[str, str, str]:
    """Signature, timestamp and nonce. Raises ``CallbackMalformed`` if one is missing."""
    try:
        return query["msg_signature"], query["timestamp"], query["nonce"]
    except KeyError:
        raise CallbackMalformed("parameter missing") from None
