"""Counts, times and logs every call of a moderation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from app.avatars.moderation import ModerationError
from app.telemetry.metrics import avatars as metrics

log = structlog.get_logger()


@dataclass
class ModerationCall:
    """What is said about one call."""

    status: int | None = None
    """What an HTTP server answered."""


@contextmanager
def moderation_call(target: str) -> Iterator[ModerationCall]:
    """Do that for one call. The reason of a ``ModerationError`` is the outcome."""
    call, outcome, error = ModerationCall(), "ok", None
    started = time.monotonic()
    try:
        yield call
    except ModerationError as exc:
        outcome, error = exc.reason, str(exc)
        raise
    except BaseException as exc:
        outcome, error = "error", repr(exc)
        raise
    finally:
        seconds = time.monotonic() - started
        metrics.MODERATION_REQUESTS.labels(outcome).inc()
        if outcome != "breaker_open":
            metrics.MODERATION_DURATION.observe(seconds)
        write = log.info if outcome == "ok" else log.warning
        write(
            "moderation_call_completed",
            target=target,
            outcome=outcome,
            error=error,
            status=call.status,
            duration_ms=round(seconds * 1000, 2),
        )
