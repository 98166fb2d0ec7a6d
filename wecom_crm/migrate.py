"""``wecom-crm migrate``: brings the database to the schema of this release."""

from __future__ import annotations

from pathlib import Path

import typer
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

import migrations
from core import schema
from core.db.engine import Database
from core.settings import Settings


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


async def run_migrate(settings: Settings) -> int:
    """The command: migrate the configured database and say what happened. Returns the exit status."""
    settings.service.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A large table's change may take long; how long others may have to wait for it is limited in migrations/env.py.
    db = Database(settings.database.url, statement_seconds=0)
    try:
        before, after = await migrate(db)
    except (DBAPIError, OSError, TimeoutError) as error:
        # The driver's words name the server and what it refused; there are no rows in play yet.
        typer.echo(f"The database can't be migrated: {getattr(error, 'orig', None) or error}", err=True)
        return 1
    except CommandError:
        typer.echo("The database was migrated by a newer release; this one has no way back.", err=True)
        return 1
    finally:
        await db.close()
    if before == after:
        typer.echo(f"The database is at schema {after} already.")
    else:
        typer.echo(f"The database is at schema {after} now (before: {before or 'empty'}).")
    return 0
