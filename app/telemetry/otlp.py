"""Logs by OTLP/HTTP with the OpenTelemetry SDK."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from app.telemetry.lines import encoded

SCHEDULE_DELAY_MILLISECONDS = 400
EXPORT_TIMEOUT_SECONDS = 3.0
QUEUE_RECORDS_MAX = 2048
BATCH_RECORDS_MAX = 256
SHUTDOWN_TIMEOUT_SECONDS = 2.0

_SEVERITIES = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}


def _flat(value: Any) -> str | int | float | bool:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # protobuf refuses the whole batch else
    if isinstance(value, int | float | bool):
        return value
    return encoded(value).decode()


def resource_of(*, service: str, instance: str, environment: str, version: str) -> Resource:
    """Return who is speaking."""
    return Resource(
        {
            "service.name": service,
            "service.namespace": "dcs",
            "service.instance.id": instance,
            "service.version": version,
            "deployment.environment.name": environment,
        }
    )


def end_in_time(shutdown: Callable[[], None]) -> None:
    """Let an exporter send what is queued, for at most 2 s."""
    # The SDK's own shutdown waits up to 30 s for a collector that does not answer.
    worker = threading.Thread(target=shutdown, name="otlp-shutdown", daemon=True)
    worker.start()
    worker.join(SHUTDOWN_TIMEOUT_SECONDS)


class OtlpLogs:
    """Exports in the background. When the queue is full the oldest are dropped; the caller never waits."""

    def __init__(self, endpoint: str, *, service: str, instance: str, environment: str, version: str) -> None:
        resource = resource_of(service=service, instance=instance, environment=environment, version=version)
        self._provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(
            BatchLogRecordProcessor(
                OTLPLogExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS),
                schedule_delay_millis=SCHEDULE_DELAY_MILLISECONDS,
                max_export_batch_size=BATCH_RECORDS_MAX,
                max_queue_size=QUEUE_RECORDS_MAX,
            )
        )
        self._logger = self._provider.get_logger("dcs")

    def emit(self, event: dict[str, Any]) -> None:
        """Queue one event: its name is the body, every key an attribute."""
        event.pop("timestamp", None)
        level = str(event.get("level", "info"))
        self._logger.emit(
            timestamp=time.time_ns(),
            severity_number=_SEVERITIES.get(level, SeverityNumber.INFO),
            severity_text=level,
            body=str(event.get("event", "")),
            attributes={key: _flat(value) for key, value in event.items() if value is not None},
        )

    def shutdown(self) -> None:
        """Send what is queued, for at most 2 s."""
        end_in_time(self._provider.shutdown)
