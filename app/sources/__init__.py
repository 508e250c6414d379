"""Where records come from: the port that every source type implements."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson
import structlog

from app.errors import FencedError
from app.progress import UNWATCHED, Progress
from app.telemetry import metrics
from app.telemetry.metrics.sources import REQUEST_DURATION
from app.telemetry.tracing import Span, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterator

Record = Mapping[str, Any]
"""One collected record: what JSON can hold."""

RECORDS_MAX = 10_000
BYTES_MAX = 16 * 1024**2

log = structlog.get_logger()


class SourceType(enum.StrEnum):
    """Kinds of sources."""

    API = "api"
    DATABASE = "database"
    FILE = "file"
    S3 = "s3"


class SourceError(Exception):
    """Collecting failed. ``retryable``: trying again later may help.

    ``attempted`` is False when the source was not even asked; ``upstream_failed``: it did not answer as a
    living server does.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retryable: bool,
        outcome: str = "error",
        retry_after_seconds: float | None = None,
        attempted: bool = True,
        upstream_failed: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.attempted = attempted
        self.upstream_failed = upstream_failed
        self.reason = reason
        self.retryable = retryable
        self.outcome = outcome


class SourceRefusedError(Exception):
    """The configuration asks for something that is not allowed; ``field`` is the one to correct."""

    def __init__(self, field: str, message: str, *, event: str) -> None:
        super().__init__(message)
        self.field = field
        self.event = event


@dataclass(frozen=True)
class Encoded:
    """Records as one JSON array, ready to be stored."""

    count: int
    body: str


def encoded(collected: Sequence[Record]) -> Encoded:
    """Encode records. Raises ``TypeError`` for what cannot be written: huge numbers, deep nesting."""
    return Encoded(len(collected), orjson.dumps(list(collected), default=str).decode())


ConfigT_contra = TypeVar("ConfigT_contra", contravariant=True)


class Source(Protocol[ConfigT_contra]):
    """One source type."""

    def check(self, config: ConfigT_contra, *, client_id: str) -> None:
        """Refuse a configuration that is not allowed, cheaply. Raises ``SourceRefusedError``.

        What is another client's is refused as what does not exist.
        """

    def collect(
        self, config: ConfigT_contra, *, client_id: str, progress: Progress = UNWATCHED
    ) -> list[Record]:
        """Return all records, at most ``RECORDS_MAX``.

        Raises:
            FencedError: Nobody wants them any more.
            SourceError: The source could not be read, or what it gave is not valid.
            SourceRefusedError: As ``check``.

        """


@dataclass
class SourceCall:
    """What is said about one call of a source."""

    target: str
    outcome: str = "ok"
    reason: str | None = None
    status: int | None = None
    """What an HTTP server answered."""
    records: int = 0


@contextmanager
def source_call(source_type: SourceType, target: str) -> Iterator[SourceCall]:
    """Count and log one call of something outside this process."""
    call = SourceCall(target)
    with Span(f"source {source_type.value}", SpanKind.CLIENT) as span, _reported(call, source_type):
        span.set("server.address", target)
        try:
            yield call
        finally:
            span.set("dcs.records", call.records)


@contextmanager
def _reported(call: SourceCall, source_type: SourceType) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    except SourceError as exc:
        call.outcome, call.reason = exc.outcome, exc.reason
        raise
    except FencedError:
        call.outcome, call.reason = "stopped", "not_wanted"
        raise
    except SourceRefusedError:
        call.outcome, call.reason = "error", "not_allowed"
        raise
    except BaseException:
        call.outcome, call.reason = "error", "unexpected"
        raise
    finally:
        seconds = time.monotonic() - started
        metrics.SOURCE_REQUESTS.labels(source_type.value, call.outcome).inc()
        REQUEST_DURATION.labels(source_type.value).observe(seconds)
        write = log.info if call.outcome in ("ok", "stopped") else log.warning
        write(
            "source_call_completed",
            source_type=source_type.value,
            target=call.target,
            outcome=call.outcome,
            reason=call.reason,
            status=call.status,
            records=call.records,
            duration_ms=round(seconds * 1000, 2),
        )


def too_much(what: str) -> SourceError:
    """Return the error for a source that gives more than a job may hold."""
    return SourceError("too_much", f"the source gave more than {what}", retryable=False)
