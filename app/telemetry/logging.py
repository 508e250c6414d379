"""Structured logs: JSON lines on stdout and, when an endpoint is set, OTLP."""

from __future__ import annotations

import atexit
import functools
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import structlog

from app.telemetry import log_context, tracing
from app.telemetry.lines import LineWriter, encoded
from app.telemetry.otlp import STDOUT_ONLY, Speaker
from app.telemetry.otlp_logs import OtlpLogs
from app.telemetry.trace_context import TraceContext

# Its own trouble must not travel by the transport that is in trouble.
_STDOUT_ONLY_LIBRARIES = ("urllib3",)
_LEVELS = {"warn": "warning", "exception": "error", "fatal": "critical", "msg": "info"}
_SECRET_KEYS = frozenset({"authorization", "password", "api_key", "x-api-key", "cookie", "secret", "token"})
_SHAPES_KNOWN_MAX = 1000


_Export = Callable[[int, dict[str, Any], str | None, str | None], None]
_Said = tuple[int, str, str, dict[str, Any], Mapping[str, Any], TraceContext | None]
"""Nanoseconds since 1970, the method, the event, its keys, those bound around it, and the open span.

Nothing in it is changed after it was logged: the line is made later.
"""


# A class that is made at run time.
class _Logger(structlog.make_filtering_bound_logger(logging.INFO)):  # type: ignore[misc]
    """Takes what was said as it is: what is made of it is made of many at once."""

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **keys: Any) -> Any:
        if self._processors:  # somebody wants to see events in their place, as ``capture_logs`` does
            return super()._proxy_to_logger(method_name, event, **keys)
        if "exc_info" in keys:
            keys = dict(structlog.processors.format_exc_info(self._logger, method_name, keys))
        if self._context:
            keys = {**self._context, **keys}
        write = getattr(self._logger, method_name)
        said = (time.time_ns(), method_name, event or "", keys, log_context.current(), tracing.current())
        return write(said)

    def info(self, event: str, *args: Any, **keys: Any) -> Any:
        """Do as the others, without the calls between: most lines are of this level."""
        if args or self._processors or self._context or "exc_info" in keys:
            return super().info(event, *args, **keys)
        said = (time.time_ns(), "info", event, keys, log_context.current(), tracing.current())
        return self._logger.info(said)


@functools.lru_cache(maxsize=_SHAPES_KNOWN_MAX)
def _secrets(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(key for key in keys if key.lower() in _SECRET_KEYS)


class _Lines:
    """Makes a line of what was said, and exports it."""

    def __init__(self, service: str, instance: str, export: _Export | None) -> None:
        self._service, self._instance, self._export = service, instance, export
        self._second = (0, "")  # most lines come in a second whose name was written already

    def __call__(self, said: _Said) -> bytes:
        at_ns, method, name, keys, bound, trace = said
        event = {**bound, **keys, "event": name, "level": _LEVELS.get(method, method)}
        trace_id, span_id = event.pop("trace_id", None), event.pop("span_id", None)
        if trace_id is None and trace is not None:
            trace_id, span_id = trace.trace_id, trace.span_id
        for key in _secrets(tuple(event)):
            event[key] = "[redacted]"
        if event.pop(STDOUT_ONLY, None) is None and self._export is not None:
            self._export(at_ns, event, trace_id, span_id)
        if trace_id is not None:
            event["trace_id"] = trace_id
        if span_id is not None:
            event["span_id"] = span_id
        event["timestamp"] = self._time(at_ns)
        event["service"] = self._service
        event["instance"] = self._instance
        return encoded(event)

    def _time(self, at_ns: int) -> str:
        second, rest_ns = divmod(at_ns, 1_000_000_000)
        last, text = self._second
        if last != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{rest_ns // 1000:06d}Z"


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
    *,
    service: str,
    instance: str,
    environment: str,
    version: str,
    otlp_endpoint: str | None = None,
    stream: BinaryIO | None = None,
) -> Callable[[], None]:
    """Configure logging of this process; return what flushes and ends it within 2 s.

    Lines go to ``stream``, standard output unless it is given.
    """
    logs = None
    if otlp_endpoint:
        logs = OtlpLogs(otlp_endpoint, Speaker(service, instance, environment, version))
    lines = LineWriter(stream or sys.stdout.buffer, _Lines(service, instance, logs.emit if logs else None))
    atexit.register(lines.flush)
    structlog.configure(
        processors=[],
        wrapper_class=_Logger,
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
        lines.flush()
        if logs:
            logs.shutdown()
        lines.flush()

    return end
