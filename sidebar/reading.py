"""The customer of the open chat: from the tables, or read from the platform first when they do not have it yet.

The tables are sync's to write. What is missing or is to be fresh is wished for, and its arrival is waited for a few
seconds. Whether somebody has a customer whom the tables do not connect with them is asked of the platform before
anything is wished for: an id that anybody may make up must leave nothing behind, and the answer to one that does not
exist is the same as to a colleague's customer, after the same call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from sqlalchemy import and_, select

from core.db.engine import Database
from core.db.tables import customer, pending_read
from core.db.wishes import CUSTOMER, VIEW, Wish, write_wishes
from core.logs import get_logger
from sidebar.answers import Refusal, answer
from sidebar.customers import Customers, Found
from sidebar.limits import Limit
from sidebar.session import Caller
from sidebar.view import view
from wecom.client import WeComClient
from wecom.customers import read_customer
from wecom.errors import NotVisible, RequestRefused

LONGEST_ID = 128
WAIT_SECONDS = 5.0
_LOOKS = (0.05, 0.1, 0.15, 0.25)
_AGAIN_SECONDS = 2

_log = get_logger(__name__)


class Reader:
    """Answers ``BASE/api/customers/…``."""

    def __init__(
        self,
        database: Database,
        client: WeComClient,
        wake: Callable[[str], None],
        *,
        wait_seconds: float = WAIT_SECONDS,
        readings: Limit | None = None,
        refreshes: Limit | None = None,
    ) -> None:
        """``wake(corpid)`` is called after a wish was written; the two limits count per employee."""
        self._database = database
        self._customers = Customers(database)
        self._client = client
        self._wake = wake
        self.wait_seconds = wait_seconds
        self._readings = readings or Limit(20, 60)
        self._refreshes = refreshes or Limit(10, 60)

    async def show(self, request: web.Request, caller: Caller) -> web.Response:
        """GET: what the tables have; what they do not have yet is read."""
        external_userid = _external_userid(request)
        found = await self._customers.find(caller, external_userid)
        if not found.allowed or found.fetched_at is None:
            found = await self._read(caller, external_userid, found)
        return answer(view(external_userid, found))

    async def refresh(self, request: web.Request, caller: Caller) -> web.Response:
        """POST: the same after one more read, if that comes in time."""
        external_userid = _external_userid(request)
        found = await self._customers.find(caller, external_userid)
        self._refreshes.take(found.session.key)
        if not found.allowed or found.fetched_at is None:
            found = await self._read(caller, external_userid, found)
            return answer(view(external_userid, found) | {"refreshed": True})
        before = found.fetched_at
        await self._wish(caller.place.corpid, external_userid)
        found = await self._customers.find(caller, external_userid)
        # It may have turned out that there is no relation any more.
        _require(found)
        fresh = found.fetched_at is not None and found.fetched_at > before
        return answer(view(external_userid, found) | {"refreshed": fresh})

    async def _read(self, caller: Caller, external_userid: str, found: Found) -> Found:
        self._readings.take(found.session.key)
        if not found.allowed and not await self._has(external_userid, found):
            raise Refusal(404, "not_found")
        came = await self._wish(caller.place.corpid, external_userid)
        found = await self._customers.find(caller, external_userid)
        if not found.allowed and came:
            raise Refusal(404, "not_found")
        if not found.allowed or found.fetched_at is None:
            # If something stands in the way at the platform, this raises it.
            await self._has(external_userid, found)
            raise Refusal(202, "not_synced", retry_after=_AGAIN_SECONDS)
        return found

    async def _has(self, external_userid: str, found: Found) -> bool:
        """Whether the platform says that the employee has the customer, against what the tables say."""
        place = found.session.place
        try:
            known = await read_customer(
                self._client, place.corpid, place.customer_secret, external_userid, share="sidebar"
            )
        except NotVisible:
            return False
        except RequestRefused as error:
            _log.info("sidebar.refused", corpid=place.corpid, errcode=error.errcode)
            return False
        mine = next((follow for follow in known.follows if follow.userid == found.session.userid), None)
        if mine is None:
            return False
        loss_at = found.relation["last_loss_at"] if found.relation is not None else None
        # After the employee let go the platform lists the relation for a while; one that began later is another.
        return loss_at is None or (
            mine.createtime is not None and datetime.fromtimestamp(mine.createtime, UTC) > loss_at
        )

    async def _wish(self, corpid: str, external_userid: str) -> bool:
        """Wish for a read and wait until it was done, whatever it found; False if it was not in time."""
        async with self._database.write() as conn:
            asked = await self._database.clock(conn)
            wish = Wish(external_userid, events=0, source=VIEW)
            await write_wishes(conn, self._database.dialect, corpid, [wish], asked)
        self._wake(corpid)
        try:
            async with asyncio.timeout(self.wait_seconds):
                look = 0
                while not await self._was_read(corpid, external_userid, asked):
                    await asyncio.sleep(_LOOKS[min(look, len(_LOOKS) - 1)])
                    look += 1
        except TimeoutError:
            return False
        return True

    async def _was_read(self, corpid: str, external_userid: str, asked: datetime) -> bool:
        p, c = pending_read.c, customer.c
        query: Any = (
            select(p.read_at, p.leased_until, c.fetched_at)
            .select_from(pending_read.outerjoin(customer, and_(c.corpid == p.corpid, c.userid == p.object_id)))
            .where(p.corpid == corpid, p.kind == CUSTOMER, p.object_id == external_userid)
        )
        async with self._database.read() as conn:
            row = (await conn.execute(query)).one_or_none()
        if row is None:
            return True
        if row.fetched_at is not None and row.fetched_at >= asked:
            return True
        return row.read_at is not None and row.read_at >= asked and row.leased_until is None


def _external_userid(request: web.Request) -> str:
    wanted = request.match_info["external_userid"]
    if not 0 < len(wanted) <= LONGEST_ID or not wanted.isprintable():
        raise Refusal(404, "not_found")
    return wanted


def _require(found: Found) -> None:
    if not found.allowed:
        raise Refusal(404, "not_found")
