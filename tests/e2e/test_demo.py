"""``wecom-crm demo`` as a user runs it."""

from __future__ import annotations

import re
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.credentials import CredentialStore
from core.db.engine import Database
from tests.support.processes import processes_naming, running
from tests.support.product import Finished, query, run_command
from tests.support.wheel import Installed
from wecom.simulator.world import WELCOME_CODE
from wecom.tokens import Secret

pytestmark = pytest.mark.asyncio

# Enough for all 500 customers to come in; `make demo ONCE=1` makes more.
CHANGES = 1100


def compared(done: Finished) -> list[int]:
    """How many customers, relations and tags; fails unless the run ended with the three zeros."""
    assert done.status == 0, done
    *_, numbers, verdict = done.out.splitlines()
    assert verdict == "missing 0, spurious 0, differing 0"
    found = re.fullmatch(r"compared (\d+) customers, (\d+) relations, (\d+) tags", numbers)
    assert found is not None, numbers
    return [int(number) for number in found.groups()]


async def test_once_ends_with_three_zeros_and_tells_no_secrets(installed: Installed, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo = ("demo", "--once", "--folder", str(folder), "--changes", str(CHANGES))
    # A real service's settings are none of the demo's business.
    environ = {"WECOM_CRM_SERVICE__DATA_DIR": str(tmp_path / "real"), "WECOM_CRM_SERVICE__PORT": "1"}

    done = await run_command(installed, *demo, folder=tmp_path, environ=environ, deadline=120)

    customers, relations, tags = compared(done)
    assert customers == 500
    assert relations > customers
    assert tags > 50
    pushed = re.search(r"pushed (\d+) events, (\d+) of them twice: (\d+) pushes got 200, (\d+) did not", done.out)
    assert pushed is not None
    events, twice, acknowledged, refused = (int(number) for number in pushed.groups())
    assert (events, refused) == (CHANGES, 0)
    assert twice > 0
    assert acknowledged == events + twice
    assert "and 0 calls came with a foreign corp's token or secret" in done.out
    assert done.err == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]
    await _tells_nothing(folder, done)


async def _tells_nothing(folder: Path, done: Finished) -> None:
    log = (folder / "serve-all.log").read_text(encoding="utf-8")
    assert '"action": "process.started"' in log
    assert '"action": "process.stopped"' in log
    # Warnings are printed; those of resources depend on when the interpreter collects what.
    assert not re.search(r"(Deprecation|Runtime)Warning", log)
    config = tomllib.loads((folder / "wecom-crm.toml").read_text(encoding="utf-8"))
    secrets = list(_secrets(config))
    tokens = await _tokens(folder, config)
    assert len(secrets) == 7
    assert len(tokens) == 2
    data = folder / "data"
    personal = set(_personal(data / "crm.db"))
    assert len(personal) > 1000
    # The log has what came in; the tables have no WelcomeCode, which is a secret.
    log_file = data / "ingest-log.sqlite"
    documents = [value for (value,) in query(log_file, "SELECT value FROM record")]
    codes = {code for value in documents for code in re.findall(f"{WELCOME_CODE}[A-Za-z]*".encode(), value)}
    assert len(codes) > 100
    assert [name for name, text in _texts(data / "crm.db") if WELCOME_CODE in text] == []

    forbidden = {*secrets, *tokens, *personal, WELCOME_CODE}
    for text in (log, done.out, done.err):
        assert [value for value in forbidden if value in text] == []


def _secrets(table: Any) -> Iterator[str]:
    if isinstance(table, list):
        for one in table:
            yield from _secrets(one)
    elif isinstance(table, dict):
        for name, value in table.items():
            if name in {"secret_key", "token", "encoding_aes_key", "secret"}:
                yield value
            else:
                yield from _secrets(value)


async def _tokens(folder: Path, config: dict[str, Any]) -> list[str]:
    """The access tokens that the service kept, decrypted."""
    database = Database(f"sqlite+aiosqlite:///{folder / 'data' / 'crm.db'}")
    store = CredentialStore(database, config["service"]["secret_key"])
    found: list[str] = []
    for corp in config["corp"]:
        for agent in corp["agent"]:
            stored = await store.load(
                Secret(corp["corpid"], f"agent:{agent['agentid']}", agent["secret"]), "access_token"
            )
            found += [stored.value] if stored is not None and stored.value is not None else []
    await database.close()
    return found


def _personal(crm: Path) -> Iterator[str]:
    """Names, remarks, descriptions, phone numbers and tag names that are long enough to mean something."""
    columns = (
        *(("customer", name) for name in ("name", "avatar", "unionid")),
        *(("customer_follow", name) for name in ("remark", "description", "remark_corp_name")),
    )
    for table, name in columns:
        yield from (
            value for (value,) in query(crm, f"SELECT DISTINCT {name} FROM {table}") if value and len(value) > 3
        )
    mobiles = query(crm, "SELECT DISTINCT value FROM customer_follow, json_each(customer_follow.remark_mobiles)")
    assert len(mobiles) > 10
    yield from (mobile for (mobile,) in mobiles)


def _texts(crm: Path) -> Iterator[tuple[str, str]]:
    """Every value of every table as text, with the table's name."""
    for (table,) in query(crm, "SELECT name FROM sqlite_master WHERE type = 'table'"):
        for row in query(crm, f"SELECT * FROM {table}"):
            yield from ((table, value.decode("latin-1") if isinstance(value, bytes) else str(value)) for value in row)


async def test_a_folder_of_somebody_elses_is_refused_and_left_alone(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "wecom-crm.toml").write_text("# My own.\n", encoding="utf-8")
    (tmp_path / "data").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = await run_command(installed, "demo", "--once", "--folder", str(tmp_path), folder=installed.home)
    assert (done.status, done.out) == (1, "")
    assert f"{tmp_path} is not empty and not a demo's: name another folder with --folder" in done.err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "wecom-crm.toml").read_text(encoding="utf-8") == "# My own.\n"


async def test_ctrl_c_ends_the_endless_demo_and_everything_it_started(installed: Installed, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    # The second begins anew in the same folder.
    for turn in ("first", "second"):
        output = tmp_path / turn
        async with running(installed, "demo", "--folder", str(folder), folder=tmp_path, output=output) as demo:
            await demo.until_said("  customers ")
            assert len(processes_naming(folder)) == 2
            assert not (folder / "first").exists()
            (folder / turn).touch()
            assert await demo.signalled(signal.SIGINT, 15) == 0
            assert demo.said.endswith("stopping\n")
        assert processes_naming(folder) == []
        log = (folder / "serve-all.log").read_text(encoding="utf-8")
        assert log.count('"action": "process.started"') == log.count('"action": "process.stopped"') == 1
