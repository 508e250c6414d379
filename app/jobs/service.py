"""What clients can do with jobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

import structlog
from sqlalchemy import Connection

from app.database.engine import Database
from app.errors import (
    DatabaseUnavailableError,
    FieldError,
    InvalidRequestError,
    JobNotFoundError,
    SubmissionUnknownError,
)
from app.jobs.caching import FinishedJobs
from app.jobs.errors import (
    IdempotencyKeyReusedError,
    JobFinishedError,
    JobNotReplayableError,
    QueueFullError,
)
from app.jobs.ids import new_job_id
from app.jobs.quota import QueueQuota
from app.jobs.reader import JobReader, shown
from app.jobs.repository import JobRepository, NewJob
from app.jobs.schemas import JobAccepted, JobStatus
from app.jobs.submission import Submission
from app.jobs.wakeups import Announcer
from app.models import JobState
from app.sources import SourceRefusedError
from app.sources.catalogue import Catalogue, SourceSpec
from app.telemetry import clients, metrics
from app.telemetry.metrics.jobs import JOBS_REPLAYED
from app.telemetry.tracing import current_traceparent

log = structlog.get_logger()


class JobService:
    """Accepts jobs, and what clients decide about them. ``reader`` tells about them."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        announcer: Announcer,
        *,
        max_attempts: int,
        queued_max: int = 20_000,
        finished: FinishedJobs | None = None,
    ) -> None:
        self.reader = JobReader(database, finished)
        self._queued_max = queued_max
        self._quota = QueueQuota(queued_max)
        self._database = database
        self._catalogue = catalogue
        self._announcer = announcer
        self._max_attempts = max_attempts

    def submit(
        self,
        spec: SourceSpec,
        *,
        client_id: str,
        request_id: str,
        idempotency_key: str | None = None,
    ) -> JobAccepted:
        """Store a checked collection, as ``accept``."""
        return self.accept(
            Submission(
                spec.source_type.value,
                # Only what was said: what a release adds by itself makes no other request of it, and
                # is nothing that a worker of the release before must know.
                spec.config.model_dump(mode="json", exclude_unset=True),
                client_id,
                request_id,
                priority=spec.priority,
                idempotency_key=idempotency_key,
            )
        )

    def accept(
        self, submission: Submission, also: Callable[[Connection, UUID], None] | None = None
    ) -> JobAccepted:
        """Store a job. When this returns it is committed; waking a worker is best effort.

        ``also`` writes what belongs to the job in the same transaction. A submission whose idempotency key
        its client has used before stores nothing: the answer is ``replayed`` and names the first one's job.

        Raises:
            DatabaseUnavailableError: It was not stored.
            SubmissionUnknownError: The commit failed: it may be stored.
            IdempotencyKeyReusedError: The key stands for another request.
            QueueFullError: Too many of the client's jobs are waiting.

        """
        if (first := self._admit(submission)) is not None:
            return first
        job_id = new_job_id()
        new = self._new_job(job_id, submission)
        try:
            with self._database.transaction() if also else self._database.statement() as connection:
                repository = JobRepository(connection)
                if not repository.insert(new):
                    return _said_before(repository, submission)
                if also is not None:
                    also(connection, job_id)
        except DatabaseUnavailableError as exc:
            if exc.outcome_unknown:
                raise SubmissionUnknownError(exc.reason, job_id) from exc
            raise
        _tell(new)
        self._announcer.announce()
        return JobAccepted(job_id=job_id, status=JobState.QUEUED)

    def accept_many(
        self,
        submissions: Sequence[Submission],
        wanted: Callable[[Connection, Sequence[UUID]], Collection[UUID]],
    ) -> int:
        """Store jobs without idempotency keys in one transaction. Return how many.

        ``wanted`` writes what belongs to them in it, and returns those that are to be. Ask ``room`` before.

        Raises:
            DatabaseUnavailableError: None was stored, or all that were to be if its outcome is unknown.

        """
        new = [self._new_job(new_job_id(), submission) for submission in submissions]
        with self._database.transaction() as connection:
            chosen = wanted(connection, [job.id for job in new])
            stored = [job for job in new if job.id in chosen]
            if stored:
                JobRepository(connection).insert_many(stored)
        for job in stored:
            _tell(job)
        if stored:
            self._announcer.announce()
        return len(stored)

    def room(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """Return how many of so many more jobs each client may have waiting, and count on them."""

        def count(client_ids: Sequence[str]) -> Mapping[str, int]:
            with self._database.statement() as connection:
                return JobRepository(connection).queued_of_each(client_ids, self._queued_max)

        return self._quota.room(numbers, count)

    def _admit(self, submission: Submission) -> JobAccepted | None:
        """Refuse a client whose queue is full, unless it only says again what it has said before."""
        try:
            self._quota.admit(submission.client_id, lambda: self._queued_of(submission.client_id))
        except QueueFullError:
            with self._database.statement() as connection:
                first = _replayed(JobRepository(connection), submission)
            if first is None:
                raise
            return first
        return None

    def _queued_of(self, client_id: str) -> int:
        with self._database.statement() as connection:
            return JobRepository(connection).queued_of(client_id, self._queued_max)

    def _new_job(self, job_id: UUID, submission: Submission) -> NewJob:
        return NewJob(
            job_id,
            submission.kind,
            submission.client_id,
            submission.config,
            submission.max_attempts or self._max_attempts,
            priority=submission.priority,
            request_id=submission.request_id,
            trace_context=submission.trace_context or current_traceparent(),
            idempotency_key=submission.idempotency_key,
            fingerprint=submission.fingerprint() if submission.idempotency_key is not None else None,
        )

    def check_may_wait(self, spec: SourceSpec) -> bool:
        """Return whether ``check`` needs a thread."""
        return self._catalogue.check_may_wait(spec)

    def check(self, spec: SourceSpec, *, client_id: str) -> None:
        """Refuse what no worker would collect, without the database. Raises ``InvalidRequestError``."""
        try:
            self._catalogue.check(spec, client_id=client_id)
        except SourceRefusedError as exc:
            log.warning(
                exc.event, source_type=spec.source_type.value, field=f"config.{exc.field}", reason=str(exc)
            )
            raise InvalidRequestError(FieldError(f"config.{exc.field}", str(exc))) from exc

    def cancel(self, job_id: UUID, *, client_id: str) -> JobStatus:
        """Cancel a job: at once if it is queued, soon if it runs. Doing so again changes nothing.

        Raises:
            JobNotFoundError: The client has no such job.
            JobFinishedError: It has ended otherwise.

        """
        with self._database.transaction() as connection:
            repository = JobRepository(connection)
            decided = repository.cancel(job_id, client_id)
            row = repository.find(job_id, client_id)
        if decided is None or row is None:
            raise JobNotFoundError
        if decided.state.finished and decided.state is not JobState.CANCELLED:
            raise JobFinishedError
        if decided.changed and decided.state is JobState.CANCELLED:
            metrics.JOBS_FINISHED.labels(row.source_type, JobState.CANCELLED.value).inc()
            clients.count_job(client_id, JobState.CANCELLED.value)
        if decided.changed:
            log.info("job_cancel_requested", job_id=str(job_id), status=decided.state.value)
        return shown(row)

    def replay(self, job_id: UUID, *, client_id: str) -> JobAccepted:
        """Queue a dead or failed job again, with all its attempts.

        Raises:
            JobNotFoundError: The client has no such job.
            JobNotReplayableError: It is neither dead nor failed.
            QueueFullError: Too many of the client's jobs are waiting.

        """
        self._quota.admit(client_id, lambda: self._queued_of(client_id))
        with self._database.statement() as connection:
            decided = JobRepository(connection).replay(job_id, client_id)
        if decided is None:
            raise JobNotFoundError
        if not decided.changed:
            raise JobNotReplayableError
        JOBS_REPLAYED.inc()
        log.info("job_replayed", job_id=str(job_id))
        self._announcer.announce()
        return JobAccepted(job_id=job_id, status=JobState.QUEUED)


def _tell(job: NewJob) -> None:
    metrics.JOBS_SUBMITTED.labels(job.kind).inc()
    clients.count_job(job.client_id, "submitted")
    log.info("job_submitted", job_id=str(job.id), client_id=job.client_id, source_type=job.kind)


def _said_before(repository: JobRepository, submission: Submission) -> JobAccepted:
    first = _replayed(repository, submission)
    if first is None:
        raise DatabaseUnavailableError("conflict")  # it was purged this very moment
    return first


def _replayed(repository: JobRepository, submission: Submission) -> JobAccepted | None:
    if submission.idempotency_key is None:
        return None
    first = repository.find_by_key(submission.client_id, submission.idempotency_key)
    if first is None:
        return None
    if first.request_fingerprint != submission.fingerprint():
        raise IdempotencyKeyReusedError
    return JobAccepted(job_id=first.id, status=first.state).as_replayed()
