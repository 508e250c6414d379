"""Logs by OTLP: what a collector gets, and what a dead one costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.otlp import Collector
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.service import Start
from tests.support.tcp import PathState, TcpForwarder
from tests.support.waiting import eventually


def arrived(collector: Collector, event: str) -> list[dict[str, Any]]:
    return eventually(lambda: collector.records(event), within_seconds=10, what=f"{event} arrives")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def test_events_arrive_with_their_keys_and_the_identity(start: Start, collector: Collector) -> None:
    port = free_port()
    api = start("app.main", DCS_OTLP_LOGS_ENDPOINT=collector.logs_endpoint, DCS_DATABASE_PORT=str(port))
    api.trigger("file", {"path": "x.csv"}, **{"X-Request-ID": "r-otlp"})
    [request] = arrived(collector, "request_completed")
    assert (request["event"], request["level"]) == ("request_completed", "info")
    assert (request["request_id"], request["status"]) == ("r-otlp", 503)
    [line] = api.events("request_completed")
    assert (request["trace_id"], request["span_id"]) == (line["trace_id"], line["span_id"])
    assert len(request["trace_id"]) == 32
    failed = arrived(collector, "db_connect_failed")[0]
    assert (failed["reason"], failed["target_port"], failed["level"]) == ("refused", port, "error")
    assert {
        "service.name": "api",
        "service.namespace": "dcs",
        "service.instance.id": "test-1",
        "deployment.environment.name": "lab",
    }.items() <= collector.resource().items()


def test_what_is_queued_is_sent_at_the_end(start: Start, collector: Collector) -> None:
    worker = start("app.worker", DCS_OTLP_LOGS_ENDPOINT=collector.logs_endpoint)
    assert worker.terminate() == 0
    assert collector.records("service_stopping")
    assert collector.resource()["service.name"] == "worker"


def test_a_dead_collector_holds_nothing_up_and_is_not_reported_to_itself(
    start: Start, postgres: PostgresServer
) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as hole:
        hole.set_state(PathState.BLACK_HOLE)
        api = start("app.main", DCS_OTLP_LOGS_ENDPOINT=f"http://127.0.0.1:{hole.port}/otlp/v1/logs")
        for _ in range(20):
            assert api.get("/nowhere").elapsed.total_seconds() < 1
        started = time.monotonic()
        assert api.terminate() == 0
        assert time.monotonic() - started < 6
        assert api.events("library_message") == []


def test_a_refusing_collector_is_mentioned_and_no_more(start: Start) -> None:
    api = start("app.main", DCS_OTLP_LOGS_ENDPOINT=f"http://127.0.0.1:{free_port()}/otlp/v1/logs")
    for _ in range(20):
        api.get("/nowhere")
    [failed] = eventually(lambda: api.events("otlp_export_failed"), within_seconds=10, what="a line")
    assert (failed["signal"], failed["level"]) == ("logs", "warning")
    assert "refused" in failed["error"]
    assert api.metric("dcs_otlp_records_lost_total", signal="logs") >= 1
    assert api.terminate() == 0
    assert len(api.events("otlp_export_failed")) == 1
    assert api.events("library_message") == []
    assert len(api.events("request_completed")) == 20


def test_of_many_requests_none_is_left_untold_at_the_end(start: Start, collector: Collector) -> None:
    api = start(
        "app.main",
        DCS_OTLP_LOGS_ENDPOINT=collector.logs_endpoint,
        DCS_OTLP_TRACES_ENDPOINT=collector.traces_endpoint,
    )
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.get("/api/v1/jobs"), range(80)))
    ids = {answer.headers["X-Request-ID"] for answer in answers}
    assert len(ids) == 80
    assert api.terminate() == 0
    completed = {line["request_id"]: line for line in api.events("request_completed")}
    records = {record["request_id"]: record for record in collector.records("request_completed")}
    assert ids == completed.keys() == records.keys()
    spans = {span.trace_id: span for span in collector.spans()}
    assert ids <= spans.keys()  # a request of no trace is named after its own
    assert all(records[one]["trace_id"] == one == completed[one]["trace_id"] for one in ids)
