"""What is counted and logged when an attempt has come to an end."""

from __future__ import annotations

import time

import structlog

from app.jobs.leases import Held
from app.models import JobState
from app.telemetry import metrics
from app.telemetry.clients import count_job

log = structlog.get_logger()


def _ended(held: Held, outcome: JobState) -> None:
    metrics.JOBS_FINISHED.labels(held.job.source_type, outcome.value).inc()
    count_job(held.job.client_id, outcome.value)


def succeeded(held: Held, records: int, started: float) -> None:
    """Say that the records are stored."""
    seconds = time.monotonic() - started
    metrics.RECORDS_STORED.labels(held.job.source_type).inc(records)
    metrics.JOB_DURATION.labels(held.job.source_type).observe(seconds)
    _ended(held, JobState.SUCCEEDED)
    log.info("job_succeeded", records=records, duration_ms=round(seconds * 1000, 2))


def gave_up(held: Held, state: JobState, reason: str, message: str, started: float) -> None:
    """Say that the job has failed, or is dead."""
    metrics.JOB_DURATION.labels(held.job.source_type).observe(time.monotonic() - started)
    _ended(held, state)
    log.warning("job_failed", outcome=state.value, reason=reason, error=message)


def retried(held: Held, reason: str, message: str, delay_seconds: float, started: float) -> None:
    """Say that the job is queued again."""
    metrics.JOB_DURATION.labels(held.job.source_type).observe(time.monotonic() - started)
    log.warning("job_retried", reason=reason, error=message, delay_seconds=round(delay_seconds, 2))


def cancelled(held: Held) -> None:
    """Say that its client did not want it any more."""
    _ended(held, JobState.CANCELLED)
    log.info("job_cancelled", epoch=held.job.epoch)


def fenced(held: Held) -> None:
    """Say that another worker owns the job; nothing was written."""
    log.warning("job_fenced", epoch=held.job.epoch)


def abandoned(reason: str) -> None:
    """Say that nothing could be written: the job runs again when its lease is over."""
    log.warning("job_abandoned", reason=reason)
