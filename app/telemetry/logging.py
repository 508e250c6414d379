"""Structured logs: JSON lines on stdout and, when an endpoint is set, OTLP."""

from __future__ import annotations

import atexit
import functools
import logging
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from app.telemetry import log_context
from app.telemetry.lines import LineWriter, encoded
from app.telemetry.otlp import STDOUT_ONLY, Speaker
from app.telemetry.otlp_logs import OtlpLogs
from app.telemetry.tracing import add_trace

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

# Its own trouble must not travel by the transport that is in trouble.
_STDOUT_ONLY_LIBRARIES = ("urllib3",)
_SECRET_KEYS = frozenset({"authorization", "password", "api_key", "x-api-key", "cookie", "secret", "token"})
_KEYS_KNOWN_MAX = 1000


@functools.lru_cache(maxsize=_KEYS_KNOWN_MAX)
def _is_secret(key: str) -> bool:
    return key.lower() in _SECRET_KEYS


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key in event:
        if _is_secret(key):
            event[key] = "[redacted]"
    return event


class _Stamp:
    """Says when, in UTC. Most lines come in a second whose name was written already."""

    def __init__(self) -> None:
        self._last = (0, "")

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        now = time.time()
        second = int(now)
        last, text = self._last
        if last != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._last = (second, text)
        event["timestamp"] = f"{text}.{int((now - second) * 1e6):06d}Z"
        return event


def _dumps(event: EventDict, **_kwargs: Any) -> bytes:
    return encoded(event)


def _identity(service: str, instance: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.pop(STDOUT_ONLY, None)
        event["service"] = service
        event["instance"] = instance
        return event

    return add


def _exporting(emit: Callable[[dict[str, Any]], None]) -> Processor:
    def export(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if STDOUT_ONLY not in event:
            emit(dict(event))
        return event

    return export


class _ThirdPartyHandler(logging.Handler):
    """Turns records of the standard library's logging into structured events."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            keys: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
            if record.exc_info and record.exc_info[1] is not None:
                keys["error"] = repr(record.exc_info[1])
            if record.name.startswith(_STDOUT_ONLY_LIBRARIES):
                keys[STDOUT_ONLY] = True
            log = structlog.get_logger()
            log.log(max(record.levelno, logging.DEBUG), "library_message", **keys)
        except Exception:  # noqa: BLE001  the standard library's contract for handlers
            self.handleError(record)


def configure_logging(
    *, service: str, instance: str, environment: str, version: str, otlp_endpoint: str | None = None
) -> Callable[[], None]:
    """Configure logging of this process; return what flushes and ends it within 2 s."""
    processors: list[Processor] = [
        log_context.merge,
        add_trace,
        structlog.processors.add_log_level,
        _Stamp(),
        structlog.processors.format_exc_info,
        _redact,
    ]
    shutdown: Callable[[], None] = lambda: None  # noqa: E731
    if otlp_endpoint:
        logs = OtlpLogs(otlp_endpoint, Speaker(service, instance, environment, version))
        processors.append(_exporting(logs.emit))
        shutdown = logs.shutdown
    processors += [_identity(service, instance), structlog.processors.JSONRenderer(serializer=_dumps)]
    lines = LineWriter(sys.stdout.buffer)
    atexit.register(lines.flush)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    # What it says of each try is said once, by who gives up.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    root = logging.getLogger()
    root.handlers = [_ThirdPartyHandler()]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)

    def end() -> None:
        shutdown()
        lines.flush()

    return end
