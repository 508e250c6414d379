"""Request ids, request metrics and one log line per request."""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING

import structlog
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders

from app.telemetry import metrics

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_QUIET_PREFIXES = ("/health", "/metrics")
UNMATCHED_ROUTE = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger()


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    # Anything else could forge log lines or fill an index.
    return given if _REQUEST_ID.match(given) else uuid.uuid4().hex


class TelemetryMiddleware:
    """Outermost: it sees every request, also those no route takes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    @staticmethod
    def _record(scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc()
        metrics.HTTP_REQUEST_DURATION.labels(method, route).observe(seconds)
        write = log.debug if scope["path"].startswith(_QUIET_PREFIXES) else log.info
        write(
            "request_completed",
            method=method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 2),
        )


def initialise_routes(*routers: APIRouter) -> None:
    """Create the label sets of every documented answer, so that a first error is an increase."""
    for route in (route for router in routers for route in router.routes):
        if not isinstance(route, APIRoute):
            continue
        for method in route.methods or ():
            metrics.HTTP_REQUEST_DURATION.labels(method, route.path)
            for status in {route.status_code or 200, *route.responses, 500}:
                metrics.HTTP_REQUESTS.labels(method, route.path, str(status))
