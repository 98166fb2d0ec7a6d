"""Sessions: who is logged in at which place. In the database, so that every replica knows them and any can end them.

The browser has an opaque id in a cookie that no script can read; the table has its digest only. The page has the
*public id*, no secret, and sends it along with every call: a tab whose account was switched under it is found out by
that. It stays the same when the same employee logs in again in the same browser, so that two tabs of one account do
not push each other out.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.engine import Database, as_moment
from core.db.looks import Row
from core.db.tables import contact_event, login_state
from core.db.tables import session as table
from sidebar.answers import Refusal
from sidebar.places import Place
from sidebar.queries import Query

LIFETIME = timedelta(hours=8)
"""A session is not prolonged: logging in again costs the employee nothing."""
KEPT = timedelta(days=1)
_ID = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a call says to be: the place, the digest of the cookie's id, and the public id that the page sent."""

    place: Place
    digest: str
    public_id: str


@dataclass(frozen=True, slots=True)
class Session:
    """A live session."""

    place: Place
    public_id: str
    userid: str

    @property
    def key(self) -> tuple[str, int, str]:
        """For what is counted per employee."""
        return self.place.corpid, self.place.agentid, self.userid


class SessionCookies:
    """The cookie of each place."""

    def __init__(self, *, secure: bool) -> None:
        """``secure``: the browser comes by https; without it there is no ``__Host-`` cookie, and no need for one."""
        self._secure = secure
        self._prefix = "__Host-" if secure else ""
        self._names: dict[Place, str] = {}

    def name(self, place: Place) -> str:
        """Of the cookie; other places on the same host have others."""
        found = self._names.get(place)
        if found is None:
            found = self._names[place] = f"{self._prefix}wecom-crm-{place.mark}"
        return found

    def digest(self, request: web.Request, place: Place) -> str | None:
        """The digest of the id that the browser sent; None if it sent none."""
        value = request.cookies.get(self.name(place), "")
        return digest_of(value) if _ID.fullmatch(value) else None

    def put(self, response: web.Response, place: Place, value: str) -> None:
        """Give the browser its id."""
        # Without Max-Age: gone with the client.
        response.set_cookie(self.name(place), value, path="/", secure=self._secure, httponly=True, samesite="Lax")


class Sessions:
    """The table ``session``."""

    def __init__(self, database: Database, lifetime: timedelta = LIFETIME) -> None:
        self._database = database
        self._lifetime = lifetime
        self._find = Query(database, session_query(database))

    async def begin(self, place: Place, userid: str, before: str | None) -> tuple[str, str]:
        """A new session; returns the cookie's id and the public id.

        ``before`` is the digest of the session that the browser had; it ends here.
        """
        value = secrets.token_urlsafe(32)
        async with self._database.write() as conn:
            now = await self._database.clock(conn)
            public_id = secrets.token_hex(16)
            if before is not None:
                await _end(conn, place, before, now)
                kept = await conn.execute(select(table.c.public_id).where(_is(place, before), table.c.userid == userid))
                public_id = kept.scalar() or public_id
            await conn.execute(
                insert(table),
                {
                    "digest": digest_of(value),
                    "public_id": public_id,
                    "corpid": place.corpid,
                    "agentid": place.agentid,
                    "userid": userid,
                    "created_at": now,
                    "expires_at": now + self._lifetime,
                },
            )
        return value, public_id

    async def end(self, place: Place, digest: str) -> None:
        """End a session; a login that fails must not fall back to it."""
        async with self._database.write() as conn:
            await _end(conn, place, digest, await self._database.clock(conn))

    async def public_id(self, place: Place, digest: str) -> str | None:
        """The public id of the live session with this digest, if there is one."""
        row = await self._row(place, digest)
        return row["public_id"] if row is not None and is_live(row) else None

    async def of(self, caller: Caller) -> Session:
        """The caller's session. Raises a ``Refusal``."""
        return checked(caller, await self._row(caller.place, caller.digest))

    async def sweep(self) -> None:
        """Remove what is long over."""
        async with self._database.write() as conn:
            limit = await self._database.clock(conn) - KEPT
            for old in (table, login_state):
                await conn.execute(delete(old).where(old.c.expires_at < limit))

    async def _row(self, place: Place, digest: str) -> Row | None:
        return await self._database.look(lambda ask: self._find.row(ask, **named(place, digest)))


def session_query(database: Database) -> Select[Any]:
    """The row for ``checked``, to be run with ``named``; further columns and outer joins may be added."""
    event = contact_event.c
    t = table.c
    # As far as the address book's events reach us; a login would be refused as well.
    left = exists().where(
        *(event.corpid == t.corpid, event.kind == "member", event.object_id == t.userid),
        *(event.happened_at >= t.created_at, event.change == "delete_user"),
    )
    columns = (t.public_id, t.userid.label("viewer"), t.expires_at, t.ended_at)
    return select(*columns, left.label("has_left"), database.clock_column().label("now")).where(
        t.digest == bindparam("digest"), t.corpid == bindparam("corpid"), t.agentid == bindparam("agentid")
    )


def named(place: Place, digest: str) -> dict[str, Any]:
    """What ``session_query`` is run with. The place too: a cookie under another place's name names nothing there."""
    return {"digest": digest, "corpid": place.corpid, "agentid": place.agentid}


def is_live(row: Mapping[str, Any]) -> bool:
    """Whether the session of a row of ``session_query`` is one."""
    ended = row["ended_at"] is not None or row["has_left"]
    return not ended and as_moment(row["now"]) < as_moment(row["expires_at"])


def checked(caller: Caller, row: Mapping[str, Any] | None) -> Session:
    """The session of a row of ``session_query`` (None: no row). Raises a ``Refusal``."""
    if row is None or not is_live(row):
        raise Refusal(401, "login_required")
    if row["public_id"] != caller.public_id:
        raise Refusal(409, "session_changed")
    return Session(caller.place, row["public_id"], row["viewer"])


def digest_of(value: str) -> str:
    """What is kept of an opaque id."""
    return hashlib.sha256(value.encode()).hexdigest()


async def _end(conn: AsyncConnection, place: Place, digest: str, now: datetime) -> None:
    await conn.execute(update(table).where(_is(place, digest), table.c.ended_at.is_(None)).values(ended_at=now))


def _is(place: Place, digest: str) -> ColumnElement[bool]:
    t = table.c
    return and_(t.digest == digest, t.corpid == place.corpid, t.agentid == place.agentid)
