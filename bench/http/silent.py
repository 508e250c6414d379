"""``app.main`` without telemetry: no log lines, no metrics, no middleware that makes them.

What the full telemetry is compared with. The service itself has no such switch, and should not.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import prometheus_client
import structlog

from app import main as service
from app.telemetry.logging import configure_logging
from app.telemetry.middleware import TelemetryMiddleware
from app.telemetry.trace_context import new_request_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send


class NoTelemetry:
    """Gives requests the id that answers have and routes store, as the interface says, and nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"x-request-id")
            scope.setdefault("state", {})["request_id"] = (
                given.decode("latin-1") if given else new_request_id()
            )
        await self._app(scope, receive, send)


def _configure_logging(**_arguments: object) -> Callable[[], None]:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=True
    )
    return lambda: None


def _nothing(*_arguments: object, **_keywords: object) -> None:
    """Do nothing."""


def main() -> int:
    """Serve until SIGTERM."""
    for metric, names in (
        (prometheus_client.Counter, ("inc",)),
        (prometheus_client.Histogram, ("observe",)),
        (prometheus_client.Gauge, ("set", "inc", "dec")),
    ):
        for name in names:
            setattr(metric, name, _nothing)
    replaced: Any = service
    assert replaced.TelemetryMiddleware is TelemetryMiddleware  # noqa: S101  or nothing would be silent
    assert replaced.configure_logging is configure_logging  # noqa: S101
    replaced.TelemetryMiddleware, replaced.configure_logging = NoTelemetry, _configure_logging
    return service.main()


if __name__ == "__main__":
    sys.exit(main())
