"""What becomes of a log call: now what it was called with, later the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import LogCapture

from app.telemetry import log_context
from app.telemetry.events import Lines
from app.telemetry.logging import _Logger
from app.telemetry.tracing import Span


class Writer:
    """Keeps what was said, by method."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.methods: list[str] = []

    def __getattr__(self, method: str) -> Callable[[Any], None]:
        self.methods.append(method)
        return self.said.append

    def lines(self) -> list[dict[str, Any]]:
        line = Lines("api", "api-1", None)
        return [json.loads(line(said)) for said in self.said]


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def log(writer: Writer) -> Any:
    return _Logger(writer, processors=[], context={})


def test_a_line_has_the_ids_of_the_span_that_was_open(writer: Writer, log: Any) -> None:
    log.info("before")
    with Span("request") as span:
        log.info("within")
        log.warning("within", trace_id="another", span_id="ones")
    before, within, of_another = writer.lines()
    assert "trace_id" not in before
    assert (within["trace_id"], within["span_id"]) == (span.context.trace_id, span.context.span_id)
    assert (of_another["trace_id"], of_another["span_id"]) == ("another", "ones")


def test_a_line_of_another_trace_does_not_name_a_span_of_this_one(writer: Writer, log: Any) -> None:
    with Span("request"):
        log.info("about_another", trace_id="another")
    [line] = writer.lines()
    assert line["trace_id"] == "another"
    assert "span_id" not in line


def test_what_is_bound_later_is_not_in_a_line(writer: Writer, log: Any) -> None:
    with log_context.bound(request_id="r"):
        log.info("first", request_id="its own")
        log_context.bind(client_id="acme")
        log.info("second")
    first, second = writer.lines()
    assert (first["request_id"], second["request_id"]) == ("its own", "r")
    assert "client_id" not in first
    assert second["client_id"] == "acme"


@pytest.mark.parametrize(
    ("method", "level"),
    [("info", "info"), ("warning", "warning"), ("error", "error"), ("critical", "critical")],
)
def test_every_level_is_written_as_what_it_is(writer: Writer, log: Any, method: str, level: str) -> None:
    getattr(log, method)("event %s", "x", amount=3)
    log.debug("not said")
    [line] = writer.lines()
    assert writer.methods == [method]
    assert (line["event"], line["level"], line["amount"]) == ("event x", level, 3)


def test_what_is_bound_to_a_logger_is_in_its_lines(writer: Writer, log: Any) -> None:
    log.bind(job_id="j").info("done", amount=3)
    [line] = writer.lines()
    assert (line["job_id"], line["amount"]) == ("j", 3)


@pytest.mark.parametrize("method", ["exception", "info"])
def test_an_error_is_told_as_it_was_when_it_was_logged(writer: Writer, log: Any, method: str) -> None:
    try:
        int("why")
    except ValueError:
        getattr(log, method)("crashed", exc_info=True)
    [line] = writer.lines()
    assert "ValueError: invalid literal" in line["exception"]
    assert "exc_info" not in line


def test_secrets_are_left_out_also_of_what_is_exported() -> None:
    exported: list[bytes] = []
    line = Lines("api", "api-1", exported.append)
    for _ in range(2):  # also the second of a shape
        told = json.loads(line((0, "info", "x", {"Password": "canary"}, {"token": "canary"}, None)))
        assert told["Password"] == told["token"] == "[redacted]"
    assert b"canary" not in b"".join(exported)
    assert [json.loads(record)["body"] for record in exported] == [{"stringValue": "x"}] * 2


def test_the_time_of_a_line_is_when_it_was_said() -> None:
    line = Lines("api", "api-1", None)
    stamps = [
        json.loads(line((at_ns, "info", "x", {}, {}, None)))["timestamp"]
        for at_ns in (1_700_000_000_000_001_999, 1_700_000_000_999_999_999, 1_700_000_001_000_000_000)
    ]
    assert stamps == [
        "2023-11-14T22:13:20.000001Z",
        "2023-11-14T22:13:20.999999Z",
        "2023-11-14T22:13:21.000000Z",
    ]


def test_who_wants_to_see_events_sees_them(writer: Writer) -> None:
    seen = LogCapture()
    log = _Logger(writer, processors=[seen], context={})
    log.info("x", amount=3)
    log.warning("y")
    assert [(entry["event"], entry["log_level"]) for entry in seen.entries] == [
        ("x", "info"),
        ("y", "warning"),
    ]
    assert writer.said == []
