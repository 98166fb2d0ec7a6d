"""The analysts' role, with a real login: it reads every view, no table, and nowhere a whole phone number."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from typer.testing import CliRunner

from core.db.engine import Database
from core.db.tables import ALL_TABLES, HISTORY, customer, customer_follow, dead_letter, employee
from tests.support.crm import crm_database_at, day
from tests.support.databases import administration, database_on
from tests.support.views import COLUMNS, Ledger, put
from wecom_crm import cli
from wecom_crm.analyst_role import role_script

NUMBERS = ("13800000001", "+8613900000002", "0755-88880003", "13700000004", "13600000005")
IN_REMARKS, OF_EMPLOYEE, LANDLINE, IN_PROFILE, IN_EVENT = [NUMBERS[0], NUMBERS[1]], NUMBERS[0], *NUMBERS[2:]
MASKS = ("138****0001", "+86****0002", "075****0003")


async def plant(db: Database) -> None:
    """A phone number in every place that is made for one, and where one may come along."""
    version = {"valid_from": day(10), "source": "event"}
    person = {"userid": "wmA", "name": "Lin", "external_profile": {"external_attr": [{"text": {"value": IN_PROFILE}}]}}
    relation = {"userid": "wmA", "follow_userid": "a", "remark_mobiles": IN_REMARKS}
    member = {"userid": "a", "mobile": OF_EMPLOYEE, "telephone": LANDLINE}
    for table, row in ((customer, person), (customer_follow, relation), (employee, member)):
        await put(db, table, row)
        await put(db, HISTORY[table.name], row | version)
    await Ledger(db).write("add_external_contact", day(10), leaves=[["Mobile", IN_EVENT]])
    letter = {"log_id": "l", "partition": 0, "position": 1, "reason": "r", "payload": IN_EVENT.encode()}
    await put(db, dead_letter, letter)


async def everything(db: Database) -> dict[str, str]:
    """All that all views show, as one text each."""
    found = {}
    for view, columns in COLUMNS.items():
        # Ages grow from one look to the next.
        names = ", ".join(name for name in columns if not name.endswith("_seconds"))
        async with db.read() as conn:
            found[view] = repr((await conn.execute(text(f"SELECT {names} FROM {view}"))).all())
    return found


@pytest_asyncio.fixture
async def db(migrated_url: str) -> AsyncIterator[Database]:
    async with crm_database_at(migrated_url) as database:
        await plant(database)
        yield database


@dataclass
class Login:
    """An analyst who has logged in, and the database as its owner sees it."""

    analyst: Database
    owner: Database


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def server(request: pytest.FixtureRequest) -> str:
    """The address of each server."""
    return str(request.getfixturevalue(request.param))


@pytest_asyncio.fixture
async def login(server: str) -> AsyncIterator[Login]:
    """As the script's last words say."""
    name, password = f"analyst_{secrets.token_hex(4)}", secrets.token_hex(8)
    async with database_on(server) as url, crm_database_at(url) as owner:
        await plant(owner)
        async with administration(url) as conn, _user(conn, name, password):
            # Twice: it is run again after a release with new views.
            for _ in range(2):
                await run_script(conn, str(role_script(url)))
            await _take_part(conn, name)
            address = make_url(url).set(username=name, password=password).render_as_string(hide_password=False)
            analyst = Database(address)
            try:
                yield Login(analyst, owner)
            finally:
                await analyst.close()


@asynccontextmanager
async def _user(conn: AsyncConnection, name: str, password: str) -> AsyncIterator[None]:
    mysql = conn.dialect.name == "mysql"
    account = f"'{name}'@'%'" if mysql else name
    secret = f"IDENTIFIED BY '{password}'" if mysql else f"LOGIN PASSWORD '{password}'"
    await conn.execute(text(f"CREATE {'USER' if mysql else 'ROLE'} {account} {secret}"))
    try:
        yield
    finally:
        await conn.execute(text(f"DROP {'USER' if mysql else 'ROLE'} {account}"))
        if not mysql:
            # What a role may do stands in its way.
            await conn.execute(text("DROP OWNED BY crm_analyst"))
        await conn.execute(text("DROP ROLE crm_analyst"))


async def _take_part(conn: AsyncConnection, name: str) -> None:
    if conn.dialect.name == "postgresql":
        await conn.execute(text(f"GRANT crm_analyst TO {name}"))
    else:
        await conn.execute(text(f"GRANT crm_analyst TO '{name}'@'%'"))
        await conn.execute(text(f"SET DEFAULT ROLE crm_analyst FOR '{name}'@'%'"))


async def run_script(conn: AsyncConnection, script: str) -> None:
    """As the database's own client runs a file."""
    if conn.dialect.name == "postgresql":
        driver = (await conn.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(script)
        return
    for statement in re.sub(r"^--.*$", "", script, flags=re.MULTILINE).split(";"):
        if statement.strip():
            await conn.execute(text(statement))


@pytest.mark.asyncio
async def test_no_view_shows_a_whole_number(db: Database) -> None:
    shown = await everything(db)
    assert [(view, number) for view, words in shown.items() for number in NUMBERS if number in words] == []
    for view, masks in {
        "v_customer_follow": MASKS[:2],
        "v_customer_follow_history": MASKS[:2],
        "v_employee_history": (MASKS[0], MASKS[2]),
    }.items():
        assert [mask for mask in masks if mask not in shown[view]] == []


@pytest.mark.asyncio
async def test_an_analyst_reads_every_view_and_sees_nothing_else(login: Login) -> None:
    assert await everything(login.analyst) == await everything(login.owner)
    schema = "current_schema()" if login.analyst.dialect == "postgresql" else "database()"
    async with login.analyst.read() as conn:
        named = await conn.execute(
            text(f"SELECT table_name AS name FROM information_schema.tables WHERE table_schema = {schema}")
        )
        assert set(named.scalars()) == set(COLUMNS)


async def refusal(db: Database, statement: str) -> str:
    """What the server says against it; empty if it does as it is told."""
    try:
        async with db.write() as conn:
            await conn.execute(text(statement))
    except DBAPIError as error:
        return str(error.orig)
    return ""


@pytest.mark.asyncio
async def test_an_analyst_reads_no_table_and_changes_nothing(login: Login) -> None:
    for name in (*(table.name for table in ALL_TABLES), "alembic_version"):
        assert re.search("permission denied|command denied", await refusal(login.analyst, f"SELECT * FROM {name}")), (
            name
        )
    for statement in (
        "DELETE FROM v_customer_tag",
        "UPDATE v_customer_history SET name = 'x'",
        "INSERT INTO v_tag_history (corpid) VALUES ('ww1')",
        "CREATE TABLE mine (id integer)",
        "CREATE VIEW mine AS SELECT * FROM customer",
        "DROP VIEW v_customer",
    ):
        assert await refusal(login.analyst, statement), statement


@pytest.mark.parametrize("url", ["postgresql+asyncpg://db/crm", "mysql+asyncmy://db/crm", "mariadb+asyncmy://db/crm"])
def test_the_scripts_name_every_view_and_no_other(url: str) -> None:
    script = re.sub(r"^--.*$", "", str(role_script(url)), flags=re.MULTILINE)
    assert sorted(re.findall(r"\bv_\w+", script)) == sorted(COLUMNS)


def configured(tmp_path: Path, url: str) -> list[str]:
    config = tmp_path / "wecom-crm.toml"
    config.write_text(
        f'[service]\npublic_url = "https://crm.example.com"\nsecret_key = "{"k" * 32}"\n'
        f'[database]\nurl = "{url}"\n[[corp]]\ncorpid = "ww1"\n'
        f'[[corp.callback]]\nname = "contacts"\ntoken = "abc"\nencoding_aes_key = "{"A" * 43}"\n'
        '[[corp.agent]]\nagentid = 1\nsecret = "s"\ncustomer_data = true\n',
        encoding="utf-8",
    )
    return ["--config", str(config), "analyst-role"]


def test_the_command_prints_the_script_of_the_configured_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process it would send the records of all tests that follow to a stream that is closed by then.
    monkeypatch.setattr(cli, "configure", lambda **_: None)
    done = CliRunner().invoke(cli.app, configured(tmp_path, "postgresql+asyncpg://crm@db/crm"))
    assert (done.exit_code, done.stdout) == (0, role_script("postgresql://db/crm"))
    done = CliRunner().invoke(cli.app, configured(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/crm.db"))
    assert done.exit_code == 1
    assert "SQLite has no roles" in done.stderr
