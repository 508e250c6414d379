"""Spans as OTLP's."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from app.telemetry.lines import encoded
from app.telemetry.otlp import OtlpExporter, Speaker, attributes
from app.telemetry.shapes import SHAPES_KNOWN_MAX, Shape, shape_of, values_of
from app.telemetry.tracing import Span

_ERROR = 2
_SAMPLED = 1
_PARENT = b',"parentSpanId":%b'


class OtlpTraces:
    """Exports ended spans in the background; the caller never waits."""

    def __init__(self, endpoint: str, speaker: Speaker) -> None:
        self._resource = speaker.resource()
        self._scope = {"name": "dcs", "version": speaker.version}
        self._exporter: OtlpExporter[orjson.Fragment] = OtlpExporter("traces", endpoint, self._request)
        self.shutdown = self._exporter.shutdown

    def emit(self, span: Span) -> None:
        """Queue the JSON of a span, which keeps less alive than the span."""
        self._exporter.put(orjson.Fragment(span_json(span)))

    def _request(self, spans: Sequence[orjson.Fragment]) -> object:
        scope = {"scope": self._scope, "spans": spans}
        return {"resourceSpans": [{"resource": self._resource, "scopeSpans": [scope]}]}


def span_json(span: Span) -> bytes:
    """Return the JSON of a span."""
    return _json_of_known(span) or encoded(_span(span))


class _Text(NamedTuple):
    """For ``%``: with the values of attributes, the ids, the name, and when it began and ended."""

    span: bytes
    shape: Shape


def _json_of_known(span: Span) -> bytes | None:
    """Return the JSON if that of a span of this shape can be made of a text."""
    trace_id, span_id, _sampled, state = span.context
    if state or span.error:
        return None
    values = tuple(span.attributes.values())
    text = _text(span.kind, tuple(span.attributes), tuple(map(type, values)), _PARENT if span.parent else b"")
    if text is None:
        return None
    values = (*values, trace_id, span_id, span.name)
    told = values_of(text.shape, values if span.parent is None else (*values, span.parent.span_id))
    return None if told is None else text.span % (*told, span.start_ns, span.end_ns)


@functools.lru_cache(maxsize=SHAPES_KNOWN_MAX)
def _text(kind: int, keys: tuple[str, ...], kinds: tuple[type, ...], parent: bytes) -> _Text | None:
    shape = shape_of(keys, kinds)
    if shape is None:
        return None
    span = (
        b'{%b"traceId":%%b,"spanId":%%b,"name":%%b%b,"flags":%d,"kind":%d,'
        b'"startTimeUnixNano":"%%d","endTimeUnixNano":"%%d"}'
    ) % (
        b'"attributes":[%b],' % shape.attributes if keys else b"",
        parent,
        _SAMPLED,
        _otlp_kind(kind),
    )
    return _Text(span, shape)


def _span(span: Span) -> dict[str, Any]:
    trace_id, span_id, _sampled, state = span.context
    told: dict[str, Any] = {}
    if span.attributes:
        told["attributes"] = attributes(span.attributes)
    told |= {"traceId": trace_id, "spanId": span_id, "name": span.name}
    if span.parent is not None:
        told["parentSpanId"] = span.parent.span_id
    told |= {
        "flags": _SAMPLED,
        "kind": _otlp_kind(span.kind),
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
    }
    if state:
        told["traceState"] = state
    if span.error:
        told["status"] = {"code": _ERROR, "message": span.error}
    return told


def _otlp_kind(kind: int) -> int:
    return kind + 1  # OTLP has 0 for a kind that nobody said
