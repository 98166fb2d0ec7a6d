"""Is the database's schema the one that this release was written for?"""

from __future__ import annotations

from sqlalchemy import inspect, text

from core.db.engine import Database

# The newest revision in migrations/versions; a test keeps the two equal.
CURRENT = "0004"


class SchemaOutdated(Exception):
    """The schema is not this release's; the message names the command that helps."""


async def revision(db: Database) -> str | None:
    """The revision that the database stands at; None if it was never migrated.

    Raises whatever the database raises when it can't be reached.
    """
    async with db.read() as conn:
        if not await conn.run_sync(lambda plain: inspect(plain).has_table("alembic_version")):
            return None
        found: str | None = (await conn.execute(text("SELECT version_num FROM alembic_version"))).scalar()
        return found


async def require_current(db: Database) -> None:
    """Raises ``SchemaOutdated`` unless the database stands at ``CURRENT``."""
    found = await revision(db)
    if found == CURRENT:
        return
    if found is None:
        raise SchemaOutdated("the database has no tables yet: run wecom-crm migrate")
    if found > CURRENT:
        raise SchemaOutdated(f"the database was migrated by a newer release (schema {found}, this one is {CURRENT})")
    raise SchemaOutdated(f"the schema is {found}, this release needs {CURRENT}: run wecom-crm migrate")
