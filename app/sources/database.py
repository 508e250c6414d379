"""The ``database`` source: runs a named, reviewed query on a client's PostgreSQL."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Annotated, Any

import orjson
import psycopg2
from psycopg2.errors import LockNotAvailable, QueryCanceled
from psycopg2.extensions import cursor as Cursor  # noqa: N812  a class, named as a function
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from app.database.deadline import DeadlineConnection, QueryDeadlineExceededError
from app.database.engine import ConnectOptions, open_connection
from app.database.failures import ConnectFailure, classify_connect_error
from app.net.guard import ADDRESSES_TRIED_MAX, Guard, ResolveError, TargetRefusedError
from app.progress import UNWATCHED, Progress
from app.settings import DatabaseTarget
from app.sources import (
    BYTES_MAX,
    RECORDS_MAX,
    Record,
    SourceError,
    SourceRefusedError,
    SourceType,
    source_call,
    too_much,
)
from app.sources.budget import Budget
from app.sources.queries import QUERIES
from app.wire import Integer

COLLECT_SECONDS_MAX = 60.0
ROWS_FIRST = 10
ROWS_AT_ONCE_MAX = 1000
BATCH_BYTES = 1024**2
_EVENT = "source_query_refused"
_SCHEME = "postgresql"


ParamName = Annotated[str, Field(max_length=100)]


class DatabaseConfig(BaseModel):
    """What to ask a client's database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: str = Field(
        min_length=1, max_length=200, description="Name of a configured database.", examples=["acme"]
    )
    query: str = Field(
        min_length=1,
        max_length=2000,
        description="Name of a reviewed query, never SQL.",
        examples=["open_findings"],
    )
    params: dict[ParamName, Integer | Annotated[str, Strict()]] = Field(
        default_factory=dict, examples=[{"min_severity": 3}]
    )


class DatabaseSource:
    """Each call makes a short, read-only connection. Times in seconds.

    ``clients`` are whose each database is; one that it does not name is everybody's.
    """

    def __init__(
        self,
        targets: Mapping[str, DatabaseTarget],
        *,
        guard: Guard,
        application_name: str,
        connect_timeout_seconds: int,
        query_deadline_seconds: float,
        collect_seconds_max: float = COLLECT_SECONDS_MAX,
        bytes_max: int = BYTES_MAX,
        clients: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._targets = targets
        self._clients = clients or {}
        self._guard = guard
        self._collect_seconds_max = collect_seconds_max
        self._bytes_max = bytes_max
        self._options = ConnectOptions(
            application_name=application_name,
            connect_timeout=connect_timeout_seconds,
            query_deadline=query_deadline_seconds,
            read_only=True,
        )

    def check(self, config: DatabaseConfig, *, client_id: str = "") -> None:
        """Refuse unknown databases, anything that is not the name of a query, and wrong parameters."""
        self._params(config, client_id)

    def collect(
        self, config: DatabaseConfig, *, client_id: str = "", progress: Progress = UNWATCHED
    ) -> list[Record]:
        """Return the rows of the query."""
        params = self._params(config, client_id)
        target = self._targets[config.database]
        with source_call(SourceType.DATABASE, f"{target}/{target.name}") as call:
            progress.check()
            records = self._query(target, QUERIES[config.query].sql, params, progress)
            call.records = len(records)
            return records

    def _params(self, config: DatabaseConfig, client_id: str) -> dict[str, Any]:
        own = [
            name for name in self._targets if name not in self._clients or client_id in self._clients[name]
        ]
        if config.database not in own:
            names = ", ".join(sorted(own)) or "none"
            raise SourceRefusedError("database", f"unknown database; configured are: {names}", event=_EVENT)
        target = self._targets[config.database]
        try:
            self._guard.check(_SCHEME, target.host, target.port)
        except TargetRefusedError as exc:
            raise SourceRefusedError("database", str(exc), event="source_target_refused") from exc
        query = QUERIES.get(config.query)
        if query is None:
            names = ", ".join(sorted(QUERIES))
            raise SourceRefusedError("query", f"not the name of a query; there are: {names}", event=_EVENT)
        for name, value in config.params.items():
            if isinstance(value, str) and "\0" in value:  # PostgreSQL holds it in no type of text
                raise SourceRefusedError(f"params.{name}", "must not contain NUL", event=_EVENT)
        try:
            return query.params.model_validate(config.params).model_dump()
        except ValidationError as exc:
            first = exc.errors()[0]
            field = ".".join(["params", *map(str, first["loc"])])
            raise SourceRefusedError(field, first["msg"], event=_EVENT) from exc

    def _query(
        self, target: DatabaseTarget, sql: str, params: dict[str, Any], progress: Progress
    ) -> list[Record]:
        budget = Budget(self._collect_seconds_max, self._bytes_max, progress)
        connection = self._connect(target)
        try:
            with connection.cursor() as cursor:
                return _fetched(cursor, connection, sql, params, budget)
        except (QueryDeadlineExceededError, QueryCanceled, LockNotAvailable) as exc:
            raise SourceError("timeout", str(exc), retryable=True, outcome="timeout") from exc
        except psycopg2.OperationalError as exc:
            raise SourceError("connection_lost", str(exc).strip(), retryable=True) from exc
        except psycopg2.Error as exc:
            raise SourceError("query_failed", str(exc).strip(), retryable=False) from exc
        finally:
            connection.close()

    def _connect(self, target: DatabaseTarget) -> DeadlineConnection:
        options = self._options
        try:
            addresses = self._guard.resolve(
                _SCHEME, target.host, target.port, timeout_seconds=options.connect_timeout
            )
            pinned = dataclasses.replace(
                target, addresses=tuple(str(one) for one in addresses[:ADDRESSES_TRIED_MAX])
            )
            return open_connection(pinned, options)
        except TargetRefusedError as exc:
            raise SourceRefusedError("database", str(exc), event="source_target_refused") from exc
        except ResolveError as exc:
            raise SourceError("dns", str(exc), retryable=True) from exc
        except (psycopg2.Error, OSError) as exc:
            failure = classify_connect_error(exc)
            outcome = (
                failure.value if failure in (ConnectFailure.REFUSED, ConnectFailure.TIMEOUT) else "error"
            )
            raise SourceError(failure.value, str(exc).strip(), retryable=True, outcome=outcome) from exc


def _fetched(
    cursor: Cursor, connection: DeadlineConnection, sql: str, params: dict[str, Any], budget: Budget
) -> list[Record]:
    """Fetch a little at a time: what is too much is never held as a whole."""
    records: list[Record] = []
    rows_next = ROWS_FIRST
    with connection.within(min(connection.deadline_seconds, budget.seconds_left)):
        cursor.execute(f"DECLARE collected NO SCROLL CURSOR FOR {sql}", params)
    while True:
        with connection.within(min(connection.deadline_seconds, budget.seconds_left)):
            cursor.execute(f"FETCH FORWARD {rows_next} FROM collected")
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        body = orjson.dumps(rows, default=str)
        budget.spend(len(body))
        records += orjson.loads(body)
        if len(records) > RECORDS_MAX:
            raise too_much(f"{RECORDS_MAX} rows")
        budget.progress.report(len(records))
        if len(rows) < rows_next:
            return records
        # As many as fit, if they are like these.
        row_bytes = max(1, len(body) // len(rows))
        rows_next = max(1, min(ROWS_AT_ONCE_MAX, BATCH_BYTES // row_bytes))
