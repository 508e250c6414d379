"""What a role of the ``database`` source cannot do, and what it does not take."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest

from app.database.engine import ConnectOptions, open_connection
from app.net.guard import Guard
from app.sources import RECORDS_MAX, SourceError, SourceRefusedError, queries
from app.sources.database import DatabaseConfig, DatabaseSource
from app.sources.queries import NamedQuery, OpenFindingsParams
from tests.support.databases import target
from tests.support.postgres import PostgresServer
from tests.support.service import Start
from tests.support.waiting import eventually

INJECTIONS = [
    "'; DROP TABLE findings; --",
    "' OR '1'='1",
    "x'; COPY findings TO PROGRAM 'id'; --",
    "' UNION SELECT pg_read_file('/etc/passwd'),'','',1,'',now(); --",
    "'||pg_sleep(10)||'",
    "%(asset)s",
    "%s",
    "\\'; SELECT 1; --",
    "$$; DROP TABLE findings; $$",
]
STATEMENTS = [
    "SELECT 1; DROP TABLE findings",
    "DROP TABLE findings",
    "DELETE FROM findings",
    "INSERT INTO findings SELECT * FROM findings",
    "CREATE TABLE mine (x int)",
    "CREATE TEMP TABLE mine (x int); INSERT INTO findings SELECT * FROM findings",
    "SET default_transaction_read_only = off; COMMIT; DELETE FROM findings",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "COPY findings FROM PROGRAM 'id'",
    "COPY (SELECT 1) TO '/tmp/dcs-out'",
    "COPY findings FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_sleep(60)",
    "SELECT dblink('host=127.0.0.1', 'SELECT 1')",
    "CREATE EXTENSION dblink",
    "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc.so.6', 'system'",
    "SET ROLE postgres",
    "ALTER ROLE reader SUPERUSER",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_reload_conf()",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'; DROP TABLE findings",
]


def source(port: int, seconds: float = 5, **limits: Any) -> DatabaseSource:
    return DatabaseSource(
        {"acme": target(port, "acme", "reader")},
        guard=Guard([f"postgresql://127.0.0.1:{port}"]),
        application_name="test",
        connect_timeout_seconds=2,
        query_deadline_seconds=seconds,
        **limits,
    )


def rows(postgres: PostgresServer) -> object:
    sql = "SELECT count(*), md5(string_agg(findings::text, '' ORDER BY finding_id)) FROM findings"
    return postgres.rows(sql, "acme")


@pytest.mark.parametrize("text", INJECTIONS)
def test_sql_in_a_parameter_is_a_text_like_any_other(postgres: PostgresServer, text: str) -> None:
    before = rows(postgres)
    config = DatabaseConfig(database="acme", query="findings_of_asset", params={"asset": text})
    started = time.monotonic()
    assert source(postgres.port).collect(config) == []
    assert time.monotonic() - started < 5
    assert rows(postgres) == before


@pytest.mark.parametrize("text", [*STATEMENTS, *INJECTIONS])
def test_sql_in_place_of_a_name_is_refused(postgres: PostgresServer, text: str) -> None:
    with pytest.raises(SourceRefusedError):
        source(postgres.port).collect(DatabaseConfig(database="acme", query=text))


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_role_itself_could_do_no_harm(postgres: PostgresServer, statement: str) -> None:
    before = rows(postgres)
    options = ConnectOptions("test", connect_timeout=2, query_deadline=1.0, read_only=True)
    connection = open_connection(target(postgres.port, "acme", "reader"), options)
    started = time.monotonic()

    def run() -> None:
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            connection.commit()

    with pytest.raises(psycopg2.Error):
        run()
    assert time.monotonic() - started < 5
    assert rows(postgres) == before


def test_even_a_role_that_may_write_cannot(postgres: PostgresServer) -> None:
    postgres.execute("CREATE SEQUENCE IF NOT EXISTS counting", "acme")
    source_of_owner = DatabaseSource(
        {"acme": target(postgres.port, "acme", "postgres")},
        guard=Guard([f"postgresql://127.0.0.1:{postgres.port}"]),
        application_name="test",
        connect_timeout_seconds=2,
        query_deadline_seconds=5,
    )
    with reviewed("SELECT nextval('counting')") as config, pytest.raises(SourceError) as failed:
        source_of_owner.collect(config)
    assert "read-only transaction" in str(failed.value)


@contextmanager
def reviewed(sql: str) -> Iterator[DatabaseConfig]:
    """As if there were another reviewed query."""
    before = queries.QUERIES
    assert isinstance(before, dict)
    before["planted"] = NamedQuery(sql, OpenFindingsParams)
    try:
        yield DatabaseConfig(database="acme", query="planted")
    finally:
        del before["planted"]


def failure(postgres: PostgresServer, sql: str, **limits: int) -> SourceError:
    with reviewed(sql) as config, pytest.raises(SourceError) as failed:
        source(postgres.port, **limits).collect(config)
    return failed.value


def test_as_many_rows_as_a_job_may_hold_are_fetched(postgres: PostgresServer) -> None:
    with reviewed(f"SELECT generate_series(1, {RECORDS_MAX}) AS n") as config:
        collected = source(postgres.port).collect(config)
    assert [record["n"] for record in collected] == list(range(1, RECORDS_MAX + 1))


def test_of_too_many_rows_no_more_are_fetched_than_it_takes_to_know(postgres: PostgresServer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failed = failure(postgres, "SELECT generate_series(1, 50000000), repeat('x', 100)")
    assert (failed.reason, failed.retryable) == ("too_much", False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


def test_of_too_many_bytes_as_well(postgres: PostgresServer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failed = failure(postgres, "SELECT generate_series(1, 9000), repeat('x', 1000000)")
    assert (failed.reason, failed.retryable) == ("too_much", False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # KiB


def test_all_rows_together_have_a_time(postgres: PostgresServer) -> None:
    # Each fetch comes well within the deadline of a statement.
    started = time.monotonic()
    failed = failure(
        postgres, "SELECT n, pg_sleep(0.03) FROM generate_series(1, 1000) AS n", collect_seconds_max=1
    )
    assert (failed.reason, failed.outcome, failed.retryable) == ("timeout", "timeout", True)
    assert time.monotonic() - started < 5


def test_no_connection_and_no_cursor_stay_behind(postgres: PostgresServer) -> None:
    for _ in range(3):
        failure(postgres, "SELECT 1 / 0")
        source(postgres.port).collect(DatabaseConfig(database="acme", query="open_findings"))
    left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'"
    eventually(lambda: postgres.rows(left) == [(0,)], within_seconds=10, what="all are closed")


def test_values_that_json_has_no_type_for_are_texts(postgres: PostgresServer) -> None:
    sql = "SELECT 1.10::numeric AS price, '10.0.0.1'::inet AS host, interval '1 h' AS lasted"
    with reviewed(sql) as config:
        collected: list[Mapping[str, object]] = source(postgres.port).collect(config)
    assert collected == [{"price": "1.10", "host": "10.0.0.1", "lasted": "1:00:00"}]


def test_a_database_of_another_client_is_refused_by_the_api_and_by_the_worker(
    postgres: PostgresServer, service_settings: dict[str, str], start: Start
) -> None:
    acme = json.loads(service_settings["DCS_CLIENT_DATABASES"])["acme"]
    narrow = json.dumps({"acme": acme | {"clients": ["acme"]}})
    wide, strict = start("app.main"), start("app.main", DCS_CLIENT_DATABASES=narrow)
    asked = {"database": "acme", "query": "open_findings"}
    assert strict.trigger("database", asked, client="acme").status_code == 202
    refused, unknown = (
        strict.trigger("database", asked | {"database": name}, client="globex").json()
        for name in ("acme", "none-such")
    )
    assert refused["errors"] == unknown["errors"]
    assert refused["errors"][0]["field"] == "config.database"
    # What was accepted before the operator decided so is not collected either.
    accepted = wide.trigger("database", asked, client="globex").json()["job_id"]
    start("app.worker", DCS_CLIENT_DATABASES=narrow)

    def ended() -> Any:
        told = strict.get(f"/api/v1/jobs/status/{accepted}", client="globex").json()
        return told if told["status"] not in {"queued", "running"} else None

    told = eventually(ended, within_seconds=20, what="the job has ended")
    assert (told["status"], told["error"]["reason"]) == ("failed", "refused")
