"""What clients can learn about their jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.database.engine import Database
from app.errors import JobNotFoundError, JobUnfinishedError
from app.jobs import cursor
from app.jobs.caching import FinishedJobs
from app.jobs.repository import JobRepository
from app.jobs.repository.reading import JobFilter
from app.jobs.schemas import (
    AuditEntry,
    JobAudit,
    JobFailure,
    JobPage,
    JobProgress,
    JobResult,
    JobStatus,
)
from app.models import JobEvent, JobState, status_after


class JobReader:
    """Everything here is asked for one client: what is another's does not exist."""

    def __init__(self, database: Database, finished: FinishedJobs | None = None) -> None:
        self._database = database
        self._finished = finished

    def status(self, job_id: UUID, *, client_id: str) -> JobStatus:
        """Return where a job is. Raises ``JobNotFoundError``."""

        def load() -> JobStatus:
            with self._database.statement() as connection:
                return shown(_existing(JobRepository(connection), job_id, client_id))

        return self._finished.status(job_id, client_id, load) if self._finished else load()

    def list_jobs(self, which: JobFilter, *, page_cursor: str | None, limit: int) -> JobPage:
        """Return a page of jobs, the newest first. Raises ``InvalidRequestError`` for a strange cursor."""
        filters = repr(which)
        if page_cursor is not None:
            before = cursor.decode(page_cursor, filters=filters)
            which = JobFilter(**{**vars(which), "before": before})
        with self._database.statement() as connection:
            # One more than asked for tells whether there is a next page.
            rows = JobRepository(connection).list_jobs(which, limit=limit + 1)
        page = rows[:limit]
        more = len(rows) > limit
        return JobPage(
            jobs=[shown(row) for row in page],
            next_cursor=cursor.encode(page[-1].created_at, page[-1].id, filters=filters) if more else None,
        )

    def result(self, job_id: UUID, *, client_id: str, after: int, limit: int) -> JobResult:
        """Return a page of what a finished job collected.

        Raises:
            JobNotFoundError: The client has no such job.
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
        visible = page[:limit]
        return JobResult(
            job_id=row.id,
            status=row.state,
            record_count=row.record_count,
            error=_failure(row),
            records=[content for _, content in visible],
            next_after=visible[-1][0] if len(page) > limit else None,
        )

    def audit(self, job_id: UUID, *, client_id: str, after: int) -> JobAudit:
        """Return what happened to a job. Raises ``JobNotFoundError``."""
        with self._database.transaction() as connection:
            repository = JobRepository(connection)
            _existing(repository, job_id, client_id)
            rows = repository.audit(job_id, after=after)
        return JobAudit(job_id=job_id, events=[entry(row) for row in rows])

    def news(self, watched: Mapping[UUID, int]) -> tuple[dict[UUID, JobStatus], Sequence[Row[Any]]]:
        """Return where jobs are and what happened to each after the event that was seen last."""
        with self._database.transaction() as connection:
            found, events = JobRepository(connection).news(watched)
        return {job_id: shown(row) for job_id, row in found.items()}, events

    def columns(self, job_id: UUID, *, enough: Callable[[int], bool]) -> list[str]:
        """Return every name that records of a job have, in the order of appearance."""
        names: dict[str, None] = {}
        after: int | None = -1
        while after is not None and not enough(len(names)):
            with self._database.transaction() as connection:
                batch, after = JobRepository(connection).columns(job_id, after=after)
            names.update(dict.fromkeys(batch))
        return list(names)

    def batch(self, job_id: UUID, *, after: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the next records of a job that is known to be finished."""
        with self._database.statement() as connection:
            return JobRepository(connection).page(job_id, after=after, limit=limit)


def _existing(repository: JobRepository, job_id: UUID, client_id: str) -> Row[Any]:
    row = repository.find(job_id, client_id)
    if row is None:
        raise JobNotFoundError
    return row


def _failure(row: Row[Any]) -> JobFailure | None:
    return JobFailure.model_validate(row.error) if row.error else None


def _progress(row: Row[Any]) -> JobProgress | None:
    return (
        None if row.progress_done is None else JobProgress(done=row.progress_done, total=row.progress_total)
    )


def entry(row: Row[Any]) -> AuditEntry:
    """Return a row of the audit log as clients see it."""
    detail = {key: value for key, value in (row.detail or {}).items() if key != "owner"}
    event = JobEvent(row.event)
    return AuditEntry(
        seq=row.seq,
        at=row.at,
        event=event,
        status=status_after(event),
        attempt_epoch=row.epoch,
        detail=detail,
    )


def shown(row: Row[Any]) -> JobStatus:
    """Return the row of a job as clients see it."""
    return JobStatus(
        job_id=row.id,
        status=row.state,
        client_id=row.client_id,
        source_type=row.source_type,
        priority=row.priority,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        record_count=row.record_count,
        progress=_progress(row),
        cancel_requested=row.cancel_requested_at is not None,
        error=_failure(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
