"""The CRM database: one engine, short transactions, and what its errors mean.

``write`` is a transaction that writes, ``read`` one that only reads, ``look`` reads without one. On SQLite a writer
begins with BEGIN IMMEDIATE, because a read that grows into a write fails at once, whatever the busy timeout, and
the writers of one process queue up in front of it instead of in busy loops.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, event, literal_column, make_url, select, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from core.db.bulk import as_dicts
from core.db.looks import Ask, Looks, Row
from core.logs import get_logger

_log = get_logger(__name__)

STATEMENT_SECONDS = 30.0
LOCK_SECONDS = 10
"""A server lets a statement wait for a lock that long."""
IDLE_TRANSACTION_SECONDS = 20
"""A server ends a transaction in which nothing was asked for that long: no work of ours pauses inside one."""
IDLE_SECONDS = 5.0
"""A connection to PostgreSQL that was not used for longer is asked whether it is alive."""

_WRITES = "wecom_crm_writes"
_RETURNED = "wecom_crm_returned"

T = TypeVar("T")

_CLOCKS = {
    # Not now() or CURRENT_TIMESTAMP: those stand still inside a transaction, or have whole seconds.
    "postgresql": "clock_timestamp()",
    "mysql": "UTC_TIMESTAMP(6)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
}

# SQLSTATE classes and codes after which the same transaction may succeed: connection lost, serialization,
# deadlock, disk full, out of memory or connections, lock time-out, server going down or coming up, a server that only
# reads (its successor does more).
_PASSING_SQLSTATE = ("08", "25006", "40001", "40P01", "53", "55P03", "57014", "57P01", "57P02", "57P03")
# MySQL and MariaDB: changed meanwhile, disk full, out of memory or connections, server shutting down, table full, lock
# wait, deadlock, a server that only reads, statement or connection killed, connection lost, statement time-out.
_PASSING_MYSQL = frozenset(
    {
        *(1020, 1021, 1037, 1038, 1040, 1041, 1053, 1080, 1114, 1152, 1158, 1159, 1160, 1161),
        *(1205, 1213, 1290, 1317, 1927, 1969, 2002, 2003, 2006, 2013, 3024, 4031),
    }
)
# SQLite's primary codes: busy, locked, I/O error, disk full, file can't be opened, locking protocol.
_PASSING_SQLITE = frozenset({5, 6, 10, 13, 14, 15})

_LOCK_NOT_AVAILABLE = "55P03"
_APPLICATION = "wecom-crm"
_END_HALVES = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND application_name = :application"
    # With a transaction id: one that only reads holds up nobody, and may take its time with what it gets.
    " AND state = 'active' AND wait_event IN ('ClientRead', 'ClientWrite') AND backend_xid IS NOT NULL"
    " AND query_start < clock_timestamp() - make_interval(secs => :seconds)"
)


class Database:
    """An engine for one of the supported databases. Nothing is connected until the first transaction."""

    def __init__(self, url: str, *, pool_size: int = 5, statement_seconds: float = STATEMENT_SECONDS) -> None:
        """``url`` is an SQLAlchemy address; ``pool_size`` bounds the connections kept (twice as many at a peak), and on
        PostgreSQL also those of ``look``, which are further ones.

        A server ends a statement after ``statement_seconds``; 0: never, and a server that hangs is waited for.
        """
        self._engine = _engine(url, pool_size, statement_seconds)
        self.dialect = self._engine.dialect.name
        """``sqlite``, ``postgresql`` or ``mysql`` (MariaDB too)."""
        self._writers = asyncio.Lock() if self.dialect == "sqlite" else None
        self._looks: Looks | None = None
        if self.dialect == "postgresql":
            self._looks = Looks(self._engine.dialect, url, pool_size, _for_postgresql(statement_seconds))

    @property
    def engine(self) -> AsyncEngine:
        """For the migrations, which bring their own transactions."""
        return self._engine

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end of the block, rolled back if it raises."""
        async with self._writers or nullcontext(), self._engine.connect() as plain:
            conn = await plain.execution_options(**{_WRITES: True})
            try:
                async with conn.begin():
                    yield conn
            except DBAPIError as error:
                if self.dialect == "postgresql" and _sqlstate(error) == _LOCK_NOT_AVAILABLE:
                    await self._end_halves(plain)
                raise

    async def _end_halves(self, conn: AsyncConnection) -> None:
        """End the sessions of ours that stand still in the middle of a statement, with all their locks.

        A statement is prepared and executed in two messages, and a process frozen or unplugged between the two is not
        idle for the server: none of its time limits counts then, and others would wait for those locks for ever.
        """
        ours = {"application": _APPLICATION, "seconds": IDLE_TRANSACTION_SECONDS}
        try:
            async with conn.begin():
                ended = (await conn.execute(_END_HALVES, ours)).all()
        except DBAPIError:
            # The database is going away, perhaps: who waits for the lock will come here again.
            return
        if ended:
            _log.warning("database.ended", sessions=len(ended), reason="stood still in the middle of a statement")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees a consistent state (SQLite) or committed statements (the servers)."""
        async with self._engine.connect() as conn, conn.begin():
            yield conn

    async def look(self, work: Callable[[Ask], Awaitable[T]]) -> T:
        """What ``work`` finds with queries that need not see one state, without a transaction where one costs time.

        On PostgreSQL ``work`` is called again, once, if the connection is lost on the way.
        """
        if self._looks is not None:
            return await self._looks.look(work)
        async with self.read() as conn:
            return await work(partial(_ask, conn))

    async def clock(self, conn: AsyncConnection) -> datetime:
        """The database's clock now, not at the transaction's start: the one clock that all processes share."""
        return as_moment((await conn.execute(select(self.clock_column()))).scalar_one())

    def clock_column(self) -> ColumnElement[Any]:
        """The same as a column of a query, whose value is for ``as_moment``."""
        return literal_column(_CLOCKS[self.dialect])

    async def close(self) -> None:
        """Let go of every connection."""
        if self._looks is not None:
            await self._looks.close()
        await self._engine.dispose()


async def _ask(conn: AsyncConnection, sql: str, values: Sequence[Any]) -> list[Row]:
    return as_dicts(await conn.exec_driver_sql(sql, tuple(values)))


def as_moment(value: str | datetime) -> datetime:
    """What a database says of its clock."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction, run again later, may succeed (database away, deadlock, lock time-out)."""
    if isinstance(error, PoolTimeout | ConnectionError | TimeoutError | OSError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    driver = error.orig
    if type(driver).__name__ == "InvalidCachedStatementError":
        # asyncpg, once per connection after a migration: its plans are dropped by that.
        return True
    if _sqlstate(error).startswith(_PASSING_SQLSTATE):
        return True
    code = driver.args[0] if driver is not None and driver.args else None
    if isinstance(code, int):
        return code in _PASSING_MYSQL
    return getattr(driver, "sqlite_errorcode", 0) & 0xFF in _PASSING_SQLITE


def name_of(error: BaseException) -> str:
    """What to call an error in a log: its class and a server's code for it, never its text, which may quote a row."""
    code = _sqlstate(error) if isinstance(error, DBAPIError) else ""
    return f"{type(error).__name__} {code}".rstrip()


def _sqlstate(error: DBAPIError) -> str:
    found = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return found if isinstance(found, str) else ""


def _engine(url: str, pool_size: int, statement_seconds: float) -> AsyncEngine:
    # hide_parameters: an error's text must not carry a customer's name into a log.
    options: dict[str, Any] = {"hide_parameters": True, "json_serializer": _json}
    if not url.startswith("sqlite"):
        # recycle: a proxy or the server may close what was idle for long; pre_ping finds the rest. PostgreSQL has
        # _check_before_use, because a ping is three round trips there.
        options |= {"pool_size": pool_size, "max_overflow": pool_size, "pool_timeout": 5}
        options |= {"pool_recycle": 1800, "pool_pre_ping": not url.startswith("postgresql")}
    if url.startswith("postgresql"):
        options["connect_args"] = _for_postgresql(statement_seconds)
    elif url.startswith(("mysql", "mariadb")):
        # READ COMMITTED: fewer gap locks, so fewer deadlocks between upserts of neighbouring keys.
        options |= {"isolation_level": "READ COMMITTED"}
        options["connect_args"] = {
            "connect_timeout": 5,
            "read_timeout": _patience(statement_seconds),
            "charset": "utf8mb4",
            "init_command": f"SET time_zone = '+00:00', innodb_lock_wait_timeout = {LOCK_SECONDS}, "
            "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ANSI_QUOTES'"
            # Not really comments: each server reads its own one. MySQL can limit queries only.
            f" /*M!100108 , max_statement_time = {statement_seconds} */"
            f" /*M!100300 , idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS} */"
            f" /*!80000 , max_execution_time = {statement_seconds * 1000:.0f} */",
        }
        # The address may name either server; the driver tells which one answered.
        url = make_url(url).set(drivername="mysql+asyncmy").render_as_string(hide_password=False)
    engine = create_async_engine(url, **options)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        event.listen(engine.sync_engine, "invalidate", _end_sqlite)
    elif engine.dialect.name == "postgresql":
        _check_before_use(engine.sync_engine)
    return engine


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _for_postgresql(statement_seconds: float) -> dict[str, Any]:
    settings = {"application_name": _APPLICATION, "lock_timeout": f"{LOCK_SECONDS * 1000}"}
    # A moment without a zone, in JSON say, is one in UTC.
    settings |= {"timezone": "UTC"}
    settings |= {"statement_timeout": f"{statement_seconds * 1000:.0f}"}
    # A process that is frozen in the middle holds up all others that long.
    settings |= {"idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_SECONDS * 1000}"}
    return {"timeout": 5, "command_timeout": _patience(statement_seconds), "server_settings": settings}


def _patience(statement_seconds: float) -> float | None:
    # For a server that hangs and can't end the statement itself; a little later, so that one that can is heard.
    return statement_seconds * 1.5 or None


def _check_before_use(engine: Engine) -> None:
    """Give out no connection that the server has closed.

    The driver hears of that from the loop, at no cost. What it can't hear of is a firewall or a balancer between the
    two that forgot the connection, which happens to one that is idle: only then a ping is worth its round trips.
    """
    dialect = engine.dialect

    def returned(_connection: object, record: Any) -> None:
        record.info[_RETURNED] = time.monotonic()

    def taken(connection: Any, record: Any, _proxy: object) -> None:
        if connection.driver_connection.is_closed():
            raise DisconnectionError("the server has closed this connection")
        # A new one has no such entry: the pool empties ``info`` when it connects again.
        since = record.info.get(_RETURNED)
        if since is None or time.monotonic() - since < IDLE_SECONDS:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            if not dialect.is_disconnect(error, connection, None):
                raise
            # Then the others that were idle are not alive either.
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", returned)
    event.listen(engine, "checkout", taken)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # None: the driver begins nothing by itself, _begin_sqlite does.
    connection.isolation_level = None
    cursor = connection.cursor()
    # NORMAL in WAL mode may lose the last transactions when the power fails, never part of one. The position in
    # the event log is lost with them, so they are applied again.
    for pragma in (f"busy_timeout = {LOCK_SECONDS * 1000}", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    _log_ahead(cursor)
    cursor.close()


def _log_ahead(cursor: Any) -> None:
    # Of two processes that make the file at the same time one is refused at once, whatever the busy timeout.
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in _PASSING_SQLITE or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _end_sqlite(connection: Any, _record: object, _error: object) -> None:
    """End the transaction of a connection that is given up because its task was cancelled.

    The driver only closes it, and a connection with a statement that somebody still refers to (the traceback of the
    cancelled task) is not closed until that is collected: it would keep the write lock. In the driver's thread, after
    what runs there.
    """
    driver = connection.driver_connection
    if driver._connection is not None:
        driver._tx.put_nowait((None, driver._connection.rollback))


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
