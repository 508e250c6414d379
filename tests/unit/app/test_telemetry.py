from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from app.jobs.tasks import RETRY_CAP_SECONDS, retry_delay_seconds
from app.settings import Settings
from app.sources import SourceError, SourceType, source_call
from app.sources.api import COLLECT_TIMEOUT_SECONDS
from app.telemetry import metrics
from app.telemetry.limiter import RateLimiter
from app.telemetry.metrics.sources import REQUEST_BUCKETS
from app.telemetry.middleware import _REQUEST_ID

ROOT = Path(__file__).resolve().parents[3]


def test_every_known_label_set_exists_before_the_first_event() -> None:
    metrics.initialise("0", host="db", port=5432, database="dcs")
    expected = [
        ("dcs_db_connect_errors_total", {"reason": "too_many_clients"}),
        ("dcs_db_query_errors_total", {"reason": "connection_lost"}),
        ("dcs_redis_errors_total", {"reason": "timeout"}),
        ("dcs_jobs_submitted_total", {"source_type": "file"}),
        ("dcs_jobs_finished_total", {"source_type": "api", "outcome": "dead"}),
        ("dcs_jobs_finished_total", {"source_type": "ingest_file", "outcome": "dead"}),
        ("dcs_jobs_submitted_total", {"source_type": "ingest_list"}),
        ("dcs_job_duration_seconds_count", {"source_type": "ingest_quarantine"}),
        ("dcs_source_requests_total", {"source_type": "database", "outcome": "refused"}),
        ("dcs_source_request_duration_seconds_count", {"source_type": "s3"}),
        ("dcs_records_stored_total", {"source_type": "api"}),
        ("dcs_job_duration_seconds_count", {"source_type": "api"}),
    ]
    missing = [name for name, labels in expected if REGISTRY.get_sample_value(name, labels) is None]
    assert missing == []
    assert (
        REGISTRY.get_sample_value("dcs_db_target_info", {"host": "db", "port": "5432", "database": "dcs"})
        == 1
    )


def test_an_api_does_not_look_like_a_dead_worker() -> None:
    assert REGISTRY.get_sample_value("dcs_worker_heartbeat_timestamp_seconds") is None


def test_latency_buckets_have_the_edges_that_objectives_use() -> None:
    assert {0.3, 1.0} <= set(metrics.REQUEST_BUCKETS)


@pytest.mark.parametrize("error", [None, SourceError("timeout", "late", retryable=True)])
def test_every_call_of_a_source_is_timed_however_it_ends(error: SourceError | None) -> None:
    def told(name: str) -> float:
        value = REGISTRY.get_sample_value(
            f"dcs_source_request_duration_seconds_{name}", {"source_type": "file"}
        )
        return value or 0.0

    count, seconds = told("count"), told("sum")
    with contextlib.suppress(SourceError), source_call(SourceType.FILE, "acme/x.csv"):
        time.sleep(0.02)
        if error is not None:
            raise error
    assert told("count") == count + 1
    assert 0.02 <= told("sum") - seconds < 5


def test_the_longest_call_that_a_job_allows_is_told_from_longer_ones() -> None:
    assert {Settings().source_timeout_seconds, COLLECT_TIMEOUT_SECONDS} <= set(REQUEST_BUCKETS)


def test_a_flood_is_limited_and_what_was_held_back_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("app.telemetry.limiter.time.monotonic", lambda: now)
    limiter = RateLimiter(5)
    assert [limiter.allow() for _ in range(20)] == [0] * 5 + [None] * 15
    now = 101.0
    assert limiter.allow() == 15
    assert limiter.allow() == 0


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        ("abc-1.2:3_X", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a b", False),
        ("a\nb", False),
    ],
)
def test_a_request_id_cannot_forge_a_log_line(given: str, accepted: bool) -> None:  # noqa: FBT001  a table
    assert bool(_REQUEST_ID.match(given)) is accepted


def test_retries_wait_longer_each_time_up_to_a_cap() -> None:
    full = [retry_delay_seconds(attempt, jitter=lambda: 1.0) for attempt in range(1, 12)]
    assert full == sorted(full)
    assert full[0] == 1.0
    assert full[-1] == RETRY_CAP_SECONDS
    assert retry_delay_seconds(10_000, jitter=lambda: 1.0) == RETRY_CAP_SECONDS
    assert retry_delay_seconds(1, jitter=lambda: 0.0) == 0.5


def test_logs_are_json_lines_without_secrets() -> None:
    program = """
import logging, warnings
from app.telemetry import log_context
from app.telemetry.logging import configure_logging
import structlog
configure_logging(service="api", instance="api-9", environment="test", version="0")
log = structlog.get_logger()
with log_context.bound(request_id="r-1"):
    log.info("thing_done", password="canary", Authorization="canary", amount=3)
    log.debug("not_said")
    logging.getLogger("uvicorn.error").info("not said either")
    logging.getLogger("urllib3").warning("trouble at %s", "mill")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("thing_crashed")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["thing_done", "library_message", "thing_crashed"]
    assert "canary" not in done.stdout
    assert lines[0]["amount"] == 3
    assert lines[1]["message"] == "trouble at mill"
    assert "ZeroDivisionError" in lines[2]["exception"]
    assert all(line["request_id"] == "r-1" and line["instance"] == "api-9" for line in lines)


def test_the_api_starts_without_what_only_workers_need() -> None:
    program = "import sys, app.main; print([m for m in ('httpx', 'requests', 'alembic') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_worker_starts_without_a_web_framework() -> None:
    program = (
        "import sys, app.worker; print([m for m in ('fastapi', 'uvicorn', 'alembic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
