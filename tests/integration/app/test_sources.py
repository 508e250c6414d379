"""What sources say of calls that end badly, each against a real server."""

from __future__ import annotations

import time

import pytest

from app.sources import SourceError
from app.sources.database import DatabaseConfig, DatabaseSource
from tests.support.databases import target
from tests.support.postgres import PostgresServer


@pytest.mark.parametrize(
    "query_deadline_seconds", [0.6, 5.0], ids=["ended by statement_timeout", "ended by lock_timeout"]
)
def test_a_query_that_the_server_ends_for_its_time_is_a_timeout(
    postgres: PostgresServer, query_deadline_seconds: float
) -> None:
    source = DatabaseSource(
        {"acme": target(postgres.port, "acme", "reader")},
        application_name="test",
        connect_timeout_seconds=2,
        query_deadline_seconds=query_deadline_seconds,
    )
    with postgres.connection("acme") as blocker, blocker.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE findings")
        started = time.monotonic()
        with pytest.raises(SourceError) as ended:
            source.collect(DatabaseConfig(database="acme", query="open_findings"))
        cursor.execute("ROLLBACK")
    assert time.monotonic() - started < query_deadline_seconds
    assert (ended.value.reason, ended.value.outcome, ended.value.retryable) == ("timeout", "timeout", True)
