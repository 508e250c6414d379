"""What becomes of a log event: a line, and OTLP's record."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from app.telemetry.lines import encoded
from app.telemetry.otlp import STDOUT_ONLY
from app.telemetry.otlp_logs import log_record, severity_of
from app.telemetry.shapes import SHAPES_KNOWN_MAX, Shape, literal, shape_of, values_of
from app.telemetry.trace_context import TraceContext

Said = tuple[int, str, str, dict[str, Any], Mapping[str, Any], TraceContext | None]
"""Nanoseconds since 1970, the method, the event, its keys, those bound around it, and the open span.

Nothing in it is changed after it was logged: the line is made later.
"""
Telling = Callable[[], Said | None]
"""Finds out what is to be said, if anything."""
Export = Callable[[bytes], None]
"""Takes the JSON of a record."""

_LEVELS = {"warn": "warning", "exception": "error", "fatal": "critical", "msg": "info"}
_SECRET_KEYS = frozenset({"authorization", "password", "api_key", "x-api-key", "cookie", "secret", "token"})
# They have a place of their own in a line or a record, or decide about it.
_PLACED_KEYS = frozenset({STDOUT_ONLY, "trace_id", "span_id", "timestamp", "service", "instance"})
_Ids = tuple[bytes, bytes]
_NO_IDS: _Ids = (b"", b"")
_IDS: _Ids = (b',"trace_id":%b,"span_id":%b', b',"traceId":%b,"spanId":%b')


class _Texts(NamedTuple):
    """For ``%``: with the values and the time, and with nanoseconds since 1970 and the values."""

    line: bytes
    record: bytes
    shape: Shape


@functools.lru_cache(maxsize=SHAPES_KNOWN_MAX)
def _secrets(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(key for key in keys if key.lower() in _SECRET_KEYS)


class Past(NamedTuple):
    """Says something of a moment that is over, and of what was bound and open then."""

    at_ns: int
    bound: Mapping[str, Any]
    trace: TraceContext | None

    def info(self, event: str, **keys: Any) -> Said:
        """Return what is said."""
        return self.at_ns, "info", event, keys, self.bound, self.trace


class Lines:
    """Makes the line of an event, and exports its record."""

    def __init__(self, service: str, instance: str, export: Export | None) -> None:
        self._service, self._instance, self._export = service, instance, export
        self._second = (0, b"")  # most lines come in a second whose name was written already
        self._texts = functools.lru_cache(maxsize=SHAPES_KNOWN_MAX)(self._write_texts)

    def __call__(self, item: Said | Telling) -> bytes:
        """Return the line, as JSON; nothing where nothing is said."""
        said = item if isinstance(item, tuple) else item()
        if said is None:
            return b""
        at_ns, method, name, keys, bound, trace = said
        event = {**bound, **keys, "event": name, "level": _LEVELS.get(method, method)}
        return self._line_of_known(at_ns, event, trace) or self._line_of_any(at_ns, event, trace)

    def _line_of_known(
        self, at_ns: int, event: Mapping[str, Any], trace: TraceContext | None
    ) -> bytes | None:
        """Return the line if a line of this shape can be made of a text."""
        values = tuple(event.values())
        ids = _NO_IDS if trace is None else _IDS
        texts = self._texts(event["event"], event["level"], tuple(event), tuple(map(type, values)), ids)
        if texts is None:
            return None
        told = values_of(texts.shape, values if trace is None else (*values, trace.trace_id, trace.span_id))
        if told is None:
            return None
        if self._export is not None:
            self._export(texts.record % (at_ns, *told))
        return texts.line % (*told, self._time(at_ns))

    def _write_texts(
        self, name: str, level: str, keys: tuple[str, ...], kinds: tuple[type, ...], ids: _Ids
    ) -> _Texts | None:
        if not _PLACED_KEYS.isdisjoint(keys) or _secrets(keys):
            return None
        try:
            shape = shape_of(keys, kinds)
            if shape is None:
                return None
            line = b'{%b%b,"timestamp":"%%b","service":%b,"instance":%b}' % (
                shape.members,
                ids[0],
                literal(self._service),
                literal(self._instance),
            )
            record = (
                b'{"timeUnixNano":"%%d","severityNumber":%d,"severityText":%b,'
                b'"body":{"stringValue":%b},"attributes":[%b]%b}'
            ) % (
                severity_of(level),
                literal(level),
                literal(name),
                shape.attributes,
                ids[1],
            )
        except TypeError:
            return None
        return _Texts(line, record, shape)

    def _line_of_any(self, at_ns: int, event: dict[str, Any], trace: TraceContext | None) -> bytes:
        trace_id, span_id = event.pop("trace_id", None), event.pop("span_id", None)
        if trace_id is None and trace is not None:
            trace_id, span_id = trace.trace_id, trace.span_id
        for key in _secrets(tuple(event)):
            event[key] = "[redacted]"
        if event.pop(STDOUT_ONLY, None) is None and self._export is not None:
            self._export(encoded(log_record(at_ns, event, trace_id, span_id)))
        if trace_id is not None:
            event["trace_id"] = trace_id
        if span_id is not None:
            event["span_id"] = span_id
        event["timestamp"] = self._time(at_ns).decode()
        event["service"] = self._service
        event["instance"] = self._instance
        return encoded(event)

    def _time(self, at_ns: int) -> bytes:
        second, rest_ns = divmod(at_ns, 1_000_000_000)
        last, text = self._second
        if last != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            self._second = (second, text)
        return b"%b.%06dZ" % (text, rest_ns // 1000)
