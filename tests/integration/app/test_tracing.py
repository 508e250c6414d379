"""One trace from nginx to the upstream: spans, log lines and headers agree on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.nginx import nginx_before
from tests.support.otlp import Collector, ReceivedSpan
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import PathState, TcpForwarder
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

SERVER, CLIENT, CONSUMER = 2, 3, 5
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
API = {"endpoint": "evidence", "resource": "controls", "page_size": 25}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced_api(service_settings: dict[str, str], collector: Collector) -> Iterator[ServiceProcess]:
    settings = service_settings | {"DCS_OTLP_TRACES_ENDPOINT": collector.traces_endpoint}
    with closing(ServiceProcess("app.main", settings)) as api:
        api.wait_until_live()
        yield api


def spans(collector: Collector, trace_id: str, *names: str) -> dict[str, ReceivedSpan]:
    """Return the first span of each of these names, once all have come."""

    def found() -> dict[str, ReceivedSpan]:
        by_name = {span.name: span for span in reversed(collector.spans(trace_id))}
        assert by_name.keys() >= set(names)
        return by_name

    return eventually(found, within_seconds=20, what=f"{names} arrive")


def test_one_trace_leads_from_nginx_through_the_queue_to_the_upstream(
    traced_api: ServiceProcess, start: Start, collector: Collector, upstream: Upstream, tmp_path: Path
) -> None:
    worker = start("app.worker", DCS_INSTANCE="worker-1", DCS_OTLP_TRACES_ENDPOINT=collector.traces_endpoint)
    with nginx_before((traced_api.port, traced_api.port), tmp_path / "nginx") as nginx:
        direct, traced_api.url = traced_api.url, nginx.url
        answer = traced_api.trigger("api", API, **{"X-Request-ID": "traced"})
        traced_api.url = direct
        access = nginx.logged("traced")
    assert answer.status_code == 202, answer.text
    trace_id = access["trace_id"]
    names = ("POST /api/v1/jobs/trigger", "job api", "source api", "postgresql statement")
    found = spans(collector, trace_id, *names)
    server, job, source, stored = (found[name] for name in names)
    assert (server.kind, job.kind, source.kind) == (SERVER, CONSUMER, CLIENT)
    assert (server.service, job.service, source.service) == ("api", "worker", "worker")
    assert server.parent_id, "nginx made the first span"
    assert stored.parent_id == job.parent_id == server.span_id
    assert source.parent_id == job.span_id
    assert upstream.headers_seen[-1]["traceparent"] == f"00-{trace_id}-{source.span_id}-01"
    assert server.attributes["http.response.status_code"] == 202
    assert server.attributes["dcs.request_id"] == job.attributes["dcs.request_id"] == "traced"
    assert server.error is None
    assert 0 < server.end_ns - server.start_ns < 60 * 10**9

    # Everything else in the trace is within something that has a name.
    known = {span.span_id for span in collector.spans(trace_id)} | {server.parent_id}
    assert {span.parent_id for span in collector.spans(trace_id)} <= known

    [line] = eventually(
        lambda: [line for line in traced_api.events("request_completed") if line["request_id"] == "traced"],
        within_seconds=5,
        what="the request is logged",
    )
    assert (line["trace_id"], line["span_id"]) == (trace_id, server.span_id)
    assert (line["job_id"], line["source_type"]) == (answer.json()["job_id"], "api")
    [claimed] = worker.events("job_claimed")
    assert (claimed["trace_id"], claimed["span_id"]) == (trace_id, job.span_id)
    [called] = worker.events("source_call_completed")
    assert (called["trace_id"], called["span_id"]) == (trace_id, source.span_id)


def test_a_caller_decides_what_is_sampled_and_the_answer_names_the_trace(
    traced_api: ServiceProcess, collector: Collector
) -> None:
    for flags in ("00", "01"):
        trace_id = TRACE.replace("4b", flags, 1)
        sent = {"traceparent": f"00-{trace_id}-{SPAN}-{flags}", "tracestate": "vendor=1"}
        answer = traced_api.get("/api/v1/jobs/status/none", headers=sent)
        assert answer.status_code == 422
        assert answer.json()["trace_id"] == trace_id
    name = "GET /api/v1/jobs/status/{job_id}"
    [span] = [span for span in spans(collector, trace_id, name).values() if span.name == name]
    assert (span.parent_id, span.state) == (SPAN, "vendor=1")
    assert collector.spans(TRACE.replace("4b", "00", 1)) == []


def test_headers_that_are_not_valid_begin_a_new_trace(traced_api: ServiceProcess) -> None:
    valid = f"00-{TRACE}-{SPAN}-01"
    for sent in ([("traceparent", valid.upper())], [("traceparent", valid), ("traceparent", valid)]):
        answer = httpx.get(f"{traced_api.url}/nowhere", headers=sent, timeout=15)
        assert len(answer.json()["trace_id"]) == 32
        assert answer.json()["trace_id"] != TRACE


def test_an_error_is_one_in_the_trace_and_health_checks_are_no_traces(
    start: Start, collector: Collector, postgres: PostgresServer
) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        api = start(
            "app.main",
            DCS_OTLP_TRACES_ENDPOINT=collector.traces_endpoint,
            DCS_DATABASE_PORT=str(path.port),
            DCS_INSTANCE="broken",
        )
        assert api.get("/api/v1/access/me").status_code == 200  # so that the caller is known
        path.set_state(PathState.REFUSE)
        answer = api.trigger("file", {"path": "acme/assets.csv"})
    assert answer.status_code == 503
    found = spans(collector, answer.json()["trace_id"], "POST /api/v1/jobs/trigger")
    assert found["POST /api/v1/jobs/trigger"].error == "http_503"
    assert not [span for span in collector.spans() if "/health" in span.name or "/metrics" in span.name]


def test_a_dead_collector_of_spans_holds_nothing_up(start: Start) -> None:
    with TcpForwarder(("127.0.0.1", 9)) as hole:
        hole.set_state(PathState.BLACK_HOLE)
        api = start("app.main", DCS_OTLP_TRACES_ENDPOINT=f"http://127.0.0.1:{hole.port}/v1/traces")
        for _ in range(20):
            assert api.get("/nowhere").elapsed.total_seconds() < 1
        started = time.monotonic()
        assert api.terminate() == 0
        assert time.monotonic() - started < 6
