"""Log events as OTLP's log records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.telemetry.otlp import OtlpExporter, Speaker, attributes

# https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
_SEVERITIES = {"debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}
_INFO = _SEVERITIES["info"]


class OtlpLogs:
    """Exports log events in the background; the caller never waits."""

    def __init__(self, endpoint: str, speaker: Speaker) -> None:
        self._resource = speaker.resource()
        self._exporter: OtlpExporter[orjson.Fragment] = OtlpExporter("logs", endpoint, self._request)
        self.shutdown = self._exporter.shutdown

    def put(self, record: bytes) -> None:
        """Queue one record: its JSON."""
        self._exporter.put(orjson.Fragment(record))

    def _request(self, records: Sequence[orjson.Fragment]) -> object:
        scope = {"scope": {"name": "dcs"}, "logRecords": records}
        return {"resourceLogs": [{"resource": self._resource, "scopeLogs": [scope]}]}


def log_record(
    at_ns: int, event: Mapping[str, Any], trace_id: str | None, span_id: str | None
) -> dict[str, Any]:
    """Return an event as OTLP's: its name is the body, and every key an attribute."""
    record: dict[str, Any] = {
        "timeUnixNano": str(at_ns),
        "severityNumber": severity_of(event["level"]),
        "severityText": event["level"],
        "body": {"stringValue": event["event"]},
        "attributes": attributes(event),
    }
    if trace_id is not None:
        record["traceId"] = trace_id
    if span_id is not None:
        record["spanId"] = span_id
    return record


def severity_of(level: str) -> int:
    """Return OTLP's number of a level."""
    return _SEVERITIES.get(level, _INFO)
