"""Request ids, request metrics and one log line per request."""

from __future__ import annotations

import functools
import re
import time
from typing import TYPE_CHECKING

import structlog
from fastapi.routing import APIRoute

from app.access.headers import GUARDED_STATUSES
from app.telemetry import clients, log_context, metrics
from app.telemetry.metrics import runtime
from app.telemetry.trace_context import new_request_id
from app.telemetry.tracing import Span, SpanKind, remote_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter
    from prometheus_client import Counter, Histogram
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.telemetry.trace_context import TraceContext

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_QUIET_PREFIXES = ("/health", "/metrics")
_SERVER_ERROR = 500
_CHILDREN_KEPT_MAX = 1024
UNMATCHED_ROUTE = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger()


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _request_id(headers: Sequence[tuple[bytes, bytes]]) -> str:
    given = _values(headers, b"x-request-id")
    # Anything else could forge log lines or fill an index.
    return given[0] if given and _REQUEST_ID.match(given[0]) else new_request_id()


def _caller(headers: Sequence[tuple[bytes, bytes]]) -> TraceContext | None:
    given = _values(headers, b"traceparent")
    # Two of them name two parents: none is believed.
    return remote_parent(given[0], ",".join(_values(headers, b"tracestate"))) if len(given) == 1 else None


# Finding the child of a metric by its labels costs more than counting does. All labels are bounded.
@functools.lru_cache(maxsize=_CHILDREN_KEPT_MAX)
def _requests(method: str, route: str, status: int) -> Counter:
    return metrics.HTTP_REQUESTS.labels(method, route, str(status))


@functools.lru_cache(maxsize=_CHILDREN_KEPT_MAX)
def _duration(method: str, route: str) -> Histogram:
    return metrics.HTTP_REQUEST_DURATION.labels(method, route)


class TelemetryMiddleware:
    """Outermost: it sees every request, also those no route takes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope["headers"]
        request_id = _request_id(headers)
        log_context.clear()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        if scope["path"].startswith(_QUIET_PREFIXES):  # asked every second, by those who keep no traces
            log_context.bind(request_id=request_id)
            await self._serve(scope, receive, send, None)
            return
        with Span("request", SpanKind.SERVER, _caller(headers)) as span:
            state["trace_id"] = span.context.trace_id
            # Bound as well: the answer to a defect is made when this span has ended.
            log_context.bind(
                request_id=request_id, trace_id=span.context.trace_id, span_id=span.context.span_id
            )
            await self._serve(scope, receive, send, span)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, span: Span | None) -> None:
        request_id = scope["state"]["request_id"]
        status = 500
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode("latin-1"))]
            await send(message)

        runtime.HTTP_IN_FLIGHT.inc()
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            runtime.HTTP_IN_FLIGHT.dec()
            self._record(scope, status, time.perf_counter() - started)
            if span is not None and span.recorded:
                _describe(span, scope, status)

    @staticmethod
    def _record(scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        _requests(method, route, status).inc()
        _duration(method, route).observe(seconds)
        principal = scope["state"].get("principal")
        if principal is not None:
            clients.count_request(principal.client_id, status)
        write = log.debug if scope["path"].startswith(_QUIET_PREFIXES) else log.info
        write(
            "request_completed",
            method=method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 2),
        )


def _describe(span: Span, scope: Scope, status: int) -> None:
    route = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    span.name = f"{method} {route}"
    span.set("http.request.method", method)
    span.set("http.route", route)
    span.set("http.response.status_code", status)
    span.set("dcs.request_id", scope["state"]["request_id"])
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
