"""Spans by OTLP/HTTP with the OpenTelemetry SDK's batching exporter."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from app.telemetry.otlp import (
    BATCH_RECORDS_MAX,
    EXPORT_TIMEOUT_SECONDS,
    QUEUE_RECORDS_MAX,
    SCHEDULE_DELAY_MILLISECONDS,
    end_in_time,
    resource_of,
)
from app.telemetry.trace_context import TraceContext
from app.telemetry.tracing import Span

_KINDS = tuple(SpanKind)
_UNSET = Status(StatusCode.UNSET)


def _context(context: TraceContext, *, remote: bool) -> SpanContext:
    return SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([context.state]) if context.state else None,
    )


class OtlpTraces:
    """Exports in the background. When the queue is full the oldest are dropped; the caller never waits."""

    def __init__(self, endpoint: str, *, service: str, instance: str, environment: str, version: str) -> None:
        self._resource = resource_of(
            service=service, instance=instance, environment=environment, version=version
        )
        self._scope = InstrumentationScope("dcs", version)
        self._processor = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS),
            schedule_delay_millis=SCHEDULE_DELAY_MILLISECONDS,
            max_export_batch_size=BATCH_RECORDS_MAX,
            max_queue_size=QUEUE_RECORDS_MAX,
        )

    def emit(self, span: Span) -> None:
        """Queue one ended span."""
        self._processor.on_end(
            ReadableSpan(
                span.name,
                context=_context(span.context, remote=False),
                parent=_context(span.parent, remote=True) if span.parent else None,
                resource=self._resource,
                attributes=span.attributes,
                kind=_KINDS[span.kind.value],
                status=Status(StatusCode.ERROR, span.error) if span.error else _UNSET,
                start_time=span.start_ns,
                end_time=span.end_ns,
                instrumentation_scope=self._scope,
            )
        )

    def shutdown(self) -> None:
        """Send what is queued, for at most 2 s."""
        end_in_time(self._processor.shutdown)
