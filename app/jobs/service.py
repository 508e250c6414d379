"""What clients can do with jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Row

from app.database.engine import Database
from app.errors import (
    DatabaseUnavailableError,
    FieldError,
    InvalidRequestError,
    JobNotFoundError,
    JobUnfinishedError,
    SubmissionUnknownError,
)
from app.jobs.caching import FinishedJobs
from app.jobs.errors import IdempotencyKeyReusedError
from app.jobs.ids import new_job_id
from app.jobs.repository import JobRepository, NewJob
from app.jobs.schemas import JobAccepted, JobFailure, JobResult, JobStatus
from app.jobs.submission import Submission
from app.jobs.wakeups import Announcer
from app.models import JobState
from app.sources import SourceRefusedError
from app.sources.catalogue import Catalogue, SourceSpec
from app.telemetry import clients, metrics
from app.telemetry.tracing import current_traceparent

log = structlog.get_logger()


class JobService:
    """Accepts jobs and tells about them."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        announcer: Announcer,
        *,
        max_attempts: int,
        finished: FinishedJobs | None = None,
    ) -> None:
        self._finished = finished
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
                spec.config.model_dump(mode="json"),
                client_id,
                request_id,
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

        """
        job_id = new_job_id()
        new = self._new_job(job_id, submission)
        try:
            with self._database.transaction() as connection:
                repository = JobRepository(connection)
                if not repository.insert(new):
                    return _replayed(repository, submission)
                if also is not None:
                    also(connection, job_id)
        except DatabaseUnavailableError as exc:
            if exc.outcome_unknown:
                raise SubmissionUnknownError(exc.reason, job_id) from exc
            raise
        metrics.JOBS_SUBMITTED.labels(submission.kind).inc()
        clients.count_job(submission.client_id, "submitted")
        log.info(
            "job_submitted",
            job_id=str(job_id),
            client_id=submission.client_id,
            source_type=submission.kind,
        )
        self._announcer.announce()
        return JobAccepted(job_id=job_id, status=JobState.QUEUED)

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

    def check(self, spec: SourceSpec) -> None:
        """Refuse what no worker would collect, without the database. Raises ``InvalidRequestError``."""
        try:
            self._catalogue.check(spec)
        except SourceRefusedError as exc:
            log.warning(
                exc.event, source_type=spec.source_type.value, field=f"config.{exc.field}", reason=str(exc)
            )
            raise InvalidRequestError(FieldError(f"config.{exc.field}", str(exc))) from exc

    def status(self, job_id: UUID, *, client_id: str) -> JobStatus:
        """Return where a job is. Raises ``JobNotFoundError``."""

        def load() -> JobStatus:
            return self._status(job_id, client_id)

        return self._finished.status(job_id, client_id, load) if self._finished else load()

    def _status(self, job_id: UUID, client_id: str) -> JobStatus:
        with self._database.transaction() as connection:
            row = _existing(JobRepository(connection), job_id, client_id)
        return JobStatus(
            job_id=row.id,
            status=row.state,
            client_id=row.client_id,
            source_type=row.source_type,
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            record_count=row.record_count,
            error=_failure(row),
            created_at=row.created_at,
            updated_at=row.updated_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )

    def result(self, job_id: UUID, *, client_id: str, after: int, limit: int) -> JobResult:
        """Return a page of what a finished job collected.

        Raises:
            JobNotFoundError: No job has this id.
            JobUnfinishedError: It is queued or running.

        """

        def load() -> JobResult:
            return self._result(job_id, client_id, after, limit)

        return self._finished.result(job_id, client_id, (after, limit), load) if self._finished else load()

    def _result(self, job_id: UUID, client_id: str, after: int, limit: int) -> JobResult:
        with self._database.transaction() as connection:
            repository = JobRepository(connection)
            row = _existing(repository, job_id, client_id)
            if not JobState(row.state).finished:
                raise JobUnfinishedError
            # One more than asked for tells whether there is a next page.
            page = repository.page(job_id, after=after, limit=limit + 1)
        shown = page[:limit]
        return JobResult(
            job_id=row.id,
            status=row.state,
            record_count=row.record_count,
            error=_failure(row),
            records=[content for _, content in shown],
            next_after=shown[-1][0] if len(page) > limit else None,
        )


def _replayed(repository: JobRepository, submission: Submission) -> JobAccepted:
    assert submission.idempotency_key is not None  # noqa: S101  only keys conflict
    first = repository.find_by_key(submission.client_id, submission.idempotency_key)
    if first is None:  # purged between the two statements
        raise DatabaseUnavailableError("conflict")
    if first.request_fingerprint != submission.fingerprint():
        raise IdempotencyKeyReusedError
    return JobAccepted(job_id=first.id, status=first.state).as_replayed()


def _existing(repository: JobRepository, job_id: UUID, client_id: str) -> Row[Any]:
    row = repository.find(job_id, client_id)
    if row is None:
        raise JobNotFoundError
    return row


def _failure(row: Row[Any]) -> JobFailure | None:
    return JobFailure.model_validate(row.error) if row.error else None
