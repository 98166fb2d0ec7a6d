"""What can be known of compose.yaml and the Dockerfile without starting them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from sqlalchemy import make_url

from core.settings import ServiceSettings, Settings, parse
from core.settings_sources import ENV_PREFIX
from tests.support.plain_yaml import NotPlain, read_yaml
from wecom_crm.cli import app
from wecom_crm.serve import DRAIN_SECONDS

ROOT = Path(__file__).parents[2]
COMPOSE = read_yaml((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DEFAULTS = {name: field.default for name, field in ServiceSettings.model_fields.items()}
# Typer brings a click of its own and has no other name for it.
USAGE_ERROR: Any
(USAGE_ERROR,) = typer.BadParameter.__bases__
OWN_FILE = "wecom-crm.toml"
"""Written by whoever uses it."""


def instructions() -> list[tuple[str, str]]:
    """The lines of the Dockerfile, continued ones joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    pairs = [line.partition(" ") for line in lines if line]
    return [(name, rest) for name, _, rest in pairs]


DOCKERFILE = instructions()


def said(instruction: str) -> list[str]:
    return [rest for name, rest in DOCKERFILE if name == instruction]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in said("ENV") for pair in rest.split())


def ignored() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def settings_of(service: dict[str, Any]) -> Settings:
    """What our command would read there, with the smallest file."""
    given = service["environment"]
    environ = image_environment() | {name: re.sub(r"\$\{\w+:\?[^}]*\}", "0" * 32, text) for name, text in given.items()}
    document = {
        "service": {"secret_key": "k" * 32},
        "corp": [{"corpid": "ww1", "agent": [{"agentid": 1, "secret": "s", "customer_data": True}]}],
    }
    return parse(document, {name: text for name, text in environ.items() if name != f"{ENV_PREFIX}CONFIG"})


def taken(words: list[str]) -> bool:
    """Whether ``wecom-crm`` takes these arguments."""
    command: Any = typer.main.get_command(app)
    left = list(words)
    while hasattr(command, "commands"):
        if not left or left[0] not in command.commands:
            return False
        command = command.commands[left.pop(0)]
    try:
        command.make_context("wecom-crm", left)
    except USAGE_ERROR:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    ["a: 1\n  b: 2", "a:\n", "a: yes", "a: b c", 'a: "b', "a: 1\na: 2", "- 1\na: 2", "\ta: 1", "a: *b", "<<: *b", "a"],
)
def test_what_is_no_plain_yaml_is_refused(text: str) -> None:
    with pytest.raises(NotPlain):
        read_yaml(text)


def test_plain_yaml_is_read_as_it_is() -> None:
    text = '# x\nb: &base\n  k: [1, "x"]\n  l: w\n\na:\n  <<: *base\n  l:\n    - "y"\n    - z\n  m: {}\n'
    assert read_yaml(text)["a"] == {"k": [1, "x"], "l": ["y", "z"], "m": {}}


def test_what_is_started() -> None:
    assert {name: service["command"] for name, service in OURS.items()} == {
        "migrate": ["migrate"],
        "topics": ["topics", "create"],
        "ingest": ["serve", "ingest"],
        "sync": ["serve", "sync"],
    }
    assert OURS["sync"]["deploy"]["replicas"] == 2


def test_every_command_exists() -> None:
    assert not taken(["serve", "everything"])
    assert not taken(["topics", "make"])
    (entrypoint,) = said("ENTRYPOINT")
    (word,) = json.loads(entrypoint)
    assert word in PROJECT["project"]["scripts"]
    commands = [json.loads(rest) for rest in said("CMD")] + [service["command"] for service in OURS.values()]
    assert [words for words in commands if not taken(words)] == []


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_variable_is_taken_and_leads_to_a_service(name: str) -> None:
    settings = settings_of(OURS[name])
    assert settings.service.host == "0.0.0.0"
    database = make_url(settings.database.url)
    postgres = SERVICES[database.host or ""]["environment"]
    assert (database.username, database.database) == (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"])
    assert settings.kafka is not None
    listeners = SERVICES[settings.kafka.bootstrap_servers.partition(":")[0]]["environment"]
    assert listeners["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{settings.kafka.bootstrap_servers}"


def test_the_file_that_is_mounted_is_the_one_that_is_read() -> None:
    path = image_environment()[f"{ENV_PREFIX}CONFIG"]
    assert [name for name, service in OURS.items() if f"./{OWN_FILE}:{path}:ro" not in service["volumes"]] == []


def test_ports_are_those_of_the_configuration() -> None:
    assert OURS["ingest"]["ports"] == [f"127.0.0.1:{DEFAULTS['port']}:{DEFAULTS['port']}"]
    assert said("EXPOSE") == [str(DEFAULTS["port"])]
    for service in SERVICES.values():
        assert str(DEFAULTS["admin_port"]) not in str(service.get("ports", ""))


def test_the_event_log_is_on_a_volume() -> None:
    folder = settings_of(OURS["ingest"]).service.data_dir
    assert said("VOLUME") == [str(folder)]
    mounts = dict(volume.split(":")[1::-1] for volume in OURS["ingest"]["volumes"])
    assert mounts[str(folder)] in COMPOSE["volumes"]


def test_every_path_exists() -> None:
    for service in SERVICES.values():
        if "build" in service:
            assert (ROOT / service["build"] / "Dockerfile").is_file()
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or source.removeprefix("./") == OWN_FILE
    copied = [rest.split()[:-1] for rest in said("COPY") if not rest.startswith("--from")]
    assert [path for paths in copied for path in paths if not (ROOT / path).exists()] == []
    assert [name for line in ignored() if (name := line.removeprefix("!")) != line and not (ROOT / name).exists()] == []


def test_the_build_gets_all_that_the_wheel_is_made_of() -> None:
    build = PROJECT["tool"]["hatch"]["build"]["targets"]
    needed = {*build["wheel"]["packages"], *PROJECT["project"]["license-files"], PROJECT["project"]["readme"]}
    needed |= {path.removeprefix("/") for path in build["sdist"]["include"]} | {"pyproject.toml", "requirements.lock"}
    assert needed <= {line.removeprefix("!") for line in ignored() if line.startswith("!")}
    assert ignored()[0] == "*"


def test_dependencies_are_installed_by_their_hashes_and_not_as_root() -> None:
    runs = said("RUN")
    assert any("--require-hashes" in run and "requirements.lock" in run for run in runs)
    assert any(f"useradd --system --uid 10001 --no-create-home {user}" in run for run in runs for user in said("USER"))
    names = [name for name, _ in DOCKERFILE]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "RUN" not in names[names.index("USER") :]


def test_versions_are_those_that_are_tested() -> None:
    pom = (ROOT / "tests" / "support" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    version = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([\d.]+)</version>", pom)
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"
    for image in said("FROM"):
        release = image.removeprefix("python:").partition("-")[0]
        assert f"Programming Language :: Python :: {release}" in PROJECT["project"]["classifiers"]


def test_whoever_is_waited_for_exists_and_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            else:
                assert (wait["condition"], SERVICES[name]["restart"]) == ("service_completed_successfully", "no")


def test_an_orderly_end_has_the_time_that_it_takes() -> None:
    assert {service["stop_grace_period"] for service in OURS.values()} == {"15s"}
    assert DRAIN_SECONDS + 2 < 15


def test_kafka_s_listeners_fit_together() -> None:
    kafka = SERVICES["kafka"]["environment"]
    ports = {
        name: urlsplit(f"{name}{rest}").port for name, rest in re.findall(r"(\w+)(:[^,]+)", kafka["KAFKA_LISTENERS"])
    }
    assert ports.keys() == {kafka["KAFKA_INTER_BROKER_LISTENER_NAME"], kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{kafka['KAFKA_NODE_ID']}@kafka:{ports['CONTROLLER']}"
    assert f":{ports['PLAINTEXT']}" in kafka["KAFKA_ADVERTISED_LISTENERS"]
    assert f"localhost:{ports['PLAINTEXT']}" in SERVICES["kafka"]["healthcheck"]["test"]
    # Base64 of 16 bytes, as Kafka writes its ids.
    assert re.fullmatch(r"[\w-]{22}", kafka["CLUSTER_ID"])
