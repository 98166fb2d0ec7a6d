"""Apache Kafka for the test run: one broker that is its own controller, from Kafka's published jars."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from uuid import uuid4

from tests.support.servers.kafka_cluster import describe_cluster
from tests.support.servers.process import HOST, Server, free_port
from tests.support.servers.software import Unavailable, found_or_installed, program

VARIABLE = "WECOM_CRM_TEST_KAFKA"

_PROJECT = Path(__file__).parents[3]
_POM = _PROJECT / "tests" / "support" / "kafka" / "pom.xml"
_LOG_SETTINGS = _POM.with_name("log4j2.properties")
# One compiler is enough for a broker that lives for minutes.
_QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


class KafkaServer(Server):
    """A broker of one's own. Topics are not made by themselves."""

    name = "kafka"

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        """``settings`` are more lines for server.properties."""
        self._java = found_or_installed("Java", lambda: program("java"), ["default-jre-headless"], VARIABLE)
        self._jars = kafka_jars()
        super().__init__(home)
        self._quick_start = self._options(home)
        self._settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.data),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            # With the defaults (9 s) a broker that was killed and started again is of no use for 15 s.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "300",
        } | self._listeners()
        self._settings |= settings or {}
        (core,) = self._jars.glob("kafka_2.13-*.jar")
        self.version = core.stem.partition("-")[2]
        # A leading dash would be taken for an option.
        self.cluster_id = "A" + urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")[1:]

    @property
    def address(self) -> str:
        """The bootstrap server for clients."""
        return f"{HOST}:{self.port}"

    def prepare(self) -> None:
        lines = "".join(f"{name}={value}\n" for name, value in self._settings.items())
        self._properties.write_text(lines)
        self.run(
            *(self._java, "-Xmx64m", *self._quick_start, "-cp", f"{self._jars}/*", "kafka.tools.StorageTool", "format"),
            *("-t", self.cluster_id, "-c", str(self._properties)),
        )

    def command(self) -> list[str]:
        return [
            *(self._java, "-Xms256m", "-Xmx256m", *self._quick_start, f"-Dlog4j2.configurationFile={_LOG_SETTINGS}"),
            *("-cp", f"{self._jars}/*", "kafka.Kafka", str(self._properties)),
        ]

    def answers(self) -> bool:
        return self.port in describe_cluster(self.address, timeout=1).ports

    def freeze(self) -> None:
        """Let it keep its connections and answer nothing; returns when the last of its threads stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 5
        while not all(map(_stands, Path(f"/proc/{self.pid}/task").iterdir())):
            if time.monotonic() > deadline:
                raise TimeoutError("the broker does not stand still")
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _options(self, home: Path) -> tuple[str, ...]:
        archive = class_archive(self._java, self._jars, home)
        return _QUICK_START if archive is None else (*_QUICK_START, f"-XX:SharedArchiveFile={archive}")

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _listeners(self) -> dict[str, str]:
        controller = f"{HOST}:{free_port()}"
        return {
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
        }


class _ArchivingServer(KafkaServer):
    """A broker that writes down the classes that it has loaded when it ends."""

    def _options(self, home: Path) -> tuple[str, ...]:
        return _QUICK_START

    def command(self) -> list[str]:
        java, *rest = super().command()
        # A Java without such archives takes no notice.
        return [java, "-XX:+IgnoreUnrecognizedVMOptions", f"-XX:ArchiveClassesAtExit={self.archive}", *rest]

    @property
    def archive(self) -> Path:
        return self.folder / "classes.jsa"


@cache
def class_archive(java: str, jars: Path, home: Path) -> Path | None:
    """Kafka's classes as this Java has loaded them before, which halves the time of a start; made the first time.

    None if this Java can't. ``home`` is where the broker that makes it may live.
    """
    program = Path(java).resolve()
    known = f"{program} {program.stat().st_mtime_ns}"
    archive = jars / f"classes-{hashlib.sha256(known.encode()).hexdigest()[:12]}.jsa"
    if not archive.exists():
        server = _ArchivingServer(home)
        try:
            server.start()
        finally:
            server.stop()
        if not server.archive.exists():
            return None
        # Under another name first, so that nobody takes a part for the whole.
        part = archive.with_suffix(f".{os.getpid()}")
        shutil.copyfile(server.archive, part)
        part.rename(archive)
    return archive


def _stands(thread: Path) -> bool:
    # The state follows the name, which is in brackets and may have anything in it.
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return True  # It has ended meanwhile.


def kafka_jars() -> Path:
    """The folder of the jars that the pom names, fetched by Maven the first time."""
    folder = _PROJECT / ".build" / "kafka" / hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    if folder.exists():
        return folder
    maven = found_or_installed("Maven", lambda: program("mvn"), ["maven"], VARIABLE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Into a folder beside it first, so that a broken download or a second run is never taken for the whole.
    fetched = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        goal = [f"--file={_POM}", "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
        done = subprocess.run(
            [maven, "--quiet", "--batch-mode", "--strict-checksums", *goal, "-DincludeScope=runtime"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"Maven can't fetch Kafka's jars; name a broker in {VARIABLE}. {done.stdout[-500:]}")
        if not folder.exists():
            fetched.rename(folder)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
    return folder
