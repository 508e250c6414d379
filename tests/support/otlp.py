"""A small real OTLP/HTTP receiver of logs and spans."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self, TypeVar

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

IDS = {"traceId", "spanId", "parentSpanId"}

MessageT = TypeVar("MessageT", ExportLogsServiceRequest, ExportTraceServiceRequest)


@dataclass(frozen=True)
class ReceivedSpan:
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    attributes: dict[str, Any]
    error: str | None
    start_ns: int
    end_ns: int
    state: str


class Collector:
    """Keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[ExportLogsServiceRequest] = []
        self._traces: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector._take(self.path, body, self.headers["Content-Type"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        base = f"http://127.0.0.1:{self._server.server_address[1]}/otlp/v1"
        self.logs_endpoint, self.traces_endpoint = f"{base}/logs", f"{base}/traces"

    def _take(self, path: str, body: bytes, content_type: str) -> None:
        if path.endswith("/traces"):
            self._traces.append(parsed(ExportTraceServiceRequest(), body, content_type))
        else:
            self.requests.append(parsed(ExportLogsServiceRequest(), body, content_type))

    def resource(self) -> dict[str, Any]:
        return attributes(self.requests[0].resource_logs[0].resource)

    def records(self, event: str) -> list[dict[str, Any]]:
        """Return the attributes of records, and the ids that are their own fields."""
        return [
            attributes(record) | {"trace_id": record.trace_id.hex(), "span_id": record.span_id.hex()}
            for request in list(self.requests)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
            if record.body.string_value == event
        ]

    def spans(self, trace_id: str | None = None) -> list[ReceivedSpan]:
        """Return the spans, of one trace or all, by their beginning."""
        found = (span for span in self._spans() if trace_id in (None, span.trace_id))
        return sorted(found, key=lambda span: span.start_ns)

    def _spans(self) -> Iterator[ReceivedSpan]:
        for request in list(self._traces):
            for resource in request.resource_spans:
                service = attributes(resource.resource)["service.name"]
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    yield ReceivedSpan(
                        span.name,
                        span.kind,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        service,
                        attributes(span),
                        span.status.message if span.status.code else None,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.trace_state,
                    )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def parsed(message: MessageT, body: bytes, content_type: str) -> MessageT:
    """Return a request in either encoding. Whatever OTLP does not know is an error."""
    if content_type == "application/json":
        json_format.ParseDict(json.loads(body, object_hook=_with_base64), message)
    else:
        message.ParseFromString(body)
    return message


def _with_base64(found: dict[str, Any]) -> dict[str, Any]:
    # OTLP's JSON differs from that of Protocol Buffers in one thing: ids are hexadecimal.
    for key in IDS & found.keys():
        found[key] = base64.b64encode(bytes.fromhex(found[key])).decode()
    return found


def attributes(holder: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in holder.attributes}
