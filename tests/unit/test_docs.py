"""The pages say what the code does: names that they must have, names that must exist, examples that must work."""

from __future__ import annotations

import ast
import asyncio
import math
import os
import re
import shutil
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

from core.db.engine import STATEMENT_SECONDS, Database
from core.db.tables import metadata
from core.eventlog.embedded import KEEP_SECONDS
from core.eventlog.kafka_member import Pace
from core.metrics import Metrics
from core.settings import (
    AgentSettings,
    CallbackSettings,
    CorpSettings,
    KafkaSettings,
    Settings,
    SettingsError,
    parse,
)
from core.settings_sources import ENV_PREFIX
from ingest.callback import LARGEST_BODY, MOST_IN_HAND
from ingest.server import KEEP_ALIVE_SECONDS, MOST_CONNECTIONS, RECEIVE_SECONDS
from wecom.errcodes import class_of
from wecom.errors import RequestRefused
from wecom_crm.cli import app
from wecom_crm.migrate import migrate
from wecom_crm.serve import LOG_FILE, PARKED_FILE
from wecom_crm.topics import KEPT_DAYS

ROOT = Path(__file__).parents[2]
OURS = ("wecom", "core", "ingest", "sync", "sidebar", "migrations", "wecom_crm")
REFERENCE = ROOT / "docs" / "reference"


def project_files() -> list[Path]:
    """What belongs to the project, and not what was made beside it (.venv, demo-data)."""
    git = shutil.which("git")
    if git is not None:
        listing = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(listing, cwd=ROOT, check=False, capture_output=True, text=True)
        if listed.returncode == 0:
            return [path for name in sorted(set(listed.stdout.split("\0"))) if name and (path := ROOT / name).is_file()]
    # An unpacked archive has no history.
    made = {"demo-data", "build", "dist"}
    places = [ROOT / name for name in sorted(os.listdir(ROOT)) if not name.startswith(".") and name not in made]
    found = [path for place in places for path in (place, *sorted(place.rglob("*")))]
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


FILES = project_files()
SOURCES = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in OURS]
PAGES = [path for path in FILES if path.suffix == ".md"]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language, without the indentation that a list gives them."""
    return [
        re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE)
        for match in BLOCK.finditer(text_of(path))
        if match[2] == language
    ]


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next heading of its own level or above."""
    level = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}$\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no heading {heading!r}"
    return found[1]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of a section's tables that begin with a name in backticks, by that name."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:3] == "| `"]
    return {row[0].split("`")[1]: row[1:] for row in cells}


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_pages() -> None:
    names = {identify(path) for path in PAGES}
    assert {"README.md", "README.zh-CN.md", "CHANGELOG.md", "docs/architecture.md"} <= names


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_every_column_is_described_in_the_words_of_its_comment(name: str) -> None:
    table = metadata.tables[name]
    described = section(text_of(REFERENCE / "tables.md"), f"### {name}")
    assert f"{table.comment}." in described
    found = {column: cells[-1].strip(" |") for column, cells in rows(described).items()}
    assert {column: found.get(column) for column in found | {column.name: "" for column in table.columns}} == {
        column.name: column.comment for column in table.columns
    }


def test_no_table_is_described_that_does_not_exist() -> None:
    headings = set(re.findall(r"^### (\w+)$", text_of(REFERENCE / "tables.md"), re.MULTILINE))
    assert headings == set(metadata.tables)


def tables_of_the_file() -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {
        "## [[corp]]": CorpSettings,
        "## [[corp.callback]]": CallbackSettings,
        "## [[corp.agent]]": AgentSettings,
        "## [kafka]": KafkaSettings,
    }
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found[f"## [{name}]"] = field.annotation
    return found


@pytest.mark.parametrize(("heading", "model"), tables_of_the_file().items())
def test_every_key_of_the_configuration_is_described_and_no_other(heading: str, model: type[BaseModel]) -> None:
    assert set(rows(section(text_of(REFERENCE / "configuration.md"), heading))) == set(model.model_fields)


@pytest.mark.parametrize("heading", [heading for heading in tables_of_the_file() if "[[" not in heading])
def test_the_described_defaults_are_the_real_ones(heading: str) -> None:
    model = tables_of_the_file()[heading]
    described = rows(section(text_of(REFERENCE / "configuration.md"), heading))
    for name, field in model.model_fields.items():
        default = field.default
        if isinstance(default, bool):
            assert described[name][1] == f"`{str(default).lower()}`", name
        elif isinstance(default, int):
            assert described[name][1].startswith(f"`{default}`"), name
        elif isinstance(default, str) and name != "public_url":
            assert described[name][1] == f'`"{default}"`', name
        elif field.is_required() and name != "url":
            assert described[name][1] == "required", name


def metrics() -> dict[str, MetricWrapperBase]:
    found = [metric for metric in vars(Metrics()).values() if isinstance(metric, MetricWrapperBase)]
    return {metric._name + ("_total" if metric._type == "counter" else ""): metric for metric in found}


def test_every_metric_is_described_with_its_help_text_and_labels() -> None:
    described = rows(section(text_of(REFERENCE / "operations.md"), "## Metrics"))
    expected = {
        name: [metric._type, ", ".join(metric._labelnames) or "–", metric._documentation]
        for name, metric in metrics().items()
    }
    assert {name: [cell.strip(" |") for cell in cells] for name, cells in described.items()} == expected


def test_every_metric_that_a_page_names_exists() -> None:
    suffixes = ("", "_bucket", "_sum", "_count")
    known = {name + suffix for name in metrics() for suffix in suffixes} | {"wecom_crm_"}
    named = {name for page in PAGES for name in re.findall(r"\bwecom_crm_[a-z_]+", text_of(page))}
    assert named <= known


def actions() -> Iterator[str]:
    for path in SOURCES:
        if "simulator" in path.parts:
            continue
        for node in ast.walk(ast.parse(text_of(path))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "_log"
            ):
                assert isinstance(node.args[0], ast.Constant), f"{identify(path)}:{node.lineno}"
                yield str(node.args[0].value)


def test_every_log_action_is_described_and_no_other() -> None:
    described = set(rows(section(text_of(REFERENCE / "operations.md"), "## Log")))
    assert described - {"library"} == set(actions())


def test_the_table_of_error_codes_is_the_codes_own() -> None:
    described: dict[int, str] = {}
    for line in section(text_of(REFERENCE / "platform.md"), "## Error codes and reactions").splitlines():
        cells = line.strip("| ").split(" | ")
        if len(cells) == 3 and cells[1].startswith("`"):
            described |= {int(code): cells[1].strip("`") for code in re.findall(r"(?<!\w)-?\d{1,6}\b", cells[0])}
    known = {code: class_of(code) for code in range(-100, 1_000_000)}
    assert described == {code: kind.__name__ for code, kind in known.items() if kind is not RequestRefused}


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", text_of(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.is_relative_to(ROOT) or not path.exists():
            broken.append(target)
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text_of(path)), re.MULTILINE)
            if anchor not in {slug(heading) for heading in headings}:
                broken.append(target)
    assert broken == []


def test_every_page_is_linked_from_somewhere() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    }
    assert [identify(page) for page in PAGES if page.resolve() not in linked] == []


def commands() -> set[str]:
    group: Any = typer.main.get_command(app)
    return set(group.commands)


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = text_of(page)
    code = re.findall(r"`([^`\n]+)`", text) + [line for match in BLOCK.finditer(text) for line in match[3].splitlines()]
    named: set[str] = set()
    for piece in code:
        for rest in re.findall(r"(?:^|[\s/'\"])(?:wecom-crm|-m wecom_crm) +(.+)", piece):
            words = re.sub(r"--(?:config|log-format|log-level)[ =]\S+", "", rest).split()
            if words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
                named.add(words[0])
    assert named <= commands()


def test_the_commands_of_the_reference_are_all_there_are() -> None:
    described = rows(section(text_of(REFERENCE / "operations.md"), "## Commands"))
    assert {name.split()[1] for name in described} == commands()


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z-]+)", text_of(page), re.MULTILINE)}
    assert {"demo", "test", "check"} <= named <= targets


@pytest.mark.parametrize(
    ("page", "example"),
    [
        pytest.param(page, example, id=f"{identify(page)}-{number}")
        for page in PAGES
        for number, example in enumerate(blocks(page, "toml"), 1)
    ],
)
def test_every_example_of_a_configuration_is_a_valid_one(page: Path, example: str) -> None:
    # As it is once the key has been made.
    made = re.sub(r'secret_key = "put here .*"', f'secret_key = "{"k" * 32}"', example)
    assert parse(tomllib.loads(made)).corps, identify(page)


def test_the_examples_of_variables_are_taken() -> None:
    example = next(iter(blocks(REFERENCE / "configuration.md", "sh")))
    environ = {
        name: value.strip("'") if "$(" not in value else "k" * 32
        for name, _, value in (line.removeprefix("export ").partition("=") for line in example.splitlines())
    }
    assert len(environ) > 3
    assert all(name.startswith(ENV_PREFIX) for name in environ)
    document = tomllib.loads(blocks(REFERENCE / "configuration.md", "toml")[0])
    settings = parse(document, environ)
    assert settings.service.port == 9000
    assert settings.wecom.timeouts.total == 10


def test_the_problems_shown_are_what_is_said() -> None:
    shown = next(block for block in blocks(REFERENCE / "configuration.md", "text") if "can't be used" in block)
    document = {
        "service": {"secret_key": "short", "port": 8080, "admin_port": 8080, "prot": 1},
        "corp": [{"corpid": "ww1"}],
    }
    with pytest.raises(SettingsError) as raised:
        parse(document)
    assert shown.splitlines()[1:] == [f"  - {problem}" for problem in raised.value.problems]


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("docs") / "crm.db"
    asyncio.run(_migrated(f"sqlite+aiosqlite:///{path}"))
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


async def _migrated(url: str) -> None:
    # With the views, which the metadata knows nothing of.
    database = Database(url)
    await migrate(database)
    await database.close()


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(statement, id=f"{identify(page)}-{number}")
        for page in PAGES
        for number, statement in enumerate(blocks(page, "sql"), 1)
    ],
)
def test_every_example_of_sql_runs(statement: str, empty_database: sqlite3.Connection) -> None:
    assert empty_database.execute(statement).description is not None


def test_both_readmes_are_in_step() -> None:
    english, chinese = text_of(ROOT / "README.md"), text_of(ROOT / "README.zh-CN.md")

    def shape(text: str) -> list[str]:
        return re.findall(r"^(#+) ", BLOCK.sub("", text), re.MULTILINE)

    def code(text: str) -> list[str]:
        return [match[0] for match in BLOCK.finditer(text)]

    def links(text: str) -> list[str]:
        return sorted(set(re.findall(r"\]\(([^)\s]+)\)", text)) - {"README.md", "README.zh-CN.md"})

    assert shape(english) == shape(chinese)
    assert code(english) == code(chinese)
    assert links(english) == links(chinese)
    assert "README.zh-CN.md" in english
    assert "README.md" in chinese


def test_the_version_has_an_entry_in_the_changelog() -> None:
    version = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]
    assert re.search(rf"^## \[{re.escape(version)}\]", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)


def test_nothing_names_a_folder_beside_the_project() -> None:
    word = "../" + "shared"
    assert len(FILES) > 50
    assert [identify(path) for path in FILES if word in path.read_text(encoding="utf-8", errors="replace")] == []


def test_every_page_that_the_code_names_exists() -> None:
    named = {name for path in SOURCES for name in re.findall(r"\bdocs/[\w./-]+\.md", text_of(path))}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_variable_of_the_tests_is_described_and_no_other() -> None:
    described = set(rows(section(text_of(ROOT / "CONTRIBUTING.md"), "## Kinds of tests")))
    sources = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == "tests"]
    named = {name for path in sources for name in re.findall(r"\bWECOM_CRM_TEST_[A-Z]+(?:_[A-Z]+)*", text_of(path))}
    assert {name for name in described if name.startswith("WECOM_CRM_")} == named


def test_limits_that_pages_name_are_the_codes() -> None:
    architecture = text_of(ROOT / "docs" / "architecture.md")
    proxy, production = (
        text_of(ROOT / "docs" / "how-to" / name) for name in ("run-behind-a-proxy.md", "run-in-production.md")
    )
    for page in (architecture, proxy):
        assert f"{LARGEST_BODY // 1024} KiB" in page
        assert f"{MOST_CONNECTIONS:,} connections" in page
        assert f"within {math.ceil(RECEIVE_SECONDS)} s" in page
    assert f"{MOST_IN_HAND:,} requests" in architecture
    assert f"client_max_body_size {LARGEST_BODY // 1024}k;" in proxy
    assert f"idle for {KEEP_ALIVE_SECONDS:.0f} s" in proxy
    assert f"| one statement | {STATEMENT_SECONDS:.0f} s | {STATEMENT_SECONDS:.0f} s |" in production
    assert f"others get its partitions after {Pace().session:.0f} s" in architecture
    assert f"{KEPT_DAYS} days" in production
    assert f"{int(KEEP_SECONDS) // 86_400} days" in production


def test_files_that_the_service_makes_are_described() -> None:
    described = set(rows(section(text_of(REFERENCE / "operations.md"), "## Files in `data_dir`")))
    assert {LOG_FILE, f"{LOG_FILE}.lock", PARKED_FILE, "crm.db"} <= described
    assert any(name.startswith(f"{LOG_FILE}.damaged-") for name in described)
