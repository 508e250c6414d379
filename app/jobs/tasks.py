"""Running one job: the work of its kind, then store and finish in one fenced transaction."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DataError

from app.database.engine import Database
from app.errors import DatabaseUnavailableError, FencedError
from app.jobs import outcomes
from app.jobs.errors import JobCancelledError
from app.jobs.finisher import BODY_BYTES_MAX, Done, Finisher
from app.jobs.handlers import Attempt, Effect, Handler, JobError, StoreRecords, Told
from app.jobs.leases import Held, Leases
from app.jobs.repository import JobRepository
from app.models import JobState
from app.telemetry import log_context
from app.telemetry.tracing import Span, SpanKind, remote_parent

RETRY_BASE_SECONDS = 0.5
RETRY_CAP_SECONDS = 60.0
RETRY_AFTER_SECONDS_MAX = 3600.0  # a source that asks for more is not believed
FINISH_RETRY_SECONDS = 1.0
FINISH_SECONDS_MAX = 600.0  # a store that never succeeds must not hold a thread for ever

log = structlog.get_logger()


def retry_delay_seconds(attempt: int, *, jitter: Callable[[], float] = random.random) -> float:
    """Return how long to wait after attempt number ``attempt``: exponential, capped, half of it random."""
    full = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(attempt, 30))
    return full * (0.5 + jitter() / 2)


class _Progress:
    """Remembers how far an attempt is, and tells it when it has lost its job; the heart does the rest."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def report(self, done: int, total: int | None = None) -> None:
        """Say how much of the work is done."""
        self._held.progress = (done, total)

    def check(self) -> None:
        """Raise ``FencedError`` when another worker owns the job, or ``JobCancelledError``."""
        if self._held.lost:
            raise FencedError
        if self._held.cancelled:
            raise JobCancelledError


class JobRunner:
    """Runs claimed jobs to one of their ends."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        leases: Leases,
        stopping: threading.Event,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._leases = leases
        self._stopping = stopping
        self.finisher = Finisher(database, leases, stopping, self._end_alone)

    def run(self, held: Held) -> None:
        """Run one attempt. Never raises for what a job, a source or the database did."""
        job = held.job
        started = time.monotonic()
        parent = remote_parent(job.trace_context)
        with (
            Span(f"job {job.source_type}", SpanKind.CONSUMER, parent) as span,
            log_context.bound(
                job_id=str(job.id),
                request_id=job.request_id,
                client_id=job.client_id,
                source_type=job.source_type,
                attempt=job.attempt,
            ),
        ):
            span.set("dcs.job_id", str(job.id))
            span.set("dcs.attempt", job.attempt)
            span.set("dcs.request_id", job.request_id)
            log.info("job_claimed", epoch=job.epoch)
            done: list[Done] = []
            self._guarded(held, lambda: done.extend(self._attempt(held, started)))
            if done:
                self.finisher.add(done[0])
            else:
                self._leases.drop([held])

    def _end_alone(self, done: Done) -> None:
        self._guarded(done.held, lambda: self._succeed(done.held, done.effect, done.started, done.unsure))

    def _guarded(self, held: Held, act: Callable[[], None]) -> None:
        # A job must not take its thread with it: that would end the worker, and the next, and the next.
        # Whatever is dropped here runs again when its lease is over, and is dead when that helps nothing.
        started = time.monotonic()

        def survive() -> None:
            try:
                act()
            except JobCancelledError:
                self._finish(held, JobState.CANCELLED, lambda repository, _: repository.cancelled(held.job))
                outcomes.cancelled(held)
            except (FencedError, DatabaseUnavailableError):
                raise
            except Exception as exc:
                log.exception("job_attempt_crashed")
                self._retry_or_bury(held, started, "unexpected", repr(exc))

        try:
            survive()
        except FencedError:
            outcomes.fenced(held)
        except DatabaseUnavailableError as exc:
            outcomes.abandoned(exc.reason)
        except Exception:
            log.exception("job_attempt_crashed")

    def _attempt(self, held: Held, started: float) -> list[Done]:
        """Return the job if it may be finished together with others."""
        job = held.job
        handler = self._handlers.get(job.source_type)
        if handler is None:
            raise DatabaseUnavailableError("unknown_kind")  # cannot be: only known kinds are claimed
        progress = _Progress(held)
        progress.check()  # it may have been cancelled before any thread was free for it
        try:
            effect = handler.run(Attempt(job, progress))
            if isinstance(effect, StoreRecords) and len(effect.collected.body) <= BODY_BYTES_MAX:
                return [Done(held, effect, started)]
            self._succeed(held, effect, started)
        except JobError as exc:  # of the work, or of what it was to leave behind
            if exc.retryable:
                self._retry_or_bury(
                    held, started, exc.reason, str(exc), exc.retry_after_seconds, attempted=exc.attempted
                )
            else:
                self._give_up(held, started, JobState.FAILED, exc.reason, str(exc))
        return []

    def _succeed(self, held: Held, effect: Effect, started: float, unsure: bool = False) -> None:  # noqa: FBT001, FBT002
        job = held.job
        count = effect.record_count or 0

        def finish(repository: JobRepository, connection: Connection) -> None:
            nonlocal count
            if effect.record_count is None:
                count = effect.apply(connection, job)
                repository.succeed(job, record_count=count)
            else:
                # Its row lock keeps later owners out until the effect is in, or nothing is.
                repository.succeed(job, record_count=count)
                effect.apply(connection, job)

        try:
            self._finish(held, JobState.SUCCEEDED, finish, unsure=unsure)
        except DataError as exc:  # such as a NUL character, which jsonb cannot hold
            self._give_up(held, started, JobState.FAILED, "unstorable", str(exc.orig).strip())
            return
        if isinstance(effect, Told):
            effect.committed()
        outcomes.succeeded(held, count, started)

    def _give_up(self, held: Held, started: float, state: JobState, reason: str, message: str) -> None:
        job = held.job
        self._finish(
            held, state, lambda repository, _: repository.give_up(job, state, reason=reason, message=message)
        )
        outcomes.gave_up(held, state, reason, message, started)

    def _retry_or_bury(
        self,
        held: Held,
        started: float,
        reason: str,
        message: str,
        retry_after_seconds: float | None = None,
        *,
        attempted: bool = True,
    ) -> None:
        job = held.job
        # Attempts that a dying worker took away do not count against the job.
        if attempted and job.attempt - job.rescues >= job.max_attempts:
            self._give_up(held, started, JobState.DEAD, reason, message)
            return
        delay = max(
            retry_delay_seconds(job.attempt), min(retry_after_seconds or 0.0, RETRY_AFTER_SECONDS_MAX)
        )
        self._finish(
            held,
            JobState.QUEUED,
            lambda repository, _: repository.retry(
                job, delay_seconds=delay, reason=reason, message=message, attempted=attempted
            ),
        )
        outcomes.retried(held, reason, message, delay, started)

    def _finish(
        self,
        held: Held,
        end: JobState,
        act: Callable[[JobRepository, Connection], None],
        *,
        unsure: bool = False,
    ) -> None:
        # The work is done: while the lease lives it is worth waiting for the database to come back. The
        # fence makes this safe even when a commit that seemed to fail has taken place: then the job has
        # ended, and the next heartbeat takes it for lost.
        give_up_at = time.monotonic() + FINISH_SECONDS_MAX
        while True:
            if held.lost and not unsure:
                raise FencedError
            try:
                with self._database.transaction() as connection:
                    repository = JobRepository(connection)
                    if not (unsure and repository.has_ended(held.job, end)):
                        act(repository, connection)
            except DatabaseUnavailableError as exc:
                unsure = unsure or exc.outcome_unknown
                latest = min(held.expires_at, give_up_at)
                if time.monotonic() + FINISH_RETRY_SECONDS >= latest or self._stopping.wait(
                    FINISH_RETRY_SECONDS
                ):
                    raise
            else:
                return
