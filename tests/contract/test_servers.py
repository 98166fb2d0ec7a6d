"""The servers of the test run: they start, die and come back with their data, and nothing of them is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.support.servers import fixtures
from tests.support.servers.kafka import KafkaServer
from tests.support.servers.kafka_cluster import describe_cluster
from tests.support.servers.kcat import Kcat
from tests.support.servers.mariadb import MariadbServer
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.process import HOST
from tests.support.servers.software import found_or_installed
from tests.support.waiting import until

PROJECT = Path(__file__).parents[2]


def test_kafka_comes_back_with_its_data(servers_folder: Path, kcat: Kcat, topic: str) -> None:
    server = KafkaServer(servers_folder, {"auto.create.topics.enable": "true"})
    server.start()
    try:
        kcat(server.address, "-P", "-t", topic, "-X", "acks=all", given="one\n")
        first = server.pid
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            describe_cluster(server.address)
        server.start()
        assert server.pid != first
        assert describe_cluster(server.address).id == server.cluster_id
        kcat(server.address, "-P", "-t", topic, "-X", "acks=all", given="two\n")
        server.stop()
        server.start()
        assert kcat(server.address, "-C", "-t", topic, "-e", "-q", "-o", "beginning") == "one\ntwo\n"
    finally:
        server.stop()


def test_a_frozen_kafka_keeps_its_connections_and_is_silent(private_kafka: KafkaServer) -> None:
    private_kafka.freeze()
    with pytest.raises(TimeoutError):
        describe_cluster(private_kafka.address, timeout=0.5)
    private_kafka.thaw()
    private_kafka.wait_until_ready()
    private_kafka.freeze()
    # Stopping works on a frozen one too.
    began = time.monotonic()
    private_kafka.stop()
    assert time.monotonic() - began < 15


def test_topics_are_not_made_by_asking_for_them(kafka: str, kcat: Kcat, topic: str) -> None:
    assert "Unknown topic" in kcat(kafka, "-L", "-t", topic)
    assert topic not in kcat(kafka, "-L")


def test_a_server_that_cannot_start_says_why(servers_folder: Path) -> None:
    server = PostgresServer(servers_folder, durable=False)
    with socket.create_server((HOST, server.port)), pytest.raises(RuntimeError, match="Address already in use"):
        server.start()


_RUN = """
import signal, sys
from tests.support.servers.janitor import watched_folder
from tests.support.servers.{module} import {server}

# A shell's background job is started with SIGINT ignored, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
with watched_folder() as folder:
    server = {server}(folder, durable=False)
    server.start()
    print(server.pid, folder, flush=True)
    signal.pause()
"""


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("server", "how"),
    [(PostgresServer, signal.SIGKILL), (MariadbServer, signal.SIGKILL), (MariadbServer, signal.SIGINT)],
)
async def test_nothing_is_left_of_a_run_that_is_cut_short(server: type, how: signal.Signals) -> None:
    code = _RUN.format(module=server.__module__.rpartition(".")[2], server=server.__name__)
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=PROJECT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert run.stdout is not None
    pid, folder = (await run.stdout.readline()).decode().split()
    left = [Path("/proc", pid), Path(folder)]
    assert [path.exists() for path in left] == [True, True]
    run.send_signal(how)
    async with asyncio.timeout(30):
        await run.wait()
    await until(lambda: [path.exists() for path in left] == [False, False])


def test_an_address_in_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECOM_CRM_TEST_KAFKA", "broker:9092")

    def start() -> KafkaServer:
        raise AssertionError("nothing may be started")

    with fixtures._given_or_started("WECOM_CRM_TEST_KAFKA", start) as address:
        assert address == "broker:9092"


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), (None, pytest.skip.Exception)])
def test_what_is_missing_fails_on_ci_and_is_skipped_elsewhere(
    ci: str | None, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    if ci:
        monkeypatch.setenv("CI", ci)
    # Nobody but root could install it.
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with (
        pytest.raises(outcome, match="Kafka is missing: apt-get install kafka, or name a server in KAFKA"),
        fixtures._started(lambda: found_or_installed("Kafka", lambda: None, ["kafka"], "KAFKA")),
    ):
        pass
