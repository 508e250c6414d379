"""Spans as OTLP's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from app.telemetry.lines import encoded
from app.telemetry.otlp import OtlpExporter, Speaker, attributes
from app.telemetry.tracing import Span

_ERROR = 2
_SAMPLED = 1


class OtlpTraces:
    """Exports ended spans in the background; the caller never waits."""

    def __init__(self, endpoint: str, speaker: Speaker) -> None:
        self._resource = speaker.resource()
        self._scope = {"name": "dcs", "version": speaker.version}
        self._exporter: OtlpExporter[Span] = OtlpExporter("traces", endpoint, self._request)
        self.emit = self._exporter.put
        self.shutdown = self._exporter.shutdown

    def _request(self, spans: Sequence[Span]) -> object:
        # One after the other: all of them as dictionaries at once would call the garbage collector each time.
        encoded_spans = [orjson.Fragment(encoded(_span(span))) for span in spans]
        scope = {"scope": self._scope, "spans": encoded_spans}
        return {"resourceSpans": [{"resource": self._resource, "scopeSpans": [scope]}]}


def _span(span: Span) -> dict[str, Any]:
    trace_id, span_id, _sampled, state = span.context
    told: dict[str, Any] = {
        "traceId": trace_id,
        "spanId": span_id,
        "flags": _SAMPLED,
        "name": span.name,
        "kind": span.kind + 1,  # OTLP has 0 for a kind that nobody said
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
    }
    if span.attributes:
        told["attributes"] = attributes(span.attributes)
    if span.parent is not None:
        told["parentSpanId"] = span.parent.span_id
    if state:
        told["traceState"] = state
    if span.error:
        told["status"] = {"code": _ERROR, "message": span.error}
    return told
