"""What is told of a request, by the thread that writes lines."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.types import Message, Receive, Scope, Send

from app.health.endpoints import metrics as read_metrics
from app.telemetry import log_context, tally, tracing
from app.telemetry import logging as telemetry
from app.telemetry.events import Lines
from app.telemetry.lines import LineWriter
from app.telemetry.middleware import TelemetryMiddleware
from app.telemetry.tracing import Span, SpanKind

TRACE = "0af7651916cd43dd8448eb211c80319c"
ROUTE = "/of/these/tests"
App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class Told:
    """What came of requests: lines and spans."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()
        self.spans: list[Span] = []

    def lines(self) -> list[dict[str, Any]]:
        """Return what is written when all is told."""
        assert telemetry._Writing.lines is not None
        telemetry._Writing.lines.flush()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Write lines to memory, and nothing before it is asked for."""
    told = Told()
    writer: Any = LineWriter(told.stream, Lines("api", "api-1", None))
    writer._expected = True  # by a thread that never comes
    monkeypatch.setattr(telemetry._Writing, "lines", writer)
    monkeypatch.setattr(tracing._Tracing, "export", told.spans.append)
    yield told
    telemetry.tell_now()
    tally.settle()


async def answer(scope: Scope, _receive: Receive, _send: Send) -> None:
    scope["route"] = SimpleNamespace(path=ROUTE)
    scope["state"] |= {"status": 202, "principal": SimpleNamespace(client_id="acme")}
    log_context.bind(client_id="acme")


async def break_down(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError


async def break_off(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(scope, receive, send)
    raise ConnectionResetError


def ask(app: App, path: str = "/api", headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    async def receive() -> Message:
        raise AssertionError

    async def send(_message: Message) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    asyncio.run(TelemetryMiddleware(app)(scope, receive, send))


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"method": "POST", **labels}) or 0.0


def test_a_request_is_told_when_it_is_over_in_a_line_a_span_and_counts(told: Told) -> None:
    before = counted("dcs_http_requests_total", route=ROUTE, status="202")
    took = counted("dcs_http_request_duration_seconds_count", route=ROUTE)
    ask(answer)
    assert (told.stream.getvalue(), told.spans) == (b"", [])
    telemetry.tell_now()
    assert len(told.spans) == 1
    tally.settle()
    [line], [span] = told.lines(), told.spans
    assert line["event"] == "request_completed"
    assert (line["method"], line["route"], line["status"]) == ("POST", ROUTE, 202)
    assert (line["client_id"], line["request_id"]) == ("acme", line["trace_id"])
    assert (span.context.trace_id, span.context.span_id) == (line["trace_id"], line["span_id"])
    assert (span.name, span.kind, span.parent, span.error) == (f"POST {ROUTE}", SpanKind.SERVER, None, None)
    assert span.attributes["dcs.request_id"] == line["request_id"]
    assert 0 < span.end_ns - span.start_ns < 10**9
    assert line["duration_ms"] == pytest.approx((span.end_ns - span.start_ns) / 1e6, abs=0.01)
    assert counted("dcs_http_requests_total", route=ROUTE, status="202") == before + 1
    assert counted("dcs_http_request_duration_seconds_count", route=ROUTE) == took + 1


def test_requests_are_told_each_with_its_own_ids(told: Told) -> None:
    for _ in range(20):
        ask(answer)
    telemetry.tell_now()
    lines = told.lines()
    assert len({line["trace_id"] for line in lines}) == len(lines) == len(told.spans) == 20
    assert [line["span_id"] for line in lines] == [span.context.span_id for span in told.spans]


def test_a_request_of_a_trace_goes_on_with_it(told: Told) -> None:
    ask(answer, headers=((b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode()),))
    telemetry.tell_now()
    [line], [span] = told.lines(), told.spans
    assert line["trace_id"] == span.context.trace_id == TRACE
    assert span.parent is not None
    assert span.parent.span_id == "b7ad6b7169203331"
    assert span.context.span_id != span.parent.span_id
    assert line["request_id"] != TRACE  # a caller may do more than one thing in a trace


def test_a_trace_that_is_not_sampled_has_a_line_and_no_span(told: Told) -> None:
    ask(answer, headers=((b"traceparent", f"00-{TRACE}-b7ad6b7169203331-00".encode()),))
    telemetry.tell_now()
    assert [line["trace_id"] for line in told.lines()] == [TRACE]
    assert told.spans == []


@pytest.mark.usefixtures("told")
def test_who_reads_metrics_sees_every_request_that_is_over() -> None:
    before = counted("dcs_http_requests_total", route=ROUTE, status="202")
    ask(answer)
    body = bytes(asyncio.run(read_metrics()).body).decode()
    line = f'dcs_http_requests_total{{method="POST",route="{ROUTE}",status="202"}} {before + 1}'
    assert line in body.splitlines()


def test_who_reads_metrics_does_not_wait_for_who_reads_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    writing, go_on = threading.Event(), threading.Event()

    class Stalled(io.BytesIO):
        def write(self, text: object) -> int:
            writing.set()
            go_on.wait(20)
            return super().write(text)  # type: ignore[arg-type]

    writer: Any = LineWriter(Stalled(), Lines("api", "api-1", None))
    monkeypatch.setattr(telemetry._Writing, "lines", writer)
    stalled = threading.Thread(target=ask, args=(answer,))
    stalled.start()
    assert writing.wait(10)
    before = counted("dcs_http_requests_total", route=ROUTE, status="202")
    writer._expected = True  # by the thread that is stalled
    ask(answer)
    asyncio.run(asyncio.wait_for(asyncio.to_thread(lambda: asyncio.run(read_metrics())), 10))
    assert counted("dcs_http_requests_total", route=ROUTE, status="202") > before
    assert not go_on.is_set()
    go_on.set()
    stalled.join(10)


@pytest.mark.parametrize(
    ("app", "failure", "status", "error"),
    [
        (break_down, RuntimeError, 500, "http_500"),
        (break_off, ConnectionResetError, 202, "ConnectionResetError"),
    ],
)
def test_what_fails_is_told_as_failed(
    told: Told, app: App, failure: type[Exception], status: int, error: str
) -> None:
    with pytest.raises(failure):
        ask(app)
    telemetry.tell_now()
    [line], [span] = told.lines(), told.spans
    assert (line["status"], span.error) == (status, error)


def test_what_watches_the_service_is_counted_and_not_told(told: Told) -> None:
    before = counted("dcs_http_requests_total", route=ROUTE, status="202")
    ask(answer, "/health/live")
    telemetry.tell_now()
    tally.settle()
    assert (told.lines(), told.spans) == ([], [])
    assert counted("dcs_http_requests_total", route=ROUTE, status="202") == before + 1


def test_a_request_of_one_that_watches_has_no_trace_of_one_before(told: Told) -> None:
    seen: list[object] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)
        seen.append(tracing.current())

    async def both() -> None:
        for path in ("/api", "/health/live"):
            scope = {"type": "http", "method": "GET", "path": path, "headers": ()}
            await TelemetryMiddleware(look)(scope, None, None)  # type: ignore[arg-type]

    asyncio.run(both())
    assert seen[0] is not None
    assert seen[1] is None


def test_where_nothing_is_configured_it_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def bind_too(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)
        log_context.bind(route="of the context")

    monkeypatch.setattr(telemetry._Writing, "lines", None)
    ask(bind_too)
    told = capsys.readouterr().out
    assert "request_completed" in told
    assert ROUTE in told
