"""Behind an open circuit breaker jobs wait, and spend none of their attempts."""

from __future__ import annotations

from typing import Any

import pytest

from app.net.breaker import FAILURES_MAX
from tests.support.service import ServiceProcess, Start
from tests.support.upstream import Mood, Upstream
from tests.support.waiting import eventually

API = {"endpoint": "evidence", "resource": "controls", "page_size": 25}
ATTEMPTS_MAX = 3


@pytest.mark.full  # waits for the breaker
def test_jobs_wait_for_an_upstream_that_is_left_alone(start: Start, upstream: Upstream) -> None:
    api = start("app.main", DCS_MAX_ATTEMPTS=str(ATTEMPTS_MAX))
    worker = start("app.worker", DCS_INSTANCE="worker-1")
    upstream.mood = Mood.ERROR
    before = upstream.requests_seen
    ids = [api.trigger("api", API).json()["job_id"] for _ in range(4)]
    eventually(
        lambda: any(line["reason"] == "circuit_open" for line in worker.events("job_retried")),
        within_seconds=20,
        what="the breaker is open",
    )
    assert worker.metric("dcs_source_breaker_state", upstream="evidence") == 2
    # While it is open nobody calls; the other thread of the worker may have been calling when it opened.
    assert upstream.requests_seen - before <= FAILURES_MAX + 1
    upstream.mood = Mood.GOOD

    def statuses() -> list[dict[str, Any]]:
        return [_status(api, job_id) for job_id in ids]

    eventually(
        lambda: all(one["status"] == "succeeded" for one in statuses()),
        within_seconds=40,
        what="all jobs are done",
    )
    retried = worker.events("job_retried")
    for status in statuses():
        failed = [line for line in retried if line["job_id"] == status["job_id"]]
        spent = [line for line in failed if line["reason"] == "http_500"]
        assert status["attempt"] == len(spent) + 1
    assert worker.metric("dcs_source_breaker_state", upstream="evidence") == 0


def _status(api: ServiceProcess, job_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.get(f"/api/v1/jobs/status/{job_id}").raise_for_status().json()
    return answer
