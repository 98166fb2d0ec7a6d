"""Migrations: they make exactly the tables of core.db.tables, they go back, and two at once do not collide."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from core import schema
from core.db.engine import Database
from core.db.tables import ALL_TABLES, metadata
from core.schema import SchemaOutdated, require_current
from tests.support.databases import MakeDatabase
from wecom_crm.dictionary import views
from wecom_crm.migrate import alembic_config, migrate

pytestmark = pytest.mark.asyncio

PROJECT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


def described(conn: Connection) -> dict[str, Any]:
    """Everything that the database itself says about its tables, comments and collations included."""
    found = inspect(conn)
    names = sorted(name for name in found.get_table_names() if name != "alembic_version")
    comments = found.dialect.supports_comments
    return {
        name: {
            "columns": [{**column, "type": repr(column["type"])} for column in found.get_columns(name)],
            "key": found.get_pk_constraint(name),
            "foreign keys": sorted(found.get_foreign_keys(name), key=str),
            "indexes": sorted(found.get_indexes(name), key=str),
            "comment": found.get_table_comment(name) if comments else None,
        }
        for name in names
    }


async def describe(database: Database) -> dict[str, Any]:
    async with database.read() as conn:
        return await conn.run_sync(described)


async def downgrade(database: Database, target: str = "base") -> None:
    async with database.write() as conn:
        await conn.run_sync(lambda plain: command.downgrade(alembic_config(plain), target))


async def view_definitions(database: Database) -> dict[str, str]:
    """What the database itself keeps of its views."""

    def defined(conn: Connection) -> dict[str, str]:
        found = inspect(conn)
        return {name: found.get_view_definition(name) for name in found.get_view_names()}

    async with database.read() as conn:
        return await conn.run_sync(defined)


async def test_the_tables_are_those_of_the_metadata(db: Database) -> None:
    assert await migrate(db) == (None, schema.CURRENT)
    async with db.read() as conn:
        differences = await conn.run_sync(
            lambda plain: compare_metadata(
                MigrationContext.configure(plain, opts={"compare_type": True, "compare_server_default": True}),
                metadata,
            )
        )
    assert differences == []


async def test_and_the_database_describes_both_in_the_same_words(db: Database, make_database: MakeDatabase) -> None:
    await migrate(db)
    async with make_database() as other_url:
        other = Database(other_url)
        async with other.write() as conn:
            await conn.run_sync(metadata.create_all)
        assert await describe(db) == await describe(other)
        await other.close()


async def test_a_difference_would_be_seen(db: Database) -> None:
    await migrate(db)
    before = await describe(db)
    async with db.write() as conn:
        await conn.execute(text("CREATE INDEX ix_more ON customer (corpid, unionid)"))
        found = await conn.run_sync(lambda plain: compare_metadata(MigrationContext.configure(plain), metadata))
    assert [difference[0] for difference in found] == ["remove_index"]
    assert await describe(db) != before


async def test_up_down_up(db: Database) -> None:
    await migrate(db)
    first = await describe(db)
    assert sorted(first) == sorted(table.name for table in ALL_TABLES)
    await downgrade(db)
    assert await describe(db) == {}
    assert await schema.revision(db) is None
    await migrate(db)
    assert await describe(db) == first


async def test_views_go_up_down_up_as_well(db: Database) -> None:
    await migrate(db)
    first = await view_definitions(db)
    assert sorted(first) == sorted(view.name for view in views())
    assert all(first.values())
    tables = await describe(db)
    # The release before had none, and the same tables.
    await downgrade(db, "0003")
    assert await view_definitions(db) == {}
    assert await describe(db) == tables
    await migrate(db)
    assert await view_definitions(db) == first
    await downgrade(db)
    assert await view_definitions(db) == {}


async def test_a_second_time_changes_nothing(db: Database) -> None:
    await migrate(db)
    assert await migrate(db) == (schema.CURRENT, schema.CURRENT)


_MIGRATE = """
import asyncio, sys
from core.db.engine import Database
from wecom_crm.migrate import migrate

async def main():
    db = Database(sys.argv[1])
    await migrate(db)
    await db.close()

asyncio.run(main())
"""


async def test_two_at_once(database_url: str, db: Database) -> None:
    # Two processes, as in life: alembic keeps its context in a module, so one process can't even run two.
    both = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _MIGRATE, database_url, cwd=PROJECT)
        for _ in range(2)
    ]
    assert [await process.wait() for process in both] == [0, 0]
    await require_current(db)


async def test_ids_compare_byte_by_byte(db: Database) -> None:
    await migrate(db)
    async with db.write() as conn:
        for corpid in ("a", "A", "a ", "ä"):
            await conn.execute(text("INSERT INTO corp (corpid, name) VALUES (:corpid, '企业')"), {"corpid": corpid})
        found = await conn.execute(text("SELECT corpid FROM corp WHERE corpid = 'a'"))
        assert found.scalars().all() == ["a"]


async def test_an_empty_database_is_refused_with_the_command(db: Database) -> None:
    with pytest.raises(SchemaOutdated, match="run wecom-crm migrate"):
        await require_current(db)


@pytest.mark.parametrize(("revision", "words"), [("0000", "run wecom-crm migrate"), ("9999", "a newer release")])
async def test_another_revision_is_refused(db: Database, revision: str, words: str) -> None:
    await migrate(db)
    await require_current(db)
    async with db.write() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    with pytest.raises(SchemaOutdated, match=words):
        await require_current(db)


async def test_the_release_wants_the_newest_revision() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert scripts.get_heads() == [schema.CURRENT]
    # Newer and older are told apart by comparing the names.
    names = [script.revision for script in scripts.walk_revisions()]
    assert names == sorted(names, reverse=True)
    assert {len(name) for name in names} == {4}
