"""Fixtures: real servers, started when the first test asks for one and ended with the run.

A server that is named in the environment is used instead and nothing is started: WECOM_CRM_TEST_POSTGRES and
WECOM_CRM_TEST_MARIADB are addresses (``postgresql+asyncpg://…``, ``mysql+asyncmy://…``) of a user who may create
databases, WECOM_CRM_TEST_KAFKA are bootstrap servers. A test that stops or kills its server asks for a private one and
never gets yours. Where a server can't be had the test is skipped, or fails if CI is set.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from tests.support.databases import KINDS, MakeDatabase, database_in, database_on, server_version
from tests.support.migrated import MigratedDatabases, migrated_in
from tests.support.servers import kafka as kafka_server
from tests.support.servers import mariadb, postgres
from tests.support.servers.janitor import watched_folder
from tests.support.servers.kafka import KafkaServer
from tests.support.servers.kafka_cluster import describe_cluster
from tests.support.servers.kcat import Kcat
from tests.support.servers.mariadb import MariadbServer
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.process import Server
from tests.support.servers.software import Unavailable

S = TypeVar("S", bound=Server)
T = TypeVar("T")

_USED = pytest.StashKey[dict[str, str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which servers the run really used, and what it measured."""
    for name, words in config.stash.get(_USED, {}).items():
        terminalreporter.write_line(f"{name}: {words}")


@pytest.fixture
def note(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Takes a name and a figure that a test measured, for the end of the run."""
    return partial(_note, pytestconfig)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """Where the run's servers keep their data; gone with the run, and they with it."""
    with watched_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres_server(servers_folder: Path, pytestconfig: pytest.Config) -> Iterator[str]:
    """The address of the run's PostgreSQL, for a user who may create databases."""
    with _given_or_started(postgres.VARIABLE, lambda: PostgresServer(servers_folder, durable=False)) as address:
        _note(pytestconfig, "PostgreSQL", _ask(server_version(address)))
        yield address


@pytest.fixture(scope="session")
def mariadb_server(servers_folder: Path, pytestconfig: pytest.Config) -> Iterator[str]:
    """The address of the run's MariaDB (or MySQL), for a user who may create databases."""
    with _given_or_started(mariadb.VARIABLE, lambda: MariadbServer(servers_folder, durable=False)) as address:
        _note(pytestconfig, "MariaDB", _ask(server_version(address)))
        yield address


@pytest.fixture(scope="session")
def kafka(servers_folder: Path, pytestconfig: pytest.Config) -> Iterator[str]:
    """The bootstrap servers of the run's Kafka."""
    started: list[KafkaServer] = []

    def make() -> KafkaServer:
        started.append(KafkaServer(servers_folder))
        return started[0]

    with _given_or_started(kafka_server.VARIABLE, make) as address:
        version = f"{started[0].version}, " if started else ""
        _note(pytestconfig, "Kafka", f"{version}cluster {describe_cluster(address).id}")
        yield address


@pytest.fixture(scope="session")
def kcat() -> Kcat:
    """The command kcat."""
    with _or_skipped():
        return Kcat()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic name that nobody else uses; the topic is not made."""
    return f"{re.sub('[^A-Za-z0-9]+', '-', request.node.name)[:100]}-{secrets.token_hex(4)}"


@pytest_asyncio.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """An empty database on PostgreSQL."""
    async with database_on(postgres_server) as url:
        yield url


@pytest_asyncio.fixture
async def mariadb_url(mariadb_server: str) -> AsyncIterator[str]:
    """An empty database on MariaDB."""
    async with database_on(mariadb_server) as url:
        yield url


@pytest.fixture(params=KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """``sqlite``, ``postgresql``, ``mariadb``: the test runs on each."""
    return str(request.param)


@pytest.fixture
def make_database(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> MakeDatabase:
    """Makes empty databases of this kind."""
    if database_kind == "sqlite":
        return partial(database_in, tmp_path)
    server = {"postgresql": "postgres_server", "mariadb": "mariadb_server"}[database_kind]
    return partial(database_on, request.getfixturevalue(server))


@pytest_asyncio.fixture
async def database_url(make_database: MakeDatabase) -> AsyncIterator[str]:
    """An empty database of each kind."""
    async with make_database() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_on_postgres(postgres_server: str) -> Iterator[MigratedDatabases]:
    """The run's migrated databases on PostgreSQL."""
    yield from _migrated_on(postgres_server)


@pytest.fixture(scope="session")
def migrated_on_mariadb(mariadb_server: str) -> Iterator[MigratedDatabases]:
    """The run's migrated databases on MariaDB."""
    yield from _migrated_on(mariadb_server)


@pytest.fixture
def make_migrated(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> MakeDatabase:
    """Gives migrated databases of this kind."""
    if database_kind == "sqlite":
        return partial(migrated_in, tmp_path)
    databases: MigratedDatabases = request.getfixturevalue(
        {"postgresql": "migrated_on_postgres", "mariadb": "migrated_on_mariadb"}[database_kind]
    )
    return databases.lent


@pytest_asyncio.fixture
async def migrated_url(make_migrated: MakeDatabase) -> AsyncIterator[str]:
    """A database of each kind with this release's tables, and no rows."""
    async with make_migrated() as url:
        yield url


@pytest.fixture
def private_postgres(servers_folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that keeps what it confirmed, for a test that kills it."""
    with _started(lambda: PostgresServer(servers_folder)) as server:
        yield server


@pytest.fixture
def private_mariadb(servers_folder: Path) -> Iterator[MariadbServer]:
    """A MariaDB that keeps what it confirmed, for a test that kills it."""
    with _started(lambda: MariadbServer(servers_folder)) as server:
        yield server


@pytest.fixture
def private_kafka(servers_folder: Path) -> Iterator[KafkaServer]:
    """A Kafka broker for a test that kills or freezes it."""
    with _started(lambda: KafkaServer(servers_folder)) as server:
        yield server


@contextmanager
def _given_or_started(variable: str, make: Callable[[], Server]) -> Iterator[str]:
    if given := os.environ.get(variable):
        yield given
    else:
        with _started(make) as server:
            yield server.address


@contextmanager
def _started(make: Callable[[], S]) -> Iterator[S]:
    with _or_skipped():
        server = make()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def _or_skipped() -> Iterator[None]:
    try:
        yield
    except Unavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))


def _migrated_on(server: str) -> Iterator[MigratedDatabases]:
    databases = MigratedDatabases(server)
    yield databases
    _ask(databases.close())


def _note(config: pytest.Config, name: str, words: str) -> None:
    config.stash.setdefault(_USED, {})[name] = words


def _ask(question: Coroutine[Any, Any, T]) -> T:
    # In a thread: a loop may be running here already.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, question).result()
