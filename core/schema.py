"""Is the database's schema the one that this release was written for?"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.db.engine import Database, is_transient

# The newest revision in migrations/versions; a test keeps the two equal.
CURRENT = "0001"


class SchemaOutdated(Exception):
    """The schema is not this release's; the message names the command that helps."""


async def revision(db: Database) -> str | None:
    """The revision that the database stands at; None if it was never migrated.

    Raises whatever the database raises when it can't be reached.
    """
    try:
        async with db.read() as conn:
            found: str | None = (await conn.execute(text("SELECT version_num FROM alembic_version"))).scalar()
    except DBAPIError as error:
        if is_transient(error):
            raise
        return None
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
