"""New jobs: from a submission to the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Row, exc

from app.database.engine import DATABASE_ERRORS, Database
from app.errors import DatabaseUnavailableError, DcsError, SubmissionUnknownError
from app.jobs.errors import IdempotencyKeyReusedError, QueueFullError
from app.jobs.ids import new_job_id
from app.jobs.quota import QueueQuota
from app.jobs.repository import JobRepository, Key, NewJob
from app.jobs.schemas import JobAccepted
from app.jobs.submission import Submission
from app.jobs.wakeups import Announcer
from app.models import JobState
from app.telemetry import clients, metrics
from app.telemetry.tracing import current_traceparent

_OTHER = "other"
"""The reason of a failure that is neither the connection's nor the deadline's."""

Outcome = JobAccepted | DcsError | None
"""Of one submission of several: the answer, the error, or None where it has to be tried alone."""

log = structlog.get_logger()


class JobIntake:
    """Stores what is handed in."""

    def __init__(
        self, database: Database, announcer: Announcer, *, max_attempts: int, queued_max: int
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._max_attempts = max_attempts
        self._queued_max = queued_max
        self._quota = QueueQuota(queued_max)

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
        except DatabaseUnavailableError as failure:
            raise _of_one(failure, job_id) from failure
        tell(job_id, submission)
        self._announcer.announce()
        return JobAccepted(job_id=job_id, status=JobState.QUEUED)

    def accept_together(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Store jobs in one statement, and tell of none. Return what ``accept`` would for each.

        None for one whose client's queue is full, or whose company the database did not take, for which
        another of them may be the reason: hand it to ``accept``.
        """
        new = [self._new_job(new_job_id(), submission) for submission in submissions]
        try:
            admitted = self._admitted(new)
        except DatabaseUnavailableError as failure:
            return [DatabaseUnavailableError(failure.reason) for _ in new]
        try:
            stored = self._store(admitted)
        except DatabaseUnavailableError as failure:
            if failure.reason == _OTHER and not failure.outcome_unknown:
                return [None] * len(new)
            return [_of_one(failure, job.id) for job in new]
        except exc.DBAPIError as failure:
            # Without a code it is not the server's word, which may have stored them.
            if getattr(failure.orig, "pgcode", None) is None:
                return [SubmissionUnknownError(_OTHER, job.id) for job in new]
            return [None] * len(new)
        pairs = list(zip(submissions, new, strict=True))
        first = self._first_of({one.key for one, job in pairs if one.key and job.id not in stored})
        return [
            JobAccepted(job_id=job.id, status=JobState.QUEUED)
            if job.id in stored
            else _as_before(first.get(submission.key) if submission.key else None, submission)
            for submission, job in pairs
        ]

    def _admitted(self, new: Sequence[NewJob]) -> list[NewJob]:
        room = self.room(Counter(job.client_id for job in new))
        admitted = []
        for job in new:
            if room[job.client_id] > 0:
                room[job.client_id] -= 1
                admitted.append(job)
        return admitted

    def _store(self, admitted: Sequence[NewJob]) -> set[UUID]:
        if not admitted:
            return set()
        with self._database.statement() as connection:
            stored = JobRepository(connection).insert_many(admitted)
        if stored:
            self._announcer.announce(len(stored))
        return stored

    def _first_of(self, keys: Collection[Key]) -> Mapping[Key, Row[Any]]:
        if not keys:
            return {}
        try:
            with self._database.statement() as connection:
                return JobRepository(connection).find_by_keys(keys)
        except DATABASE_ERRORS:
            return {}  # the others are stored; whoever tries these alone is told

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
        of = {new_job_id(): submission for submission in submissions}
        with self._database.transaction() as connection:
            chosen = wanted(connection, list(of))
            stored = [self._new_job(job_id, of[job_id]) for job_id in of if job_id in chosen]
            if stored:
                JobRepository(connection).insert_many(stored)
        for job in stored:
            tell(job.id, of[job.id])
        if stored:
            self._announcer.announce()
        return len(stored)

    def admit(self, client_id: str) -> None:
        """Let one more job of a client wait. Raises ``QueueFullError``."""
        self._quota.admit(client_id, lambda: self._count_of(client_id))

    def room(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """Return how many of so many more jobs each client may have waiting, and count on them."""

        def count(client_ids: Sequence[str]) -> Mapping[str, int]:
            with self._database.statement() as connection:
                return JobRepository(connection).queued_of_each(client_ids, self._queued_max)

        return self._quota.room(numbers, count)

    def _count_of(self, client_id: str) -> int:
        with self._database.statement() as connection:
            return JobRepository(connection).queued_of(client_id, self._queued_max)

    def _admit(self, submission: Submission) -> JobAccepted | None:
        """Refuse a client whose queue is full, unless it only says again what it has said before."""
        try:
            self.admit(submission.client_id)
        except QueueFullError:
            with self._database.statement() as connection:
                first = _replayed(JobRepository(connection), submission)
            if first is None:
                raise
            return first
        return None

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


def count_submitted(kind: str, client_id: str, number: int = 1) -> None:
    """Count jobs that were stored."""
    metrics.JOBS_SUBMITTED.labels(kind).inc(number)
    clients.count_job(client_id, "submitted", number)


def tell(job_id: UUID, submission: Submission) -> None:
    """Count a job that was stored, and log it."""
    count_submitted(submission.kind, submission.client_id)
    log.info("job_submitted", job_id=str(job_id), client_id=submission.client_id, source_type=submission.kind)


def _of_one(failure: DatabaseUnavailableError, job_id: UUID) -> DatabaseUnavailableError:
    """Return what a failed statement means for one job of it."""
    if failure.outcome_unknown:
        return SubmissionUnknownError(failure.reason, job_id)
    return DatabaseUnavailableError(failure.reason)


def _said_before(repository: JobRepository, submission: Submission) -> JobAccepted:
    first = _replayed(repository, submission)
    if first is None:
        raise DatabaseUnavailableError("conflict")  # it was purged this very moment
    return first


def _replayed(repository: JobRepository, submission: Submission) -> JobAccepted | None:
    if submission.key is None:
        return None
    outcome = _as_before(repository.find_by_keys([submission.key]).get(submission.key), submission)
    if isinstance(outcome, DcsError):
        raise outcome
    return outcome


def _as_before(first: Row[Any] | None, submission: Submission) -> Outcome:
    """Return what is answered where the job that the key stands for is ``first``."""
    if first is None:
        return None
    if first.request_fingerprint != submission.fingerprint():
        return IdempotencyKeyReusedError()
    return JobAccepted(job_id=first.id, status=first.state).as_replayed()
