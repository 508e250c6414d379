"""An API and a worker, as clients see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.access import DEFAULT_CLIENT
from tests.support.service import ServiceProcess, Start
from tests.support.upstream import TOTAL, Mood, Upstream
from tests.support.waiting import eventually

API = {"endpoint": "evidence", "resource": "controls", "page_size": 10}


def finished(
    api: ServiceProcess, job_id: str, *, within_seconds: float = 20, client: str = "default"
) -> dict[str, Any]:
    def status() -> dict[str, Any] | None:
        shown = api.get(f"/api/v1/jobs/status/{job_id}", client=client)
        answer: dict[str, Any] = shown.raise_for_status().json()
        return answer if answer["status"] in ("succeeded", "failed", "dead") else None

    return eventually(status, within_seconds=within_seconds, what=f"job {job_id} is finished")


def run(api: ServiceProcess, source_type: str, config: dict[str, Any]) -> dict[str, Any]:
    accepted = api.trigger(source_type, config)
    assert accepted.status_code == 202, accepted.text
    return finished(api, accepted.json()["job_id"])


def result(
    api: ServiceProcess, job_id: str, *, client: str = DEFAULT_CLIENT, **params: int
) -> dict[str, Any]:
    answer: dict[str, Any] = (
        api.get(f"/api/v1/jobs/result/{job_id}", params=params, client=client).raise_for_status().json()
    )
    return answer


@pytest.mark.parametrize(
    ("source_type", "config", "count", "first"),
    [
        ("api", API, TOTAL, {"id": 0}),
        ("file", {"path": "acme/assets.csv"}, 12, {"id": "0", "name": "asset-0"}),
        ("file", {"path": "acme/events.jsonl"}, 2, {"id": 1}),
        (
            "database",
            {"database": "acme", "query": "open_findings", "params": {"min_severity": 5}},
            6,
            {
                "finding_id": "F-0009",
                "asset": "asset-0",
                "control": "AC-2",
                "severity": 5,
                "status": "open",
                "opened_at": "2026-01-01T09:00:00+00:00",
            },
        ),
    ],
)
def test_a_job_of_each_type_runs_from_trigger_to_result(  # noqa: PLR0917  fixtures and a table
    api: ServiceProcess,
    worker: ServiceProcess,
    source_type: str,
    config: dict[str, Any],
    count: int,
    first: dict[str, Any],
) -> None:
    stored_before = worker.metric("dcs_records_stored_total", source_type=source_type)
    accepted = api.trigger(source_type, config, client="acme-corp", **{"X-Request-ID": f"r-{source_type}"})
    assert accepted.status_code == 202
    assert accepted.json()["status"] == "queued"
    assert accepted.headers["x-request-id"] == f"r-{source_type}"
    job_id = accepted.json()["job_id"]
    assert api.get(f"/api/v1/jobs/status/{job_id}").status_code == 404  # another client's
    status = finished(api, job_id, client="acme-corp")
    assert (status["status"], status["record_count"], status["attempt"]) == ("succeeded", count, 1)
    assert (status["client_id"], status["source_type"], status["error"]) == ("acme-corp", source_type, None)
    assert api.get(f"/api/v1/jobs/result/{job_id}").status_code == 404
    answer = api.get(f"/api/v1/jobs/result/{job_id}", client="acme-corp").json()
    assert len(answer["records"]) == answer["record_count"] == count
    assert answer["records"][0] == first
    assert worker.metric("dcs_records_stored_total", source_type=source_type) == stored_before + count
    done = [line for line in worker.events("job_succeeded") if line["job_id"] == job_id]
    assert [line["request_id"] for line in done] == [f"r-{source_type}"]


def test_a_result_comes_in_pages(api: ServiceProcess, worker: ServiceProcess) -> None:
    job_id = run(api, "api", API)["job_id"]
    seen: list[int] = []
    after: int | None = -1
    while after is not None:
        page = result(api, job_id, limit=10, after=after)
        assert page["record_count"] == TOTAL
        seen += [record["id"] for record in page["records"]]
        after = page["next_after"]
    assert seen == list(range(TOTAL))
    assert result(api, job_id, limit=TOTAL)["next_after"] is None


def test_an_unfinished_job_has_no_result_yet(
    api: ServiceProcess, worker: ServiceProcess, upstream: Upstream
) -> None:
    upstream.hold()
    try:
        job_id = api.trigger("api", API).json()["job_id"]
        assert upstream.asked.wait(10)
        answer = api.get(f"/api/v1/jobs/result/{job_id}")
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:dcs:problem:job-unfinished"
        assert worker.metric("dcs_worker_jobs_running") == 1
    finally:
        upstream.release()
    assert finished(api, job_id)["status"] == "succeeded"


def test_a_broken_upstream_is_tried_again_and_then_the_job_is_dead(
    start: Start, api: ServiceProcess, worker: ServiceProcess, upstream: Upstream
) -> None:
    impatient = start("app.main", DCS_MAX_ATTEMPTS="2")
    upstream.mood = Mood.ERROR
    try:
        status = run(impatient, "api", API)
    finally:
        upstream.mood = Mood.GOOD
    assert (status["status"], status["attempt"], status["error"]["reason"]) == ("dead", 2, "http_500")
    assert result(api, status["job_id"])["records"] == []
    assert worker.metric("dcs_jobs_finished_total", source_type="api", outcome="dead") == 1
    retried = [line for line in worker.events("job_retried") if line["job_id"] == status["job_id"]]
    assert [line["reason"] for line in retried] == ["http_500"]


def test_an_upstream_that_recovers_gets_its_job_done(
    api: ServiceProcess, worker: ServiceProcess, upstream: Upstream
) -> None:
    upstream.mood = Mood.GARBAGE
    try:
        job_id = api.trigger("api", API).json()["job_id"]
        eventually(
            lambda: any(line["job_id"] == job_id for line in worker.events("job_retried")),
            within_seconds=10,
            what="a retry",
        )
    finally:
        upstream.mood = Mood.GOOD
    status = finished(api, job_id)
    assert (status["status"], status["error"]) == ("succeeded", None)
    assert status["attempt"] > 1


@pytest.mark.parametrize(
    ("source_type", "config", "reason"),
    [("api", API, "http_404"), ("file", {"path": "acme/none.csv"}, "not_found")],
)
def test_what_can_never_succeed_fails_at_once(  # noqa: PLR0917  fixtures and a table
    api: ServiceProcess,
    worker: ServiceProcess,
    upstream: Upstream,
    source_type: str,
    config: dict[str, Any],
    reason: str,
) -> None:
    upstream.mood = Mood.MISSING
    try:
        status = run(api, source_type, config)
    finally:
        upstream.mood = Mood.GOOD
    assert (status["status"], status["attempt"], status["error"]["reason"]) == ("failed", 1, reason)


def test_records_that_cannot_be_stored_fail_the_job(
    api: ServiceProcess, worker: ServiceProcess, file_root: Path
) -> None:
    (file_root / "nul.jsonl").write_text('{"a": "\\u0000"}\n')
    status = run(api, "file", {"path": "nul.jsonl"})
    assert (status["status"], status["error"]["reason"]) == ("failed", "unstorable")


def test_a_number_too_large_to_store_fails_the_job_and_spares_the_worker(
    api: ServiceProcess, worker: ServiceProcess, upstream: Upstream
) -> None:
    upstream.item = '{"id": 18446744073709551616}'
    upstream.mood = Mood.GIVEN
    try:
        status = run(api, "api", API)
    finally:
        upstream.mood = Mood.GOOD
    assert (status["status"], status["error"]["reason"], status["attempt"]) == ("failed", "unstorable", 1)
    assert worker.process.poll() is None


def test_nesting_too_deep_to_store_fails_the_job_and_spares_the_worker(
    api: ServiceProcess, worker: ServiceProcess, file_root: Path
) -> None:
    (file_root / "deep.jsonl").write_text('{"a": ' + "[" * 400 + "]" * 400 + "}\n")
    status = run(api, "file", {"path": "deep.jsonl"})
    assert (status["status"], status["error"]["reason"], status["attempt"]) == ("failed", "unstorable", 1)
    assert worker.process.poll() is None
