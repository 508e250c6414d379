"""Log events as OTLP's log records."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from app.telemetry.otlp import OtlpExporter, Speaker, attributes, value_of

# https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
_SEVERITIES = {"debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}
_INFO = _SEVERITIES["info"]
_Event = tuple[int, dict[str, Any]]


class OtlpLogs:
    """Exports log events in the background; the caller never waits."""

    def __init__(self, endpoint: str, speaker: Speaker) -> None:
        self._resource = speaker.resource()
        self._exporter: OtlpExporter[_Event] = OtlpExporter("logs", endpoint, self._request)
        self.shutdown = self._exporter.shutdown

    def emit(self, event: dict[str, Any]) -> None:
        """Queue one event: its name is the body, every key an attribute."""
        self._exporter.put((time.time_ns(), event))

    def _request(self, events: Sequence[_Event]) -> object:
        scope = {"scope": {"name": "dcs"}, "logRecords": [_record(at, event) for at, event in events]}
        return {"resourceLogs": [{"resource": self._resource, "scopeLogs": [scope]}]}


def _record(at_ns: int, event: dict[str, Any]) -> dict[str, Any]:
    event.pop("timestamp", None)
    level = str(event.get("level", "info"))
    at = str(at_ns)
    return {
        "timeUnixNano": at,
        "observedTimeUnixNano": at,
        "severityNumber": _SEVERITIES.get(level, _INFO),
        "severityText": level,
        "body": value_of(str(event.get("event", ""))),
        "attributes": attributes(event),
    }
