"""Running one job: collect, then store and finish in one fenced transaction."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import structlog
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import DataError

from app.database.engine import Database
from app.errors import DatabaseUnavailableError, FencedError
from app.jobs.leases import Held
from app.jobs.repository import ClaimedJob, JobRepository
from app.models import JobState
from app.sources import Record, SourceError, SourceRefusedError, encoded
from app.sources.catalogue import Catalogue, SourceSpec
from app.telemetry import metrics

RETRY_BASE_SECONDS = 0.5
RETRY_CAP_SECONDS = 60.0
FINISH_RETRY_SECONDS = 1.0
FINISH_SECONDS_MAX = 600.0  # a store that never succeeds must not hold a thread for ever

_SPEC: TypeAdapter[SourceSpec] = TypeAdapter(SourceSpec)

log = structlog.get_logger()


def retry_delay_seconds(attempt: int, *, jitter: Callable[[], float] = random.random) -> float:
    """Return how long to wait after attempt number ``attempt``: exponential, capped, half of it random."""
    full = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(attempt, 30))
    return full * (0.5 + jitter() / 2)


class JobRunner:
    """Runs claimed jobs to one of their ends."""

    def __init__(self, database: Database, catalogue: Catalogue, stopping: threading.Event) -> None:
        self._database = database
        self._catalogue = catalogue
        self._stopping = stopping

    def run(self, held: Held) -> None:
        """Run one attempt. Never raises for what a job, a source or the database did."""
        job = held.job
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(
            job_id=str(job.id),
            request_id=job.request_id,
            client_id=job.client_id,
            source_type=job.source_type,
            attempt=job.attempt,
        ):
            log.info("job_claimed", epoch=job.epoch)
            self._guarded(held, lambda: self._survive(held, started))
        metrics.JOB_DURATION.labels(job.source_type).observe(time.monotonic() - started)

    @staticmethod
    def _guarded(held: Held, act: Callable[[], None]) -> None:
        # Whatever is dropped here runs again when its lease is over, and is dead when that helps nothing.
        try:
            act()
        except FencedError:
            log.warning("job_fenced", epoch=held.job.epoch)
        except DatabaseUnavailableError as exc:
            log.warning("job_abandoned", reason=exc.reason)
        except Exception:
            log.exception("job_attempt_crashed")

    def _survive(self, held: Held, started: float) -> None:
        # A job must not take its thread with it: that would end the worker, and the next, and the next.
        try:
            self._attempt(held, started)
        except (FencedError, DatabaseUnavailableError):
            raise
        except Exception as exc:
            log.exception("job_attempt_crashed")
            self._retry_or_bury(held, "unexpected", repr(exc))

    def _attempt(self, held: Held, started: float) -> None:
        job = held.job
        try:
            collected = self._collect(job)
        except SourceRefusedError as exc:
            log.warning(exc.event, field=f"config.{exc.field}", reason=str(exc))
            self._give_up(held, JobState.FAILED, "refused", f"config.{exc.field}: {exc}")
        except ValidationError as exc:
            self._give_up(
                held, JobState.FAILED, "invalid_config", f"{exc.error_count()} errors in the config"
            )
        except SourceError as exc:
            if exc.retryable:
                self._retry_or_bury(held, exc.reason, str(exc))
            else:
                self._give_up(held, JobState.FAILED, exc.reason, str(exc))
        else:
            self._succeed(held, collected, started)

    def _collect(self, job: ClaimedJob) -> list[Record]:
        spec = _SPEC.validate_python({"source_type": job.source_type, "config": job.config})
        return self._catalogue.collect(spec)

    def _succeed(self, held: Held, collected: list[Record], started: float) -> None:
        job = held.job
        try:
            storable = encoded(collected)
        except TypeError as exc:
            self._give_up(held, JobState.FAILED, "unstorable", str(exc))
            return
        try:
            self._finish(held, JobState.SUCCEEDED, lambda repository: repository.succeed(job, storable))
        except DataError as exc:  # such as a NUL character, which jsonb cannot hold
            self._give_up(held, JobState.FAILED, "unstorable", str(exc.orig).strip())
            return
        metrics.RECORDS_STORED.labels(job.source_type).inc(len(collected))
        metrics.JOBS_FINISHED.labels(job.source_type, "succeeded").inc()
        log.info(
            "job_succeeded",
            records=len(collected),
            duration_ms=round((time.monotonic() - started) * 1000, 2),
        )

    def _give_up(self, held: Held, state: JobState, reason: str, message: str) -> None:
        job = held.job
        self._finish(
            held, state, lambda repository: repository.give_up(job, state, reason=reason, message=message)
        )
        metrics.JOBS_FINISHED.labels(job.source_type, state.value).inc()
        log.warning("job_failed", outcome=state.value, reason=reason, error=message)

    def _retry_or_bury(self, held: Held, reason: str, message: str) -> None:
        job = held.job
        # Attempts that a dying worker took away do not count against the job.
        if job.attempt - job.rescues >= job.max_attempts:
            self._give_up(held, JobState.DEAD, reason, message)
            return
        delay = retry_delay_seconds(job.attempt)
        self._finish(
            held,
            JobState.QUEUED,
            lambda repository: repository.retry(job, delay_seconds=delay, reason=reason, message=message),
        )
        log.warning("job_retried", reason=reason, error=message, delay_seconds=round(delay, 2))

    def _finish(self, held: Held, end: JobState, act: Callable[[JobRepository], None]) -> None:
        # The work is done: while the lease lives it is worth waiting for the database to come back. The
        # fence makes this safe even when a commit that seemed to fail has taken place: then the job has
        # ended, and the next heartbeat takes it for lost.
        unsure = False
        give_up_at = time.monotonic() + FINISH_SECONDS_MAX
        while True:
            if held.lost.is_set() and not unsure:
                raise FencedError
            try:
                with self._database.transaction() as connection:
                    repository = JobRepository(connection)
                    if not (unsure and repository.has_ended(held.job, end)):
                        act(repository)
            except DatabaseUnavailableError as exc:
                unsure = unsure or exc.outcome_unknown
                latest = min(held.expires_at, give_up_at)
                if time.monotonic() + FINISH_RETRY_SECONDS >= latest or self._stopping.wait(
                    FINISH_RETRY_SECONDS
                ):
                    raise
            else:
                return
