"""Where the command takes its configuration from, and what it says when it can't use it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.support.product import Premises, run_command
from tests.support.wheel import Installed
from wecom_crm.demo_world import make_corps

pytestmark = pytest.mark.asyncio

COMMANDS = (("migrate",), ("serve", "all"), ("simulate",))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_without_a_configuration_it_says_how_to_name_one(
    installed: Installed, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = await run_command(installed, *command, folder=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("The configuration can't be used:\n  - there is no configuration file wecom-crm.toml")
    assert "name it with --config or WECOM_CRM_CONFIG" in done.err
    assert list(tmp_path.iterdir()) == []


async def test_every_problem_is_listed_and_no_value_shown(installed: Installed, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text(
        """
        [service]
        secret_key = "too-short-and-secret"
        prot = 8080
        [database]
        url = "postgres://crm:the-password@db/crm"
        [[corp]]
        corpid = "ww1"
        [[corp.callback]]
        name = "contacts"
        token = "the-token"
        encoding_aes_key = "not-43-characters"
        [[corp.agent]]
        agentid = "the-agent"
        secret = "the-secret"
        """,
        encoding="utf-8",
    )
    environ = {"WECOM_CRM_SERVICE__PORT": "the-port", "WECOM_CRM_CORP__SECRET": "s", "WECOM_CRM_CONFIG": str(config)}
    done = await run_command(installed, "serve", "all", folder=tmp_path, environ=environ)
    assert (done.status, done.out) == (2, "")
    head, *problems = done.err.splitlines()
    assert head == "The configuration can't be used:"
    expected = (
        "WECOM_CRM_CORP__SECRET: lists ([[corp]]) can't be set in the environment",
        "[[corp]] number 1: 0 [[corp.agent]] tables have customer_data = true",
        "[service] port (from WECOM_CRM_SERVICE__PORT): must be a whole number",
        "[service] secret_key: must have at least 32 characters",
        "[service] prot: is not known; did you mean port?",
        "[database] url: must begin with sqlite+aiosqlite://",
        "[[corp]] number 1, [[corp.callback]] number 1, encoding_aes_key: must be the 43 characters",
        "[[corp]] number 1, [[corp.agent]] number 1, agentid: must be a whole number",
    )
    assert len(problems) == len(expected)
    for words in expected:
        assert any(problem.startswith(f"  - {words}") for problem in problems), words
    for value in ("too-short", "password", "the-token", "not-43", "the-agent", "the-secret", "the-port"):
        assert value not in done.err
    assert list(tmp_path.iterdir()) == [config]


async def test_the_file_is_found_in_the_folder_and_the_environment_wins_over_it(
    premises: Premises, tmp_path: Path
) -> None:
    premises.configure(make_corps())
    other = tmp_path / "elsewhere.db"
    environ = {"WECOM_CRM_DATABASE__URL": f"sqlite+aiosqlite:///{other}"}
    done = await run_command(premises.installed, "migrate", folder=tmp_path, environ=environ)
    assert done.status == 0, done
    assert other.is_file()
    assert not premises.crm_file.exists()


async def test_a_relative_data_dir_is_in_the_folder_where_it_is_started(premises: Premises, tmp_path: Path) -> None:
    premises.configure(make_corps())
    text = premises.config.read_text(encoding="utf-8")
    data_dir = tomllib.loads(text)["service"]["data_dir"]
    premises.config.write_text(text.replace(f'data_dir = "{data_dir}"\n', ""), encoding="utf-8")
    folder = tmp_path / "work"
    folder.mkdir()
    done = await run_command(premises.installed, "--config", str(premises.config), "migrate", folder=folder)
    assert done.status == 0, done
    assert [path.name for path in (folder / "data").iterdir()] == ["crm.db"]


@pytest.mark.parametrize(
    "arguments", [(), ("serve",), ("serve", "everything"), ("migrate", "now"), ("demo", "--changes", "0")]
)
async def test_a_wrong_call_ends_with_2_and_does_nothing(
    installed: Installed, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    # Without a name it serves everything, and here is no configuration.
    expected = "there is no configuration file" if arguments == ("serve",) else "Usage: wecom-crm"
    done = await run_command(installed, *arguments, folder=tmp_path)
    assert done.status == 2, done
    assert expected in done.out + done.err
    assert list(tmp_path.iterdir()) == []
