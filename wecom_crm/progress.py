"""How far the tables are behind the log, asked of the database itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text

from core.db.engine import Database, is_transient


@dataclass(frozen=True, slots=True)
class Progress:
    """Rows of the tables, records applied, and objects that are still to be read."""

    applied: int
    to_read: int
    customers: int
    relations: int
    tags: int
    employees: int
    groups: int
    events: int
    dead_letters: int


async def progress_of(database: Database, first: int = 1) -> Progress:
    """Count. A row that waits for the second look after a transfer (25 hours) counts as read.

    ``first`` is the first position of a partition: 1 in ingest's own log, 0 in Kafka's.
    """
    parts = {
        "applied": f"coalesce((SELECT sum(position) - {first:d} * count(*) FROM log_position), 0)",  # noqa: S608
        "to_read": "(SELECT count(*) FROM pending_read WHERE stage <> 'recheck')",
        "customers": "(SELECT count(*) FROM customer)",
        "relations": "(SELECT count(*) FROM customer_follow)",
        "tags": "(SELECT count(*) FROM customer_follow_tag)",
        "employees": "(SELECT count(*) FROM employee)",
        "groups": "(SELECT count(*) FROM group_chat)",
        "events": "(SELECT count(*) FROM contact_event)",
        "dead_letters": "(SELECT count(*) FROM dead_letter)",
    }
    statement = "SELECT " + ", ".join(f"{query} AS {name}" for name, query in parts.items())
    async with database.read() as conn:
        row = (await conn.execute(text(statement))).mappings().one()
    return Progress(**{name: int(row[name]) for name in parts})


async def until_applied(
    database: Database,
    records: Callable[[], int],
    *,
    seconds: float,
    first: int = 1,
    told: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Wait until so many records of the log are applied as ``records`` says, and nothing is left to be read.

    ``told`` hears of every look. Raises ``TimeoutError`` after ``seconds``, with the last one.
    """
    progress: Progress | None = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    progress = await progress_of(database, first)
                except Exception as error:
                    if not is_transient(error):
                        raise
                else:
                    told(progress)
                    if progress.applied >= records() and progress.to_read == 0:
                        return progress
                await asyncio.sleep(0.25)
    except TimeoutError as error:
        raise TimeoutError(f"{records()} records are not applied and read within {seconds:g} s: {progress}") from error
