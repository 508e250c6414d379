"""New jobs, and finished ones that are queued again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, TextClause, select, text, tuple_

from app.jobs.repository.base import Queries
from app.models import JobState, jobs


def _insert(rows: str) -> TextClause:
    # A second request with the same key waits here until the first is committed, and then stores nothing.
    return text(
        f"""
        WITH job AS (
            INSERT INTO jobs (id, client_id, source_type, config, priority, max_attempts, request_id,
                              idempotency_key, request_fingerprint, trace_context, events)
            {rows}
            ON CONFLICT (client_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
            RETURNING id, client_id
        )
        INSERT INTO job_events (job_id, seq, client_id, event, epoch)
        SELECT id, 1, client_id, 'submitted', 0 FROM job
        RETURNING job_id
        """  # noqa: S608  nothing in it comes from outside
    )


# Of its own: most submissions come alone, and to take arrays apart costs the server a fifth more.
_INSERT_ONE = _insert(
    """
    VALUES (:id, :client_id, :kind, CAST(:config AS jsonb), :priority, :max_attempts, :request_id,
            :idempotency_key, :fingerprint, :trace_context, 1)
    """
)

_INSERT_MANY = _insert(
    """
    SELECT id, client_id, kind, CAST(config AS jsonb), priority, max_attempts, request_id,
           idempotency_key, fingerprint, trace_context, 1
    FROM unnest(CAST(:id AS uuid[]), CAST(:client_id AS text[]), CAST(:kind AS text[]),
                CAST(:config AS text[]), CAST(:priority AS int[]), CAST(:max_attempts AS int[]),
                CAST(:request_id AS text[]), CAST(:idempotency_key AS text[]),
                CAST(:fingerprint AS text[]), CAST(:trace_context AS text[]))
         AS given (id, client_id, kind, config, priority, max_attempts, request_id,
                   idempotency_key, fingerprint, trace_context)
    """
)
_COLUMNS = (
    "client_id",
    "kind",
    "priority",
    "max_attempts",
    "request_id",
    "idempotency_key",
    "fingerprint",
    "trace_context",
)

_CANCEL = text(
    """
    WITH job AS (
        SELECT id, state AS was, cancel_requested_at FROM jobs
        WHERE id = :id AND client_id = :client_id
        FOR UPDATE
    ), changed AS (
        UPDATE jobs
        SET state = CASE WHEN was = 'queued' THEN 'cancelled' ELSE was END,
            cancel_requested_at = now(), events = events + 1, updated_at = now(),
            finished_at = CASE WHEN was = 'queued' THEN now() END
        FROM job
        WHERE jobs.id = job.id AND (was = 'queued' OR was = 'running' AND job.cancel_requested_at IS NULL)
        RETURNING jobs.id, jobs.client_id, jobs.events, jobs.epoch, jobs.state
    ), audited AS (
        INSERT INTO job_events (job_id, seq, client_id, event, epoch)
        SELECT id, events, client_id,
               CASE WHEN state = 'cancelled' THEN 'cancelled' ELSE 'cancel_requested' END, epoch
        FROM changed
    )
    SELECT coalesce(changed.state, job.was) AS state, changed.id IS NOT NULL AS changed
    FROM job LEFT JOIN changed ON changed.id = job.id
    """
)

_REPLAY = text(
    """
    WITH job AS (
        SELECT id, state AS was FROM jobs WHERE id = :id AND client_id = :client_id FOR UPDATE
    ), changed AS (
        UPDATE jobs
        SET state = 'queued', attempt = 0, rescues = 0, error = NULL, run_at = now(), started_at = NULL,
            finished_at = NULL, progress_done = NULL, progress_total = NULL, cancel_requested_at = NULL,
            events = events + 1, updated_at = now()
        FROM job
        WHERE jobs.id = job.id AND was IN ('dead', 'failed')
        RETURNING jobs.id, jobs.client_id, jobs.events, jobs.epoch, jobs.state
    ), audited AS (
        INSERT INTO job_events (job_id, seq, client_id, event, epoch)
        SELECT id, events, client_id, 'replayed', epoch FROM changed
    )
    SELECT coalesce(changed.state, job.was) AS state, changed.id IS NOT NULL AS changed
    FROM job LEFT JOIN changed ON changed.id = job.id
    """
)

_QUEUED_OF = text(
    """
    SELECT count(*) FROM (
        SELECT FROM jobs WHERE client_id = :client_id AND state = 'queued' LIMIT :limit
    ) AS queued
    """
)


_QUEUED_OF_EACH = text(
    """
    SELECT given.client_id, (
        SELECT count(*) FROM (
            SELECT FROM jobs WHERE jobs.client_id = given.client_id AND state = 'queued' LIMIT :limit
        ) AS queued
    ) AS queued
    FROM unnest(CAST(:client_ids AS text[])) AS given (client_id)
    """
)


Key = tuple[str, str]
"""A client, and an idempotency key of its own."""


@dataclass(frozen=True)
class NewJob:
    """A job to be stored, due at once."""

    id: UUID
    kind: str
    client_id: str
    config: Mapping[str, Any]
    max_attempts: int
    priority: int = 0
    request_id: str | None = None
    trace_context: str | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Decided:
    """What a request to change a job came to. ``state``: the job's state now."""

    state: JobState
    changed: bool


class Submitting(Queries):
    """What clients cause."""

    def insert(self, job: NewJob) -> bool:
        """Store a new job. Return False, and store nothing, if its client has used the key before."""
        values = {**vars(job), "config": orjson.dumps(dict(job.config)).decode()}
        return self._connection.execute(_INSERT_ONE, values).rowcount == 1

    def insert_many(self, new: Sequence[NewJob]) -> set[UUID]:
        """Store new jobs in one statement. Return which: not those whose client has used the key before."""
        if len(new) == 1:
            return {job.id for job in new if self.insert(job)}
        # All take the locks on their keys in one order: or two statements might wait for each other.
        ordered = sorted(new, key=lambda job: (job.client_id, job.idempotency_key or ""))
        values = {name: [getattr(job, name) for job in ordered] for name in _COLUMNS}
        values["id"] = [str(job.id) for job in ordered]
        values["config"] = [orjson.dumps(dict(job.config)).decode() for job in ordered]
        return set(self._connection.execute(_INSERT_MANY, values).scalars())

    def find_by_keys(self, keys: Collection[Key]) -> dict[Key, Row[Any]]:
        """Return the jobs that clients' keys stand for."""
        query = select(jobs).where(tuple_(jobs.c.client_id, jobs.c.idempotency_key).in_(keys))
        return {(row.client_id, row.idempotency_key): row for row in self._connection.execute(query)}

    def cancel(self, job_id: UUID, client_id: str) -> Decided | None:
        """Cancel a queued job, ask a running one to stop. None if the client has no such job."""
        return self._decide(_CANCEL, job_id, client_id)

    def replay(self, job_id: UUID, client_id: str) -> Decided | None:
        """Queue a dead or failed job again, with all its attempts. None if the client has no such job."""
        return self._decide(_REPLAY, job_id, client_id)

    def _decide(self, statement: Any, job_id: UUID, client_id: str) -> Decided | None:
        row = self._connection.execute(statement, {"id": job_id, "client_id": client_id}).one_or_none()
        return None if row is None else Decided(JobState(row.state), row.changed)

    def queued_of(self, client_id: str, limit: int) -> int:
        """Return how many jobs a client has waiting, counted up to ``limit``."""
        values = {"client_id": client_id, "limit": limit}
        return int(self._connection.execute(_QUEUED_OF, values).scalar_one())

    def queued_of_each(self, client_ids: Sequence[str], limit: int) -> dict[str, int]:
        """Return the same for several clients."""
        values = {"client_ids": list(client_ids), "limit": limit}
        return {row.client_id: row.queued for row in self._connection.execute(_QUEUED_OF_EACH, values)}
