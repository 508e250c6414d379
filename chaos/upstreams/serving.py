"""How every small HTTP program of the lab logs, answers and stops."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chaos.errors import ExitCode, LabError, PortTakenError

REQUESTS_IN_FLIGHT_MAX = 200
GRACE_SECONDS = 1  # for requests in flight at SIGTERM; uvicorn takes whole seconds
BACKLOG = 128

_LOGGER = logging.getLogger(__name__)


class JsonResponse(JSONResponse):
    """JSON by orjson, which also refuses NaN."""

    def render(self, content: Any) -> bytes:
        """Encode ``content``."""
        return orjson.dumps(content)


def problem(status: int, title: str, detail: str, **extra: object) -> Response:
    """Return an RFC 9457 problem document."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **extra}
    return JsonResponse(body, status_code=status, media_type="application/problem+json")


def invalid(errors: Sequence[Mapping[str, str]]) -> Response:
    """Return a 422 that lists every bad field at once."""
    return problem(
        422, "Unprocessable content", "Correct the listed fields and send it again.", errors=errors
    )


async def _http_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    response = problem(error.status_code, error.detail, f"{request.method} {request.url.path}")
    response.headers.update(error.headers or {})
    return response


async def _unexpected_problem(request: Request, _error: Exception) -> Response:
    return problem(500, "Internal error", f"{request.method} {request.url.path}: see this program's log.")


EXCEPTION_HANDLERS: Mapping[Any, Any] = {HTTPException: _http_problem, Exception: _unexpected_problem}


def new_registry() -> CollectorRegistry:
    """Return a registry that already reports this process's memory and CPU."""
    # They would be a second series for every counter, which nothing here reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def observability_routes(
    program: str, registry: CollectorRegistry, health: Callable[[], Mapping[str, object]] = dict
) -> list[Route]:
    """Return ``GET /health`` and ``GET /metrics``."""
    started = time.monotonic()

    async def get_health(_request: Request) -> Response:
        uptime_seconds = round(time.monotonic() - started, 3)
        body = {"status": "ok", "program": program, "uptime_seconds": uptime_seconds, **health()}
        return JsonResponse(body)

    async def get_metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/health", get_health), Route("/metrics", get_metrics)]


_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "taskName"}


class _JsonFormatter(logging.Formatter):
    """One line per record; what a caller passes in ``extra`` becomes keys.

    structlog would do the same for 5 MB and 50 ms more in each of these programs.
    """

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        line = {"timestamp": moment, "level": record.levelname.lower(), "service": self._program}
        if record.name.startswith("chaos."):
            line["event"] = record.getMessage()
        else:
            line |= {"event": "library_logged", "library": record.name, "message": record.getMessage()}
        line |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD_FIELDS}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure_logging(program: str) -> None:
    """Log JSON lines to stdout: this program's events, and warnings of libraries."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonFormatter(program))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("chaos").setLevel(logging.INFO)


def arguments(program: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options every program of the lab has."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 takes a free one")
    return parser


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything else starts, so that a taken port is one clear line."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise LabError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --host/--port."
            ) from error
        raise PortTakenError(
            f"Port {port} of {host} is taken. End its owner, or choose another --port."
        ) from error
    listener.listen(BACKLOG)
    return listener


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `serve`: uvicorn re-raises them, which would turn a clean stop into a crash."""
        yield


async def _serve(app: Any, listener: socket.socket) -> None:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        limit_concurrency=REQUESTS_IN_FLIGHT_MAX,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    host, port = listener.getsockname()[:2]
    _LOGGER.info("program_started", extra={"host": host, "port": port, "pid": os.getpid()})
    await server.serve(sockets=[listener])
    _LOGGER.info("program_stopped")


def serve(app: Any, listener: socket.socket) -> None:
    """Serve ``app`` until SIGTERM or SIGINT; requests in flight get `GRACE_SECONDS`."""
    asyncio.run(_serve(app, listener))


@contextlib.asynccontextmanager
async def background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``work`` beside the server; a program whose work has died must not look healthy."""
    task = asyncio.create_task(work)
    task.add_done_callback(_end_if_crashed)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _end_if_crashed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOGGER.critical("program_crashed", exc_info=error)
        os._exit(ExitCode.ERROR)  # at once and not 0: what supervises it restarts it


@contextlib.contextmanager
def reporting_errors(program: str) -> Iterator[None]:
    """Turn a `LabError` into one log line and its exit code."""
    configure_logging(program)
    try:
        yield
    except LabError as error:
        _LOGGER.error("program_failed", extra={"reason": str(error), "error": type(error).__name__})  # noqa: TRY400
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


def existing_file(value: str) -> Path:
    """Check an argparse value that names a readable file."""
    path = Path(value)
    if not path.is_file():
        message = f"{value!r} is not a file"
        raise argparse.ArgumentTypeError(message)
    return path
