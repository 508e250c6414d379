"""A line, a record or a span of a shape that was met before is, byte by byte, what it is when it is new."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.telemetry import otlp_traces
from app.telemetry.events import Lines
from app.telemetry.lines import encoded
from app.telemetry.otlp import STDOUT_ONLY
from app.telemetry.shapes import shape_of
from app.telemetry.trace_context import TraceContext
from app.telemetry.tracing import Span, SpanKind

TRACE = TraceContext("a" * 32, "b" * 16, sampled=True)
PLACED = (STDOUT_ONLY, "trace_id", "span_id", "timestamp", "service", "instance", "event", "level", "token")
# Also halves of surrogate pairs, which are no text, and what a format string would take for its own.
TEXTS = st.text(st.characters(), max_size=10) | st.sampled_from(["%", "%b", '"', "\\", "naïve", "\ud83d"])
KEYS = TEXTS | st.sampled_from(PLACED)
VALUES = (
    TEXTS
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.booleans()
    | st.uuids()
    | st.none()
    | st.lists(st.integers(), max_size=2)
)


class Both:
    """Makes lines and records either way."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.lines = Lines("a %d service", 'api "1"', self.records.append)

    def make(
        self, name: str, keys: dict[str, Any], trace: TraceContext | None
    ) -> tuple[tuple[bytes | None, list[bytes]], tuple[bytes, list[bytes]]]:
        """Return the line and the records by a text, which may be none, and by their parts."""
        event = {**keys, "event": name, "level": "info"}
        quick = self.lines._line_of_known(1_700_000_000_000_001_999, event, trace)
        quick_records, self.records[:] = list(self.records), []
        slow = self.lines._line_of_any(1_700_000_000_000_001_999, dict(event), trace)
        slow_records, self.records[:] = list(self.records), []
        return (quick, quick_records), (slow, slow_records)


BOTH = Both()


@given(TEXTS, st.dictionaries(KEYS, VALUES, max_size=6), st.sampled_from([None, TRACE]))
@example("x", {"%": "%s", "n": 2**63 - 1, "u": UUID(int=1)}, TRACE)
@example("x", {"n": 2**63, "f": float("nan")}, TRACE)
@example("x", {"token": "canary"}, None)
def test_an_event_is_told_the_same_either_way(
    name: str, keys: dict[str, Any], trace: TraceContext | None
) -> None:
    (line, records), slow = BOTH.make(name, keys, trace)
    if line is None:
        assert records == []  # or it would be exported twice
    else:
        assert (line, records) == slow


@pytest.mark.parametrize("trace", [None, TRACE])
def test_plain_values_are_told_the_quick_way(trace: TraceContext | None) -> None:
    keys = {"a": "naïve", "b": 2, "c": 0.25, "d": True, "e": UUID(int=7), "%": '"%b"'}
    (line, records), slow = BOTH.make("%d things", keys, trace)
    assert (line, records) == slow
    assert len(records) == 1


@pytest.mark.parametrize("key", [STDOUT_ONLY, "trace_id", "span_id", "timestamp", "service", "Password"])
def test_a_key_that_has_a_place_or_a_secret_is_never_told_the_quick_way(key: str) -> None:
    (line, records), _slow = BOTH.make("x", {key: "canary"}, TRACE)
    assert (line, records) == (None, [])


def _ended(attributes: dict[str, Any], name: str, parent: TraceContext | None, kind: SpanKind) -> Span:
    span = Span(name, kind, parent)
    span.attributes = attributes
    span.start_ns, span.end_ns = 1_700_000_000_000_001_999, 1_700_000_000_000_002_999
    return span


@given(
    st.dictionaries(KEYS, VALUES, max_size=5),
    TEXTS,
    st.sampled_from([None, TRACE, TRACE._replace(state="vendor=1")]),
    st.sampled_from(SpanKind),
)
def test_a_span_is_told_the_same_either_way(
    attributes: dict[str, Any], name: str, parent: TraceContext | None, kind: SpanKind
) -> None:
    span = _ended(attributes, name, parent, kind)
    quick = otlp_traces._json_of_known(span)
    assert quick in (None, encoded(otlp_traces._span(span)))


@pytest.mark.parametrize("parent", [None, TRACE])
@pytest.mark.parametrize("attributes", [{}, {"http.route": "/a", "http.response.status_code": 202}])
def test_a_plain_span_is_told_the_quick_way(parent: TraceContext | None, attributes: dict[str, Any]) -> None:
    span = _ended(attributes, "POST /a", parent, SpanKind.SERVER)
    assert otlp_traces._json_of_known(span) == encoded(otlp_traces._span(span))


def test_a_span_that_failed_says_so() -> None:
    span = _ended({"a": 1}, "POST /a", None, SpanKind.SERVER)
    span.fail("http_503")
    assert otlp_traces._json_of_known(span) is None
    assert b'"message":"http_503"' in otlp_traces.span_json(span)


def test_a_shape_is_made_once() -> None:
    first = shape_of(("a", "b"), (str, int))
    assert first is not None
    assert first.numbers == (1,)
    assert shape_of(("a", "b"), (str, int)) is first
    assert shape_of(("a",), (dict,)) is None
