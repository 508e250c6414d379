"""The service's PostgreSQL: a pool whose every operation ends in time, and every failure is counted."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import psycopg2
import sqlalchemy
import structlog
from psycopg2.errors import QueryCanceled, UndefinedTable
from psycopg2.extensions import STATUS_READY
from sqlalchemy import exc
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine.interfaces import DBAPIConnection

from app.database.deadline import DeadlineConnection, QueryDeadlineExceededError
from app.database.failures import ConnectFailure, classify_connect_error
from app.errors import DatabaseUnavailableError
from app.settings import DatabaseTarget
from app.telemetry import metrics
from app.telemetry.limiter import RateLimiter
from app.telemetry.metrics import runtime
from app.telemetry.tracing import Span, SpanKind, recording

PING_DEADLINE_SECONDS = 1.0
PING_IDLE_SECONDS = 1.0
"""A connection that answered less than this ago is not pinged again: it would be a round trip per request."""
POOL_RECYCLE_SECONDS = 1800
IDLE_IN_TRANSACTION_MILLISECONDS = 10_000
"""A process that is stopped in a transaction holds its locks for so long."""
CONNECT_FAILED_LOGS_PER_SECOND = 5
_NOWHERE = f"{os.devnull}/none"  # libpq takes a file that is not there for none

DATABASE_ERRORS = (DatabaseUnavailableError, exc.DBAPIError)
"""What a transaction that failed in the database raises; counted and logged when it does."""

_UNTRACED = nullcontext()

log = structlog.get_logger()


class ConnectError(psycopg2.OperationalError):
    """Connecting failed; ``reason`` says why."""

    def __init__(self, reason: ConnectFailure, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class ConnectOptions:
    """How a connection behaves. Times in seconds."""

    application_name: str
    connect_timeout: int
    query_deadline: float
    read_only: bool = False


def open_connection(target: DatabaseTarget, options: ConnectOptions) -> DeadlineConnection:
    """Connect once. Raises ``psycopg2.OperationalError`` as libpq reports it."""
    # The server is asked to give up a little before the socket is cut: its own error says more.
    statement_timeout_ms = max(1, int(options.query_deadline * 900))
    server_settings = [
        f"statement_timeout={statement_timeout_ms}",
        f"lock_timeout={min(2000, statement_timeout_ms)}",
        f"idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MILLISECONDS}",
    ]
    if options.read_only:
        server_settings.append("default_transaction_read_only=on")
    connection: DeadlineConnection = psycopg2.connect(
        **_target_parameters(target),
        port=target.port,
        dbname=target.name,
        user=target.user,
        password=target.password(),
        sslmode=target.sslmode,
        application_name=options.application_name,
        connect_timeout=target.connect_timeout_seconds or options.connect_timeout,
        options=" ".join(f"-c {setting}" for setting in server_settings),
        connection_factory=DeadlineConnection,
    )
    connection.deadline_seconds = options.query_deadline
    return connection


def _target_parameters(target: DatabaseTarget) -> dict[str, Any]:
    parameters: dict[str, Any] = {"host": target.host}
    if target.addresses:
        # libpq wants a name for each address; certificates are checked against the name.
        parameters["host"] = ",".join([target.host] * len(target.addresses))
        parameters["hostaddr"] = ",".join(target.addresses)
    if target.ca_file is not None:
        parameters["sslrootcert"] = str(target.ca_file)
    if target.isolated:
        parameters |= {"passfile": _NOWHERE, "sslcert": _NOWHERE, "sslkey": _NOWHERE, "gssencmode": "disable"}
    return parameters


class Connector:
    """Makes connections, counts and logs each attempt that fails.

    While attempts fail, at most one is under way: other callers get the last failure at once, so that a
    path that swallows packets holds one thread and not the whole pool.
    """

    def __init__(self, target: DatabaseTarget, options: ConnectOptions) -> None:
        self.target = target
        self.options = options
        self._lock = threading.Lock()
        self._failing: ConnectError | None = None
        self._trying = False
        self._limiter = RateLimiter(CONNECT_FAILED_LOGS_PER_SECOND)

    def connect(self) -> DeadlineConnection:
        """Connect, or fail at once while another caller is finding out whether that works again."""
        with self._lock:
            failing = self._failing
            if failing is not None and self._trying:
                raise ConnectError(failing.reason, str(failing))
            if failing is not None:
                self._trying = True
        try:
            return self.attempt(self.options)
        finally:
            if failing is not None:
                with self._lock:
                    self._trying = False

    def attempt(self, options: ConnectOptions) -> DeadlineConnection:
        """Connect whatever others found."""
        try:
            connection = open_connection(self.target, options)
        except (psycopg2.Error, OSError) as cause:
            error = ConnectError(classify_connect_error(cause), str(cause).strip())
            self._record(error)
            raise error from cause
        with self._lock:
            self._failing = None
        return connection

    def _record(self, error: ConnectError) -> None:
        with self._lock:
            self._failing = error
        metrics.DB_CONNECT_ERRORS.labels(error.reason.value).inc()
        suppressed = self._limiter.allow()
        if suppressed is not None:
            log.error(
                "db_connect_failed",
                reason=error.reason.value,
                target_host=self.target.host,
                target_port=self.target.port,
                error=str(error),
                suppressed=suppressed,
            )


class DeadlineDialect(PGDialect_psycopg2):
    """psycopg2, with a shorter deadline for the ping, and an autocommit that asks nothing of the server.

    psycopg2's ``set_isolation_level`` also sets the session's default back: one more round trip for each
    statement, and when it fails as a connection is given back, the pool has a place less for ever.
    """

    supports_statement_cache = True
    ping_deadline_seconds = PING_DEADLINE_SECONDS
    ping_idle_seconds = PING_IDLE_SECONDS

    def do_ping(self, dbapi_connection: DBAPIConnection) -> bool:
        """Ping. A pooled connection in a black hole must not cost a request its whole deadline."""
        if not isinstance(dbapi_connection, DeadlineConnection):
            return self._ping(dbapi_connection)
        if dbapi_connection.answered_within(self.ping_idle_seconds):
            return True
        seconds = min(self.ping_deadline_seconds, dbapi_connection.deadline_seconds)
        try:
            with dbapi_connection.within(seconds):
                return self._ping(dbapi_connection)
        except QueryDeadlineExceededError as cause:
            record_query_error("deadline", cause)
            raise

    def set_isolation_level(self, dbapi_connection: DBAPIConnection, level: str) -> None:
        """Let a connection commit by itself, or as SQLAlchemy does."""
        if level == "AUTOCOMMIT" and dbapi_connection.status == STATUS_READY:
            dbapi_connection.autocommit = True
        else:
            super().set_isolation_level(dbapi_connection, level)  # type: ignore[no-untyped-call]

    def reset_isolation_level(self, dbapi_connection: DBAPIConnection) -> None:
        """Set a connection that is given back to what it was. A lost one has nothing to be set."""
        if dbapi_connection.closed:
            return
        if dbapi_connection.autocommit:
            dbapi_connection.autocommit = False
        else:
            super().reset_isolation_level(dbapi_connection)  # type: ignore[no-untyped-call]

    def _ping(self, dbapi_connection: DBAPIConnection) -> bool:
        return bool(super().do_ping(dbapi_connection))  # type: ignore[no-untyped-call]


registry.register("postgresql.dcs", __name__, "DeadlineDialect")


def query_failure(error: BaseException | None, *, connection_lost: bool) -> str:
    """Return why an operation on an established connection failed, as in ``dcs_db_query_errors_total``."""
    if isinstance(error, QueryDeadlineExceededError | QueryCanceled):
        return "deadline"
    return "connection_lost" if connection_lost else "other"


def record_query_error(reason: str, error: BaseException) -> None:
    """Count, and for a deadline log, an operation that failed on an established connection."""
    metrics.DB_QUERY_ERRORS.labels(reason).inc()
    if reason == "deadline":
        log.error("db_query_deadline_exceeded", error=str(error).strip())
    else:
        log.error("db_query_failed", reason=reason, error=str(error).strip())


class Database:
    """A pool of connections to one database."""

    def __init__(
        self,
        target: DatabaseTarget,
        options: ConnectOptions,
        *,
        pool_size: int,
        pool_timeout_seconds: float,
    ) -> None:
        self.target = target
        self.connector = Connector(target, options)
        self.engine = sqlalchemy.create_engine(
            "postgresql+dcs://",
            creator=self.connector.connect,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout_seconds,
            pool_pre_ping=True,
            pool_use_lifo=True,
            pool_recycle=POOL_RECYCLE_SECONDS,
            use_native_hstore=False,  # else each new connection asks for a type we do not use
        )
        self._autocommitting = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        pool = self.engine.pool
        assert isinstance(pool, sqlalchemy.QueuePool)  # noqa: S101  a fact about create_engine, for the type checker
        metrics.DB_POOL_CONNECTIONS.labels("in_use").set_function(pool.checkedout)
        metrics.DB_POOL_CONNECTIONS.labels("idle").set_function(pool.checkedin)

    @contextmanager
    def transaction(self) -> Iterator[sqlalchemy.Connection]:
        """Run the body in one transaction, committed at its end.

        Raises:
            DatabaseUnavailableError: The database cannot be used now. ``outcome_unknown`` after a failed
                commit: the transaction may have taken place.

        """
        with self._traced("postgresql transaction"), self._transaction() as connection:
            yield connection

    def _traced(self, name: str) -> AbstractContextManager[object]:
        if not recording():
            return _UNTRACED
        span = Span(name, SpanKind.CLIENT)
        span.set("db.system.name", "postgresql")
        span.set("db.namespace", self.target.name)
        return span

    @contextmanager
    def _transaction(self) -> Iterator[sqlalchemy.Connection]:
        committing = False
        asked_at = time.perf_counter()
        try:
            with self.engine.begin() as connection:
                runtime.DB_POOL_WAIT.observe(time.perf_counter() - asked_at)
                yield connection
                committing = True
        except exc.TimeoutError as cause:
            raise DatabaseUnavailableError("pool_timeout") from cause
        except exc.DBAPIError as cause:
            unavailable = _translate(cause)
            if unavailable is None:
                raise
            unavailable.outcome_unknown = committing
            raise unavailable from cause

    @contextmanager
    def statement(self) -> Iterator[sqlalchemy.Connection]:
        """Run one statement as a transaction of its own.

        It needs no round trips to begin and to commit, and a process that is stopped in the middle leaves no
        transaction open that holds what it has locked.

        Raises:
            DatabaseUnavailableError: As ``transaction``. ``outcome_unknown`` when no answer came.

        """
        asked_at = time.perf_counter()
        try:
            with self._traced("postgresql statement"), self._autocommitting.connect() as connection:
                runtime.DB_POOL_WAIT.observe(time.perf_counter() - asked_at)
                yield connection
        except exc.TimeoutError as cause:
            raise DatabaseUnavailableError("pool_timeout") from cause
        except exc.DBAPIError as cause:
            unavailable = _translate(cause)
            if unavailable is None:
                raise
            # An error of the server's has a code: then the statement has failed for certain.
            answered = getattr(cause.orig, "pgcode", None) is not None
            unavailable.outcome_unknown = not (answered or isinstance(cause.orig, ConnectError))
            raise unavailable from cause

    @contextmanager
    def connection(self) -> Iterator[sqlalchemy.Connection]:
        """Lend a connection whose transactions the body begins and ends. Raises as ``transaction``."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except exc.DBAPIError as cause:
            unavailable = _translate(cause)
            if unavailable is None:
                raise
            raise unavailable from cause

    def close(self) -> None:
        """Close the idle connections."""
        self.engine.dispose()


def _translate(error: exc.DBAPIError) -> DatabaseUnavailableError | None:
    orig = error.orig
    if isinstance(orig, ConnectError):  # counted where it was made
        return DatabaseUnavailableError(orig.reason.value)
    reason = query_failure(orig, connection_lost=error.connection_invalidated)
    record_query_error(reason, orig or error)
    if isinstance(orig, UndefinedTable):
        return DatabaseUnavailableError("unmigrated")
    if reason != "other" or isinstance(orig, psycopg2.OperationalError | psycopg2.InterfaceError):
        return DatabaseUnavailableError(reason)
    return None
