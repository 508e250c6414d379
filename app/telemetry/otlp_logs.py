"""Log events as OTLP's log records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.telemetry.lines import encoded
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

    def emit(self, at_ns: int, event: Mapping[str, Any], trace_id: str | None, span_id: str | None) -> None:
        """Queue one event: its name is the body, and every key an attribute."""
        level = event["level"]
        record: dict[str, Any] = {
            "timeUnixNano": str(at_ns),
            "severityNumber": _SEVERITIES.get(level, _INFO),
            "severityText": level,
            "body": {"stringValue": event["event"]},
            "attributes": attributes(event),
        }
        if trace_id is not None:
            record["traceId"] = trace_id
        if span_id is not None:
            record["spanId"] = span_id
        self._exporter.put(orjson.Fragment(encoded(record)))

    def _request(self, records: Sequence[orjson.Fragment]) -> object:
        scope = {"scope": {"name": "dcs"}, "logRecords": records}
        return {"resourceLogs": [{"resource": self._resource, "scopeLogs": [scope]}]}
