"""``wecom-crm migrate``: brings the database to the schema of this release."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

import migrations
from core import schema
from core.db.engine import Database


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration for the revisions in this installation, on that connection."""
    config = Config()
    folder = str(Path(migrations.__file__).parent)
    # Config interpolates, so a percent sign in a path has to be doubled.
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def migrate(db: Database, target: str = "head") -> tuple[str | None, str | None]:
    """Run what is missing up to ``target``, all of it or (where the database can) nothing.

    Returns the revisions before and after; a database of a newer release raises alembic's ``CommandError``.
    """
    before = await schema.revision(db)
    async with db.write() as conn:
        await conn.run_sync(lambda plain: command.upgrade(alembic_config(plain), target))
    return before, await schema.revision(db)
