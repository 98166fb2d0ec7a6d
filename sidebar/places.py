"""Where the sidebar is: one place per app of each corp, and which addresses are its own. Pure.

Everything that is signed or redirected to is made from ``public_url`` and the place, never from what a request says of
itself; what a request brings is compared with that, character by character.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from yarl import URL

from core.settings import Settings

LONGEST_URL = 2048
# What a browser leaves in the query of an address.
_QUERY = re.compile(r"[!$-;=?-~]*")


@dataclass(frozen=True, slots=True)
class Place:
    """The page of one app of one corp."""

    corpid: str
    agentid: int
    secret_name: str
    """The secret of this app: logins and tickets."""
    customer_secret: str
    """The secret that reads the corp's customers."""
    path: str
    """Of the page, as the browser shows it."""
    url: str
    """Of the page, without a query."""

    @property
    def mark(self) -> str:
        """Tells this place's cookies from those of other places on the same host."""
        return hashlib.sha256(f"{self.corpid}\0{self.agentid}".encode()).hexdigest()[:16]

    def is_own(self, url: str) -> bool:
        """Whether ``url`` is this page's address, with or without a query."""
        return len(url) <= LONGEST_URL and self._own(self.url, url) is not None

    def return_path(self, wanted: str) -> str:
        """Where a login comes back to: ``wanted`` if it is this page's own path and query, else the page."""
        query = self._own(self.path, wanted) if len(wanted) <= LONGEST_URL else None
        return self.path + (query or "")

    def _own(self, page: str, text: str) -> str | None:
        """What follows ``page`` in ``text``: nothing, or a query; None if the text is not of this page."""
        rest = text[len(page) :]
        if not text.startswith(page) or (rest and rest[0] != "?") or not _QUERY.fullmatch(rest):
            return None
        return rest


class Places:
    """Every place of the configuration, and the origin that they share."""

    def __init__(self, settings: Settings) -> None:
        public = URL(settings.service.public_url)
        self.secure = public.scheme == "https"
        """Whether browsers reach us by https; only on a loopback address they may do without."""
        self.prefix = public.raw_path.rstrip("/")
        """What a proxy has before our own paths."""
        self._origin = str(public.origin())
        self._places: dict[tuple[str, str], Place] = {}
        for corp in settings.corps:
            for agent in corp.agents:
                path = f"{self.prefix}/sidebar/{quote(corp.corpid, safe='')}/{agent.agentid}"
                self._places[corp.corpid, str(agent.agentid)] = Place(
                    corp.corpid,
                    agent.agentid,
                    agent.secret_name,
                    corp.customer_agent.secret_name,
                    path,
                    self._origin + path,
                )

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def find(self, corpid: str, agentid: str) -> Place | None:
        """The place of that address; None if it is not in the configuration."""
        return self._places.get((corpid, agentid))
