"""Request ids, request metrics and one log line per request."""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from functools import partial
from typing import TYPE_CHECKING

from fastapi.routing import APIRoute

from app.access.headers import GUARDED_STATUSES
from app.telemetry import clients, log_context, metrics, tracing
from app.telemetry.events import Past
from app.telemetry.logging import tell_later
from app.telemetry.metrics import runtime
from app.telemetry.tally import Tally
from app.telemetry.trace_context import new_request_id
from app.telemetry.tracing import Span, SpanKind, remote_parent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from fastapi import APIRouter
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.telemetry.events import Said
    from app.telemetry.trace_context import TraceContext

_READ_HEADERS = frozenset({b"x-request-id", b"traceparent", b"tracestate"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_QUIET_PREFIXES = ("/health", "/metrics")
_SERVER_ERROR = 500
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


_Answered = tuple[str, str, int, str | None, int]
"""Method, route, status, the client if it is known, and the bucket of the duration."""


def _count(answered: _Answered, number: int, seconds: float) -> None:
    method, route, status, client_id, bucket = answered
    metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc(number)
    metrics.HTTP_REQUEST_DURATION.labels(method, route).add(bucket, number, seconds)
    if client_id is not None:
        clients.count_request(client_id, status, number)


_answered = Tally(_count)


def _tell(  # noqa: PLR0917  all that is told of a request
    method: str,
    route: str,
    status: int,
    client_id: str | None,
    start_ns: int,
    seconds: float,
    bound: Mapping[str, Any],
    caller: TraceContext | None,
    context: TraceContext | None,
    error: str | None,
) -> Said | None:
    """Count a request, export its span, and return what its log line says."""
    if method not in _METHODS:
        method = "OTHER"
    bucket = bisect_left(metrics.REQUEST_BUCKETS, seconds)
    _answered.add((method, route, status, client_id, bucket), seconds)
    if context is None:
        return None
    end_ns = start_ns + int(seconds * 1e9)
    if tracing.exported(context):
        tracing.export(
            Span.ended(
                f"{method} {route}",
                SpanKind.SERVER,
                context=context,
                parent=caller,
                start_ns=start_ns,
                end_ns=end_ns,
                attributes={
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                    "dcs.request_id": bound["request_id"],
                },
                error=f"http_{status}" if status >= _SERVER_ERROR else error,
            )
        )
    log = Past(end_ns, bound, context)
    # Cut, not rounded: that costs as much as counting.
    milliseconds = int(seconds * 100_000) / 100
    return log.info("request_completed", method=method, route=route, status=status, duration_ms=milliseconds)


class TelemetryMiddleware:
    """Outermost: it sees every request, also those no route takes.

    What is told of a request is found out by the thread that writes log lines, after it was answered.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_flight = 0  # of one event loop
        runtime.HTTP_IN_FLIGHT.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given_id, caller = _asked(scope["headers"])
        context = None
        # Health and metrics are asked every second, by those who keep no traces and read no lines.
        if scope["path"].startswith(_QUIET_PREFIXES):
            tracing.begin_none()
        else:
            context = tracing.begin(caller)
        request_id = given_id or (context.trace_id if context and not caller else new_request_id())
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        log_context.begin(request_id=request_id)
        self._in_flight += 1
        start_ns, started = time.time_ns(), time.perf_counter()
        error = None
        try:
            await self._app(scope, receive, send)
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            self._in_flight -= 1
            seconds = time.perf_counter() - started
            principal = state.get("principal")
            telling = partial(
                _tell,
                scope["method"],
                getattr(scope.get("route"), "path", UNMATCHED_ROUTE),
                # The guard's word. Without it nothing was answered: of a defect the server tells afterwards.
                state.get("status", _SERVER_ERROR),
                principal.client_id if principal else None,
                start_ns,
                seconds,
                log_context.current(),
                caller,
                context,
                error,
            )
            tell_later(telling)


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
