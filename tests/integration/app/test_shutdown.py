"""Processes of the service that are told to end, in the middle of their work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.access import headers_of
from tests.support.callers import Load
from tests.support.nginx import nginx_before
from tests.support.postgres import PostgresServer
from tests.support.rolling import Rolling
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import PathState, TcpForwarder
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

API_JOB = {"endpoint": "evidence", "resource": "controls", "page_size": 50}
CALLS_EACH = 60
STOP_SECONDS_MAX = 25.0
"""The promise: whoever kills after 30 s never kills a process that is ending in order."""
DEFAULTS = {"DCS_DATABASE_QUERY_DEADLINE_SECONDS": "3", "DCS_LEASE_SECONDS": "60"}


@pytest.fixture(autouse=True)
def _nothing_left_over(postgres: PostgresServer, database_name: str) -> None:
    postgres.execute("TRUNCATE jobs CASCADE", database_name)


@pytest.fixture
def rolling(service_settings: dict[str, str]) -> Iterator[Rolling]:
    with closing(Rolling(service_settings | DEFAULTS)) as rolling:
        yield rolling


def test_apis_behind_nginx_restarted_under_load_fail_no_call_and_lose_no_job(
    rolling: Rolling, start: Start, postgres: PostgresServer, database_name: str, tmp_path: Path
) -> None:
    start("app.worker", **DEFAULTS)
    rolling.restart()
    with nginx_before(rolling.ports, tmp_path / "nginx") as nginx:
        with Load([nginx.url], headers_of("default")) as load:
            load.wait_for(CALLS_EACH)
            rolling.restart()
            load.wait_for(CALLS_EACH)
        assert len({line["upstream"] for line in nginx.lines()}) >= len(rolling.ports)
    print(f"{load.outcome.calls} calls, longest {load.outcome.longest_seconds:.2f} s")
    assert load.outcome.failures == []
    submitted = len(load.outcome.jobs)
    states = "SELECT state, attempt, count(*) FROM jobs GROUP BY state, attempt"
    eventually(
        lambda: postgres.rows(states, database_name) == [("succeeded", 1, submitted)],
        within_seconds=30,
        what=f"{submitted} jobs have run, each once",
    )


def stop_in_the_middle_of_a_job(
    api: ServiceProcess, worker: ServiceProcess, upstream: Upstream, *paths: TcpForwarder
) -> float:
    """Stop a worker whose job does not end, with what it needs gone; return how long it took to end."""
    upstream.hold()
    accepted = api.trigger("api", API_JOB)
    assert accepted.status_code == 202
    assert upstream.asked.wait(10)
    for path in paths:
        path.set_state(PathState.BLACK_HOLE)
    since = time.monotonic()
    assert worker.terminate() == 0
    took = time.monotonic() - since
    print(f"it took {took:.1f} s")
    return took


@pytest.mark.full
def test_a_worker_gives_a_job_without_end_back_in_time_and_the_attempt_does_not_count(
    start: Start, api: ServiceProcess, upstream: Upstream, postgres: PostgresServer, database_name: str
) -> None:
    worker = start("app.worker", **DEFAULTS, DCS_SOURCE_TIMEOUT_SECONDS="60")
    assert stop_in_the_middle_of_a_job(api, worker, upstream) < STOP_SECONDS_MAX
    assert postgres.rows("SELECT state, attempt FROM jobs", database_name) == [("queued", 0)]


@pytest.mark.full
def test_a_worker_ends_in_time_even_when_nothing_answers_any_more(
    start: Start, api: ServiceProcess, upstream: Upstream, postgres: PostgresServer
) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as database, TcpForwarder(("127.0.0.1", 9)) as logs:
        logs.set_state(PathState.BLACK_HOLE)
        worker = start(
            "app.worker",
            **DEFAULTS,
            DCS_DATABASE_PORT=str(database.port),
            DCS_SOURCE_TIMEOUT_SECONDS="60",
            DCS_OTLP_LOGS_ENDPOINT=f"http://127.0.0.1:{logs.port}/otlp/v1/logs",
        )
        assert stop_in_the_middle_of_a_job(api, worker, upstream, database) < STOP_SECONDS_MAX
