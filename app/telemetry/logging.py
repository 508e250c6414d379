"""Structured logs: JSON lines on stdout and, when an endpoint is set, OTLP."""

from __future__ import annotations

import atexit
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import structlog

from app.telemetry import log_context, tracing
from app.telemetry.events import Lines, Said, Telling
from app.telemetry.lines import LineWriter
from app.telemetry.otlp import STDOUT_ONLY, Speaker
from app.telemetry.otlp_logs import OtlpLogs

# Its own trouble must not travel by the transport that is in trouble.
_STDOUT_ONLY_LIBRARIES = ("urllib3",)


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
        said: Said = (
            time.time_ns(),
            method_name,
            event or "",
            keys,
            log_context.current(),
            tracing.current(),
        )
        return write(said)

    def info(self, event: str, *args: Any, **keys: Any) -> Any:
        """Do as the others, without the calls between: most lines are of this level."""
        if args or self._processors or self._context or "exc_info" in keys:
            return super().info(event, *args, **keys)
        said: Said = (time.time_ns(), "info", event, keys, log_context.current(), tracing.current())
        return self._logger.info(said)


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


class _Writing:
    """What this process was configured with."""

    lines: LineWriter[Said | Telling] | None = None


def tell_later(telling: Telling) -> None:
    """Have something told by the thread that writes lines, so that nobody waits for what it takes.

    Where nothing is configured it is told at once, and by the caller where nothing was written lately.
    """
    if _Writing.lines is not None:
        _Writing.lines.info(telling)
    elif (said := telling()) is not None:
        structlog.get_logger().info(said[2], **{**said[4], **said[3]})


def tell_now() -> None:
    """Tell what was to be told later. Its lines are written later: a reader may take as long as it likes."""
    if _Writing.lines is not None:
        _Writing.lines.make()


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
    make_line = Lines(service, instance, logs.put if logs else None)
    lines: LineWriter[Said | Telling] = LineWriter(stream or sys.stdout.buffer, make_line)
    _Writing.lines = lines
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
