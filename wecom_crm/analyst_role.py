"""``wecom-crm analyst-role``: the SQL of a role that reads the views for analysts and nothing else."""

from __future__ import annotations

from pathlib import Path

import typer
from sqlalchemy import make_url

import migrations
from core.settings import Settings

SCRIPTS = Path(migrations.__file__).parent / "roles"


def role_script(url: str) -> str | None:
    """The script for the database at this address; None for one that has no roles."""
    names = {"postgresql": "postgresql.sql", "mysql": "mariadb.sql", "mariadb": "mariadb.sql"}
    name = names.get(make_url(url).get_backend_name())
    return None if name is None else (SCRIPTS / name).read_text(encoding="utf-8")


def print_role_script(settings: Settings) -> int:
    """The command: print the script for the configured database, and run nothing. Returns the exit status."""
    script = role_script(settings.database.url)
    if script is None:
        typer.echo("SQLite has no roles: whoever may read the file sees every table.", err=True)
        return 1
    typer.echo(script, nl=False)
    return 0
