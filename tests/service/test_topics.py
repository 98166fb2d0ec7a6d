"""``wecom-crm topics`` against a real broker, and its judgement of topics that one broker can't have."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from core.eventlog.kafka_cluster import NO_LEADER, Partition, TopicView
from core.settings import KafkaSettings
from tests.support.kafka_topics import kafka_settings
from tests.support.servers.kcat import Kcat
from wecom_crm.cli import app
from wecom_crm.topics import compare, wanted_configs

GOOD = {**wanted_configs(3), "max.message.bytes": "1048588", "retention.bytes": "-1"}


def run(tmp_path: Path, command: str, kafka: str | None, topic: str = "", **keys: int) -> Result:
    config = tmp_path / "wecom-crm.toml"
    table = f'[kafka]\nbootstrap_servers = "{kafka}"\ntopic = "{topic}"\n' if kafka else ""
    table += "".join(f"{key} = {value}\n" for key, value in keys.items())
    config.write_text(
        f'[service]\nsecret_key = "{"s" * 32}"\n{table}'
        '[[corp]]\ncorpid = "ww1"\n[[corp.agent]]\nagentid = 1\nsecret = "x"\ncustomer_data = true\n'
    )
    return CliRunner().invoke(app, ["--config", str(config), "topics", *command.split()])


def test_a_topic_is_made_checked_and_left_alone(tmp_path: Path, kafka: str, topic: str, kcat: Kcat) -> None:
    made = run(tmp_path, "create", kafka, topic, partitions=4)
    assert made.exit_code == 0
    assert f"The topic {topic} was made: 4 partitions, 1 replica, kept for 30 days." in made.output
    assert "warning: it has 1 replica: a broker's disk that breaks takes events with it" in made.output
    assert "with 4 partitions" in kcat(kafka, "-L", "-t", topic)
    checked = run(tmp_path, "check", kafka, topic, partitions=4)
    assert checked.exit_code == 0
    assert "problem" not in checked.output
    assert checked.output.count("warning") == 1
    again = run(tmp_path, "create", kafka, topic, partitions=4)
    assert again.exit_code == 0
    assert "exists and was left as it is: 4 partitions, 1 replica." in again.output


def test_partitions_are_added_only_when_that_was_asked_for(tmp_path: Path, kafka: str, topic: str, kcat: Kcat) -> None:
    run(tmp_path, "create", kafka, topic, partitions=2)
    refused = run(tmp_path, "create", kafka, topic, partitions=5)
    assert refused.exit_code == 1
    assert "problem: it has 2 partitions, and the configuration says 5" in refused.output
    assert "with 2 partitions" in kcat(kafka, "-L", "-t", topic)
    assert run(tmp_path, "check", kafka, topic, partitions=5).exit_code == 1
    added = run(tmp_path, "create --add-partitions", kafka, topic, partitions=5)
    assert added.exit_code == 0
    assert "has 5 partitions now" in added.output
    assert "with 5 partitions" in kcat(kafka, "-L", "-t", topic)
    more = run(tmp_path, "check", kafka, topic, partitions=3)
    assert more.exit_code == 0
    assert "warning: it has 5 partitions, and the configuration says 3" in more.output


def test_what_can_not_be_made_or_found_is_said(tmp_path: Path, kafka: str, topic: str) -> None:
    missing = run(tmp_path, "check", kafka, topic)
    assert missing.exit_code == 1
    assert f"there is no topic {topic}: make it with wecom-crm topics create" in missing.stderr
    too_many = run(tmp_path, "create", kafka, topic, replication_factor=3)
    assert too_many.exit_code == 1
    assert "replication_factor = 3 needs as many brokers, and there are fewer" in too_many.stderr
    away = run(tmp_path, "check", "127.0.0.1:1", topic)
    assert away.exit_code == 1
    assert "the broker 127.0.0.1:1 can't be reached: Connection refused" in away.stderr


def test_without_kafka_in_the_configuration_there_is_nothing_to_do(tmp_path: Path) -> None:
    for command in ("create", "check"):
        result = run(tmp_path, command, None)
        assert result.exit_code == 2
        assert "There is no [kafka] table" in result.stderr


def settings(**more: int) -> KafkaSettings:
    return kafka_settings("broker:9092", "t", replication_factor=3, **more)


def view(count: int = 6, replicas: tuple[int, ...] = (1, 2, 3), **changes: object) -> TopicView:
    whole = Partition(1, replicas, replicas)
    partitions = dict.fromkeys(range(count), whole)
    if "leader" in changes or "in_sync" in changes:
        partitions[2] = Partition(int(str(changes.get("leader", 1))), replicas, (1,))
    return TopicView("cluster", "topic", partitions, {})


def test_a_topic_that_is_as_it_should_be() -> None:
    found = compare(settings(), view(), GOOD)
    assert (found.problems, found.warnings) == ([], [])


@pytest.mark.parametrize(
    ("topic", "configs", "problem"),
    [
        (view(count=5), {}, "it has 5 partitions, and the configuration says 6"),
        (view(leader=NO_LEADER), {}, "partitions 2 have no leader"),
        (view(), {"min.insync.replicas": "4"}, "min.insync.replicas is 4 with 3 replicas: nothing can be written"),
        (view(), {"cleanup.policy": "compact,delete"}, "cleanup.policy has compact"),
        (view(), {"max.message.bytes": "100000"}, "max.message.bytes is below 400000"),
    ],
)
def test_what_loses_or_stops_events_is_a_problem(topic: TopicView, configs: dict[str, str], problem: str) -> None:
    found = compare(settings(), topic, GOOD | configs)
    assert [words.startswith(problem) for words in found.problems] == [True]


@pytest.mark.parametrize(
    ("topic", "configs", "warnings"),
    [
        (view(replicas=(1, 2)), {}, ["it has 2 replicas: a broker's disk", "it has 2 replicas, and the configuration"]),
        (view(count=7), {}, ["it has 7 partitions, and the configuration says 6; all of them are used"]),
        (view(in_sync=1), {}, ["partitions 2 have replicas that are not in sync"]),
        (view(), {"min.insync.replicas": "1"}, ["min.insync.replicas is 1: a record counts as written when one"]),
        (view(), {"retention.ms": "604800000"}, ["it keeps records for 7 days."]),
        (view(), {"retention.bytes": "1000"}, ["retention.bytes is set"]),
    ],
)
def test_what_may_be_wanted_is_a_warning(topic: TopicView, configs: dict[str, str], warnings: list[str]) -> None:
    found = compare(settings(), topic, GOOD | configs)
    assert found.problems == []
    assert [said.startswith(words) for said, words in zip(found.warnings, warnings, strict=True)] == [True] * len(
        warnings
    )


def test_records_may_be_kept_for_ever() -> None:
    assert compare(settings(), view(), GOOD | {"retention.ms": "-1"}).warnings == []
