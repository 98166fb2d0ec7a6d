"""From the first release's tables, with rows in them, to this one's: each row is kept, and is its own first version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from alembic import command
from sqlalchemy import Connection, MetaData, insert, select

from core.db.engine import Database
from core.db.tables import HISTORY, metadata
from core.schema import CURRENT
from tests.support.crm import day
from tests.support.versions import as_of
from wecom_crm.migrate import alembic_config, migrate

pytestmark = pytest.mark.asyncio

FIRST = "0001"
NUMBER = 1200
"""Rows of each large table: more than one statement of anything could carry row by row."""


@pytest_asyncio.fixture
async def old(database_url: str) -> AsyncIterator[Database]:
    """A database as the first release left it."""
    database = Database(database_url)
    async with database.write() as conn:
        await conn.run_sync(lambda plain: command.upgrade(alembic_config(plain), FIRST))
    yield database
    await database.close()


def _names(number: int) -> dict[str, Any]:
    # Ids that differ in letter case and in a trailing blank are different ids.
    return {
        "corpid": "ww1",
        "userid": ("wm", "wM", "wm ")[number % 3] + str(number // 3) + (" " if number % 3 == 2 else ""),
    }


def _old_rows() -> dict[str, list[dict[str, Any]]]:
    at = {"happened_at": day(9), "received_at": day(9, 1), "recorded_at": day(9, 2)}
    people = [_names(number) for number in range(NUMBER)]
    return {
        "corp": [{"corpid": "ww1", "name": "Plum Garden Tea"}],
        "customer": [
            who
            | {"name": f"林 {number} 🍵", "type": 1, "gender": 2, "external_profile": {"a": [number]}}
            | {"first_seen_at": day(8), "fetched_at": day(9), "gone_at": day(10) if number % 7 == 0 else None}
            for number, who in enumerate(people)
        ],
        "customer_follow": [
            who
            | {"follow_userid": "zhangsan", "remark": f"remark {number}", "remark_mobiles": ["13800000000"]}
            | {"createtime": 1772445600, "last_add_at": day(9), "fetched_at": day(9)}
            | ({"lost_at": day(10), "lost_by": "customer"} if number % 5 == 0 else {"lost_at": None, "lost_by": None})
            for number, who in enumerate(people)
        ],
        "customer_follow_tag": [
            who | {"follow_userid": "zhangsan", "tag_key": "et1", "type": 1, "tag_id": "et1", "tag_name": "重要"}
            for who in people
        ],
        "contact_event": [
            {"corpid": "ww1", "event_id": f"{number:064}", "event": "change_external_contact", "change": "x"}
            | {"callback": "contacts", "leaves": [["Event", "x"]], "outcome": "applied"}
            | at
            for number in range(NUMBER)
        ],
        "pending_read": [
            {"corpid": "ww1", "kind": "customer", "object_id": "wm1", "wanted_at": day(9), "version": 3}
            | {"due_at": day(9), "stage": "first", "events": 2, "attempts": 1}
        ],
        "log_position": [{"log_id": "log", "partition": 0, "position": 77, "updated_at": day(9)}],
        "dead_letter": [
            {
                "corpid": "ww1",
                "log_id": "log",
                "partition": 0,
                "position": 5,
                "reason": "undecodable",
                "payload": b"\0x",
            }
            | {"received_at": day(9), "recorded_at": day(9)}
        ],
        "credential": [
            {"corpid": "ww1", "name": "agent:1", "kind": "access_token", "value": b"\1", "fingerprint": "f" * 64}
        ],
    }


def _fill(conn: Connection, rows: dict[str, list[dict[str, Any]]]) -> None:
    there = MetaData()
    there.reflect(conn, only=list(rows))
    for name, lines in rows.items():
        # With this release's types, which know moments and JSON, and only with columns that the old table has.
        columns = set(there.tables[name].columns.keys())
        assert all(line.keys() <= columns for line in lines)
        conn.execute(insert(metadata.tables[name]), lines)


async def _rows(database: Database, name: str, columns: list[str]) -> list[dict[str, Any]]:
    table = metadata.tables[name]
    async with database.read() as conn:
        found = await conn.execute(select(*(table.c[column] for column in columns)))
        return sorted((dict(row) for row in found.mappings()), key=repr)


async def test_every_row_is_kept_and_is_its_own_first_version(old: Database) -> None:
    before = _old_rows()
    async with old.write() as conn:
        await conn.run_sync(_fill, before)
    assert await migrate(old) == (FIRST, CURRENT)
    for name, lines in before.items():
        assert await _rows(old, name, list(lines[0])) == sorted(lines, key=repr), name
    async with old.read() as conn:
        now = await old.clock(conn)
        for name in ("customer", "customer_follow", "customer_follow_tag"):
            table, kept = metadata.tables[name], HISTORY[name]
            versions = (await conn.execute(select(kept))).all()
            assert len(versions) == NUMBER
            assert {(row.source, row.valid_to, row.event_id) for row in versions} == {("upgrade", None, None)}
            then = as_of(table, now + timedelta(seconds=1))
            live = select(*(table.c[column.name] for column in then.selected_columns))
            assert sorted(map(tuple, await conn.execute(then)), key=repr) == sorted(
                map(tuple, await conn.execute(live)), key=repr
            )
