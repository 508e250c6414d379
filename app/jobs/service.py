"""What clients can do with jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

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
from app.jobs.repository import JobRepository
from app.jobs.schemas import JobAccepted, JobFailure, JobResult, JobStatus
from app.jobs.wakeups import Announcer
from app.models import JobState
from app.sources import SourceRefusedError
from app.sources.catalogue import Catalogue, SourceSpec
from app.telemetry import metrics

log = structlog.get_logger()


@dataclass(frozen=True)
class Submission:
    """A job to be stored. ``config`` is what its handler gets, already validated."""

    kind: str
    config: Mapping[str, Any]
    client_id: str
    request_id: str
    max_attempts: int | None = None
    """Left out: as for every other kind."""


class JobService:
    """Accepts jobs and tells about them."""

    def __init__(
        self, database: Database, catalogue: Catalogue, announcer: Announcer, *, max_attempts: int
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._announcer = announcer
        self._max_attempts = max_attempts

    def submit(self, spec: SourceSpec, *, client_id: str, request_id: str) -> JobAccepted:
        """Store a checked collection, as ``accept``."""
        config = spec.config.model_dump(mode="json")
        return self.accept(Submission(spec.source_type.value, config, client_id, request_id))

    def accept(
        self, submission: Submission, also: Callable[[Connection, UUID], None] | None = None
    ) -> JobAccepted:
        """Store a job. When this returns it is committed; waking a worker is best effort.

        ``also`` writes what belongs to the job in the same transaction.

        Raises:
            DatabaseUnavailableError: It was not stored.
            SubmissionUnknownError: The commit failed: it may be stored.

        """
        job_id = uuid4()
        try:
            with self._database.transaction() as connection:
                JobRepository(connection).insert(
                    job_id=job_id,
                    client_id=submission.client_id,
                    source_type=submission.kind,
                    config=submission.config,
                    max_attempts=submission.max_attempts or self._max_attempts,
                    request_id=submission.request_id,
                )
                if also is not None:
                    also(connection, job_id)
        except DatabaseUnavailableError as exc:
            if exc.outcome_unknown:
                raise SubmissionUnknownError(exc.reason, job_id) from exc
            raise
        metrics.JOBS_SUBMITTED.labels(submission.kind).inc()
        log.info(
            "job_submitted",
            job_id=str(job_id),
            client_id=submission.client_id,
            source_type=submission.kind,
        )
        self._announcer.announce()
        return JobAccepted(job_id=job_id, status=JobState.QUEUED)

    def check(self, spec: SourceSpec) -> None:
        """Refuse what no worker would collect, without the database. Raises ``InvalidRequestError``."""
        try:
            self._catalogue.check(spec)
        except SourceRefusedError as exc:
            log.warning(
                exc.event, source_type=spec.source_type.value, field=f"config.{exc.field}", reason=str(exc)
            )
            raise InvalidRequestError(FieldError(f"config.{exc.field}", str(exc))) from exc

    def status(self, job_id: UUID) -> JobStatus:
        """Return where a job is. Raises ``JobNotFoundError``."""
        with self._database.transaction() as connection:
            row = _existing(JobRepository(connection), job_id)
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

    def result(self, job_id: UUID, *, after: int, limit: int) -> JobResult:
        """Return a page of what a finished job collected.

        Raises:
            JobNotFoundError: No job has this id.
            JobUnfinishedError: It is queued or running.

        """
        with self._database.transaction() as connection:
            repository = JobRepository(connection)
            row = _existing(repository, job_id)
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


def _existing(repository: JobRepository, job_id: UUID) -> Row[Any]:
    row = repository.find(job_id)
    if row is None:
        raise JobNotFoundError
    return row


def _failure(row: Row[Any]) -> JobFailure | None:
    return JobFailure.model_validate(row.error) if row.error else None
