"""Trace context as the W3C recommendation has it, and spans."""

from __future__ import annotations

import threading

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.telemetry import tracing
from app.telemetry.trace_context import TraceContext, new_trace, parsed
from app.telemetry.tracing import Span, SpanKind

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"

INVALID = {
    "nothing": None,
    "empty": "",
    "spaces": "  ",
    "zero trace id": f"00-{'0' * 32}-{SPAN}-01",
    "zero span id": f"00-{TRACE}-{'0' * 16}-01",
    "upper case": VALID.upper(),
    "version ff": f"ff-{TRACE}-{SPAN}-01",
    "version 00 with more": f"{VALID}-more",
    "version 00 with a dash": f"{VALID}-",
    "one digit of version": f"0-{TRACE}-{SPAN}-01",
    "no flags": f"00-{TRACE}-{SPAN}",
    "one digit of flags": f"00-{TRACE}-{SPAN}-1",
    "flags are no hex": f"00-{TRACE}-{SPAN}-0g",
    "short trace id": f"00-{TRACE[1:]}-{SPAN}-01",
    "long trace id": f"00-{TRACE}0-{SPAN}-01",
    "short span id": f"00-{TRACE}-{SPAN[1:]}-01",
    "trace id is no hex": f"00-{TRACE[:-1]}x-{SPAN}-01",
    "other digits": f"00-{TRACE[:-1]}\N{ARABIC-INDIC DIGIT ONE}-{SPAN}-01",
    "leading space": f" {VALID}",
    "trailing space": f"{VALID} ",
    "line end": f"{VALID}\n",
    "two values": f"{VALID},{VALID}",
    "underscores": VALID.replace("-", "_"),
    "too much from the future": f"01-{TRACE}-{SPAN}-01-{'x' * 300}",
    "future without a dash": f"01-{TRACE}-{SPAN}-01x",
}


@pytest.mark.parametrize("given", INVALID.values(), ids=INVALID.keys())
def test_what_the_recommendation_does_not_allow_is_no_context(given: str | None) -> None:
    assert parsed(given, "vendor=1") is None


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_only_the_lowest_flag_says_sampled(flags: str, *, sampled: bool) -> None:
    assert parsed(f"00-{TRACE}-{SPAN}-{flags}") == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize("more", ["", "-", "-what-will-be"])
def test_a_later_version_is_read_as_far_as_it_is_known_and_answered_in_ours(more: str) -> None:
    context = parsed(f"cc-{TRACE}-{SPAN}-01{more}")
    assert context == TraceContext(TRACE, SPAN, sampled=True)
    assert context.traceparent == VALID


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1,b=2", "a=1,b=2"),
        ("", ""),
        (None, ""),
        ("x" * 513, ""),
        ("a=\r\nX-Evil: 1", ""),
        ("a=\u00e9", ""),
    ],
)
def test_the_state_of_others_is_passed_on_unless_it_could_do_harm(state: str | None, kept: str) -> None:
    context = parsed(VALID, state)
    assert context is not None
    assert context.child().headers().get("tracestate", "") == kept


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=80))
def test_parsing_never_raises(text: str) -> None:
    context = parsed(text, text)
    assert context is None or parsed(context.traceparent) is not None


def test_a_child_keeps_the_trace_and_the_decision_and_has_a_span_of_its_own() -> None:
    for sampled in (True, False):
        parent = TraceContext(TRACE, SPAN, sampled)
        child = parent.child()
        assert (child.trace_id, child.sampled) == (TRACE, sampled)
        assert child.span_id != SPAN


def test_as_many_new_traces_are_sampled_as_asked() -> None:
    def sampled(ratio: float) -> int:
        return sum(new_trace(ratio).sampled for _ in range(2000))

    assert sampled(0) == 0
    assert sampled(1) == 2000
    assert 300 < sampled(0.25) < 700


def test_ids_are_unique_also_across_threads() -> None:
    found: list[str] = []

    def make() -> None:
        found.extend(new_trace(1).span_id for _ in range(2000))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(found)


def test_spans_nest_and_leave_nothing_behind() -> None:
    assert tracing.current() is None
    assert tracing.outgoing_headers() == {}
    with Span("outer", SpanKind.SERVER, parsed(VALID)) as outer:
        with Span("inner", SpanKind.CLIENT) as inner:
            assert inner.parent == outer.context
            assert tracing.outgoing_headers() == {"traceparent": f"00-{TRACE}-{inner.context.span_id}-01"}
        assert tracing.current() == outer.context
    assert tracing.current() is None


def test_a_thread_that_works_for_a_request_is_in_its_span() -> None:
    async def main() -> tuple[str | None, str]:
        with Span("request") as span:
            return await anyio.to_thread.run_sync(tracing.current_traceparent), span.context.traceparent

    there, here = anyio.run(main)
    assert there == here


def test_without_an_endpoint_nothing_is_recorded() -> None:
    with Span("request") as span:
        span.set("http.route", "/x")
    assert not span.recorded
    assert span.attributes == {}
    assert not tracing.recording()
