"""An API and a worker, as clients see them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess, Start
from tests.support.upstream import TOTAL, Mood, Upstream
from tests.support.waiting import eventually

API = {"endpoint": "evidence", "resource": "controls", "page_size": 10}


def finished(api: ServiceProcess, job_id: str, within_seconds: float = 20) -> dict[str, Any]:
    def status() -> dict[str, Any] | None:
        answer: dict[str, Any] = api.get(f"/api/v1/jobs/status/{job_id}").raise_for_status().json()
        return answer if answer["status"] in ("succeeded", "failed", "dead") else None

    return eventually(status, within_seconds=within_seconds, what=f"job {job_id} is finished")


def run(api: ServiceProcess, source_type: str, config: dict[str, Any]) -> dict[str, Any]:
    accepted = api.trigger(source_type, config)
    assert accepted.status_code == 202, accepted.text
    return finished(api, accepted.json()["job_id"])


def result(api: ServiceProcess, job_id: str, **params: int) -> dict[str, Any]:
    answer: dict[str, Any] = api.get(f"/api/v1/jobs/result/{job_id}", params=params).raise_for_status().json()
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
    accepted = api.trigger(
        source_type, config, **{"X-Client-ID": "acme-corp", "X-Request-ID": f"r-{source_type}"}
    )
    assert accepted.status_code == 202
    assert accepted.json()["status"] == "queued"
    assert accepted.headers["x-request-id"] == f"r-{source_type}"
    job_id = accepted.json()["job_id"]
    status = finished(api, job_id)
    assert (status["status"], status["record_count"], status["attempt"]) == ("succeeded", count, 1)
    assert (status["client_id"], status["source_type"], status["error"]) == ("acme-corp", source_type, None)
    answer = result(api, job_id)
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


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["source_type"]),
        ({"source_type": "ftp", "config": {}}, ["source_type"]),
        ({"source_type": "file", "config": {}}, ["config.path"]),
        ({"source_type": "file"}, ["config"]),
        ({"source_type": "file", "config": {"path": "x.csv"}, "extra": 1}, ["extra"]),
        (
            {"source_type": "api", "config": {"endpoint": "evidence", "page_size": 0, "x": 1}},
            ["config.page_size", "config.resource", "config.x"],
        ),
        ({"source_type": "api", "config": {"endpoint": "nope", "resource": "x"}}, ["config.endpoint"]),
        ({"source_type": "database", "config": {"database": "acme", "query": "SELECT 1"}}, ["config.query"]),
        ({"source_type": "file", "config": {"path": "../../etc/passwd.csv"}}, ["config.path"]),
        ([], ["body"]),
    ],
)
def test_a_bad_request_is_told_which_fields(api: ServiceProcess, body: Any, fields: list[str]) -> None:
    answer = httpx.post(f"{api.url}/api/v1/jobs/trigger", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert sorted(error["field"] for error in problem["errors"]) == fields
    assert problem["status"] == 422
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_refusals_are_logged(api: ServiceProcess) -> None:
    api.trigger("file", {"path": "../secret.csv"}, **{"X-Request-ID": "refused-path"})
    api.trigger(
        "database", {"database": "acme", "query": "DROP TABLE x"}, **{"X-Request-ID": "refused-query"}
    )
    for event in ("source_path_refused", "source_query_refused"):
        lines = [line for line in api.events(event) if line["request_id"].startswith("refused-")]
        assert len(lines) == 1


def test_a_body_that_is_not_json_is_a_problem(api: ServiceProcess) -> None:
    answer = httpx.post(
        f"{api.url}/api/v1/jobs/trigger", content=b"{", headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("client", ["UPPER", "a" * 65, "a b", "", "a_b"])
def test_a_client_id_is_a_slug(api: ServiceProcess, client: str) -> None:
    answer = api.trigger("file", {"path": "x.csv"}, **{"X-Client-ID": client})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["x-client-id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/api/v1/jobs/status/{uuid4()}", 404),
        ("GET", f"/api/v1/jobs/result/{uuid4()}", 404),
        ("GET", "/api/v1/jobs/status/not-a-uuid", 422),
        ("GET", f"/api/v1/jobs/result/{uuid4()}?limit=0", 422),
        ("GET", f"/api/v1/jobs/result/{uuid4()}?after=-2", 422),
        ("GET", "/nowhere", 404),
        ("DELETE", "/api/v1/jobs/trigger", 405),
    ],
)
def test_every_error_is_a_problem_with_a_request_id(
    api: ServiceProcess, method: str, path: str, status: int
) -> None:
    answer = httpx.request(method, f"{api.url}{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= problem.keys()
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_routes_are_counted_by_template(api: ServiceProcess) -> None:
    labels = {"method": "GET", "route": "/api/v1/jobs/status/{job_id}", "status": "404"}
    before = api.metric("dcs_http_requests_total", **labels)
    api.get(f"/api/v1/jobs/status/{uuid4()}")
    api.get(f"/nowhere/{uuid4()}")
    assert api.metric("dcs_http_requests_total", **labels) == before + 1
    assert api.metric("dcs_http_requests_total", method="GET", route="unmatched", status="404") >= 1


def test_requests_are_logged_but_health_checks_and_scrapes_are_not(api: ServiceProcess) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        assert api.get(path, headers={"X-Request-ID": "quiet"}).status_code == 200
    api.get("/nowhere", headers={"X-Request-ID": "forged\tid"})
    api.get("/nowhere", headers={"X-Request-ID": "loud"})
    requests = api.events("request_completed")
    assert [line for line in requests if line["request_id"] == "quiet"] == []
    [loud] = [line for line in requests if line["request_id"] == "loud"]
    assert (loud["method"], loud["route"], loud["status"]) == ("GET", "unmatched", 404)
    assert loud["duration_ms"] > 0
    assert not any("forged" in line["request_id"] for line in requests)


def test_the_document_describes_the_errors(api: ServiceProcess) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    trigger = paths["/api/v1/jobs/trigger"]["post"]
    assert {"202", "422", "503"} <= trigger["responses"].keys()
    for code in ("422", "503"):
        assert list(trigger["responses"][code]["content"]) == ["application/problem+json"]
    assert "409" in paths["/api/v1/jobs/result/{job_id}"]["get"]["responses"]


def test_a_database_that_refuses_is_a_quick_503(start: Start) -> None:
    port = free_port()
    api = start("app.main", DCS_DATABASE_PORT=str(port))
    before = api.metric("dcs_db_connect_errors_total", reason="refused")
    answer = api.trigger("file", {"path": "x.csv"})
    assert answer.status_code == 503
    assert answer.elapsed.total_seconds() < 1.5
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:dcs:problem:database-unavailable"
    assert api.metric("dcs_db_connect_errors_total", reason="refused") > before
    assert (
        api.metric("dcs_http_requests_total", method="POST", route="/api/v1/jobs/trigger", status="503") == 1
    )
    event = api.events("db_connect_failed")[0]
    assert (event["reason"], event["target_port"]) == ("refused", port)
    # Without any traffic the probe keeps counting.
    steady = api.metric("dcs_db_connect_errors_total", reason="refused")
    eventually(
        lambda: api.metric("dcs_db_connect_errors_total", reason="refused") >= steady + 2,
        within_seconds=10,
        what="the probe counts failures",
    )


def test_a_table_that_is_locked_does_not_pile_requests_up(
    api: ServiceProcess, postgres: PostgresServer, database_name: str
) -> None:
    with postgres.connection(database_name) as blocker, blocker.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE jobs")
        started = time.monotonic()
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda _: api.get(f"/api/v1/jobs/status/{uuid4()}"), range(16)))
        assert {answer.status_code for answer in answers} == {503}
        assert time.monotonic() - started < 8
        assert api.get("/health").elapsed.total_seconds() < 1
        cursor.execute("ROLLBACK")
    assert api.get(f"/api/v1/jobs/status/{uuid4()}").status_code == 404
