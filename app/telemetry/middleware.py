"""Request ids, request metrics and one log line per request."""

from __future__ import annotations

import functools
import re
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import structlog
from fastapi.routing import APIRoute

from app.access.headers import GUARDED_STATUSES
from app.telemetry import clients, log_context, metrics
from app.telemetry.metrics import runtime
from app.telemetry.tally import Tally
from app.telemetry.trace_context import new_request_id
from app.telemetry.tracing import Span, SpanKind, remote_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter
    from prometheus_client import Histogram
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.telemetry.trace_context import TraceContext

_READ_HEADERS = frozenset({b"x-request-id", b"traceparent", b"tracestate"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_QUIET_PREFIXES = ("/health", "/metrics")
_SERVER_ERROR = 500
_CHILDREN_KEPT_MAX = 1024
UNMATCHED_ROUTE = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _asked(headers: Sequence[tuple[bytes, bytes]]) -> tuple[str | None, TraceContext | None]:
    """Return the request's id and trace context, as far as its caller gave them."""
    ids: list[str] = []
    parents: list[str] = []
    states: list[str] = []
    for name, value in headers:
        if name in _READ_HEADERS:
            into = parents if name == b"traceparent" else ids if name == b"x-request-id" else states
            into.append(value.decode("latin-1"))
    # Anything else could forge log lines or fill an index.
    request_id = ids[0] if ids and _REQUEST_ID.match(ids[0]) else None
    # Two of them name two parents: none is believed.
    return request_id, remote_parent(parents[0], ",".join(states)) if len(parents) == 1 else None


_Answered = tuple[str, str, int, str | None]
"""Method, route, status, and the client if it is known."""


def _count(answered: _Answered, number: int) -> None:
    method, route, status, client_id = answered
    metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc(number)
    if client_id is not None:
        clients.count_request(client_id, status, number)


_answered = Tally(_count)


# Finding the child of a metric by its labels costs as much as observing does. All labels are bounded.
@functools.lru_cache(maxsize=_CHILDREN_KEPT_MAX)
def _duration(method: str, route: str) -> Histogram:
    return metrics.HTTP_REQUEST_DURATION.labels(method, route)


class TelemetryMiddleware:
    """Outermost: it sees every request, also those no route takes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_flight = 0  # of one event loop
        self._log = structlog.get_logger().bind()
        runtime.HTTP_IN_FLIGHT.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given_id, caller = _asked(scope["headers"])
        # Health and metrics are asked every second, by those who keep no traces.
        quiet = scope["path"].startswith(_QUIET_PREFIXES)
        span = None if quiet else Span("request", SpanKind.SERVER, caller)
        request_id = given_id or (span.context.trace_id if span and not caller else new_request_id())
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        log_context.begin(request_id=request_id)
        with span or nullcontext():
            if span is not None:
                state["trace_id"], state["span_id"], *_ = span.context
            self._in_flight += 1
            started = time.perf_counter()
            try:
                await self._app(scope, receive, send)
            finally:
                self._in_flight -= 1
                self._tell(scope, span, time.perf_counter() - started)

    def _tell(self, scope: Scope, span: Span | None, seconds: float) -> None:
        # The guard's word. Without it nothing was answered: of a defect the server tells when this has ended.
        status = scope["state"].get("status", _SERVER_ERROR)
        route = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        principal = scope["state"].get("principal")
        _answered.add((method, route, status, principal.client_id if principal else None))
        _duration(method, route).observe(seconds)
        # Cut, not rounded: that costs as much as counting.
        milliseconds = int(seconds * 100_000) / 100
        log = self._log
        write = log.debug if span is None else log.info
        write("request_completed", method=method, route=route, status=status, duration_ms=milliseconds)
        if span is not None and span.recorded:
            span.name = f"{method} {route}"
            span.attributes = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "dcs.request_id": scope["state"]["request_id"],
            }
            if status >= _SERVER_ERROR:
                span.fail(f"http_{status}")


def initialise_routes(*routers: APIRouter) -> None:
    """Create the label sets of every documented answer, so that a first error is an increase."""
    for route in (route for router in routers for route in router.routes):
        if not isinstance(route, APIRoute):
            continue
        for method in route.methods or ():
            metrics.HTTP_REQUEST_DURATION.labels(method, route.path)
            guarded = GUARDED_STATUSES if route.path.startswith("/api/") else ()
            for status in {route.status_code or 200, *route.responses, *guarded, 500}:
                metrics.HTTP_REQUESTS.labels(method, route.path, str(status))
