"""Requests, good and bad, as a client of the API sees them answered."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.support.access import headers_of
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import TcpForwarder
from tests.support.waiting import eventually


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
            ["config.page_size", "config.x"],
        ),
        ({"source_type": "api", "config": {"endpoint": "nope", "resource": "x"}}, ["config.endpoint"]),
        ({"source_type": "database", "config": {"database": "acme", "query": "SELECT 1"}}, ["config.query"]),
        ({"source_type": "file", "config": {"path": "../../etc/passwd.csv"}}, ["config.path"]),
        ({"source_type": "file", "config": {"path": "x\0.csv"}}, ["config.path"]),
        (
            {
                "source_type": "database",
                "config": {"database": "acme", "query": "findings_of_asset", "params": {"asset": "a\0"}},
            },
            ["config.params.asset"],
        ),
        ([], ["body"]),
    ],
)
def test_a_bad_request_is_told_which_fields(api: ServiceProcess, body: Any, fields: list[str]) -> None:
    answer = api.post("/api/v1/jobs/trigger", json=body)
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
    answer = api.post("/api/v1/jobs/trigger", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


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
    answer = api.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= problem.keys()
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_a_client_that_hangs_up_in_the_middle_is_no_defect(api: ServiceProcess) -> None:
    head = (
        "POST /api/v1/avatars HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {headers_of('acme')['X-API-Key']}\r\nContent-Length: 100\r\n\r\n"
    )
    before = len(api.events("request_failed"))
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as link:
        link.sendall(head.encode() + b'{"prompt": ')
    eventually(lambda: api.events("client_disconnected"), within_seconds=10, what="it is seen to be gone")
    assert len(api.events("request_failed")) == before


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

    def loud_lines() -> list[dict[str, Any]]:
        return [line for line in api.events("request_completed") if line["request_id"] == "loud"]

    # Written when the answer is on its way.
    [loud] = eventually(loud_lines, within_seconds=5, what="the request is logged")
    requests = api.events("request_completed")
    assert [line for line in requests if line["request_id"] == "quiet"] == []
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


def test_bad_requests_are_told_so_while_the_database_hangs(
    start: Start, postgres: PostgresServer, database_name: str
) -> None:
    api = start("app.main", DCS_DATABASE_POOL_SIZE="1")
    with (
        postgres.connection(database_name) as blocker,
        blocker.cursor() as cursor,
        ThreadPoolExecutor(1) as threads,
    ):
        cursor.execute("BEGIN; LOCK TABLE jobs")
        for body, field in (
            ({}, "source_type"),
            ({"source_type": "file", "config": {"path": "../x.csv"}}, "config.path"),
        ):
            waiting = threads.submit(api.trigger, "file", {"path": "x.csv"})
            eventually(
                lambda: api.metric("dcs_db_pool_connections", state="in_use") == 1,
                within_seconds=5,
                what="a request waits for the table",
            )
            answer = api.post("/api/v1/jobs/trigger", json=body)
            assert answer.status_code == 422, answer.text
            assert [error["field"] for error in answer.json()["errors"]] == [field]
            assert waiting.result(10).status_code == 503
        cursor.execute("ROLLBACK")


def test_a_commit_whose_answer_is_lost_is_not_called_a_failure(
    start: Start, postgres: PostgresServer, database_name: str
) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        api = start("app.main", DCS_DATABASE_PORT=str(path.port))
        path.lose_answer_to(b"INSERT INTO jobs")
        answer = api.trigger("file", {"path": "x.csv"})
        assert answer.status_code == 503
        problem = answer.json()
        assert "nothing was stored" not in problem["detail"]
        assert "not known" in problem["detail"]
        # It was stored, and the client can find out.
        assert api.get(f"/api/v1/jobs/status/{problem['job_id']}").json()["status"] == "queued"


def test_an_error_nobody_expected_is_a_problem_with_a_request_id(
    start: Start, postgres: PostgresServer, database_name: str
) -> None:
    postgres.execute("GRANT SELECT ON api_keys TO reader", database_name)
    api = start("app.main", DCS_DATABASE_USER="reader")  # who may read none of the other tables
    answer = api.get(f"/api/v1/jobs/status/{uuid4()}", headers={"X-Request-ID": "unlucky"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get_list("x-request-id") == ["unlucky"]
    assert answer.json()["request_id"] == "unlucky"
    [failed], [completed] = api.events("request_failed"), api.events("request_completed")
    assert "Traceback" in failed["exception"]
    for key in ("request_id", "trace_id", "span_id"):
        assert failed[key] == completed[key]
    assert (completed["status"], failed["trace_id"]) == (500, answer.json()["trace_id"])


def test_without_a_bucket_nothing_is_ingested_and_the_answer_says_so(api: ServiceProcess) -> None:
    answer = api.post("/api/v1/populate", json={"day": "2026-01-01"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:dcs:problem:ingest-off")
    assert api.get("/api/v1/populate/days").json() == {"days": [], "next_before": None}
