"""The static files, from memory, under an address that changes with their content.

One digest stands for all of them, so that modules may name one another by relative addresses. A browser that comes
with an older or newer digest, while two releases run side by side, gets what is here and does not keep it.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from sidebar.answers import Refusal

FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".js": ("text/javascript", "utf-8"),
    ".css": ("text/css", "utf-8"),
    ".txt": ("text/plain", "utf-8"),
    ".svg": ("image/svg+xml", "utf-8"),
    ".png": ("image/png", None),
    ".woff2": ("font/woff2", None),
}
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file; ``packed`` by gzip if that makes it smaller."""

    body: bytes
    packed: bytes | None
    content_type: str
    charset: str | None


class Assets:
    """Every file of the folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._assets: dict[str, Asset] = {}
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in _TYPES:
                name = path.relative_to(folder).as_posix()
                body = path.read_bytes()
                digest.update(f"{name}\0{len(body)}\0".encode() + body)
                packed = gzip.compress(body, 9, mtime=0)
                content_type, charset = _TYPES[path.suffix]
                self._assets[name] = Asset(body, packed if len(packed) < len(body) else None, content_type, charset)
        self.digest = digest.hexdigest()[:16]

    async def serve(self, request: web.Request) -> web.Response:
        """``/sidebar/static/{digest}/{name}``."""
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            raise Refusal(404, "not_found")
        packed = asset.packed if "gzip" in request.headers.get("Accept-Encoding", "").lower() else None
        response = web.Response(
            body=packed or asset.body, content_type=asset.content_type, charset=asset.charset, status=200
        )
        response.headers["Vary"] = "Accept-Encoding"
        if packed is not None:
            response.headers["Content-Encoding"] = "gzip"
        current = request.match_info["digest"] == self.digest
        response.headers["Cache-Control"] = _FOREVER if current else "no-cache"
        return response
