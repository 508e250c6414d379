"""Every query on jobs and records. Times are the database's: workers' clocks decide nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row, select, text

from app.errors import FencedError
from app.models import JobState, jobs, records
from app.sources import Encoded

RESCUE_BATCH_MAX = 100


@dataclass(frozen=True)
class ClaimedJob:
    """A job that this worker runs, as long as its lease lives. ``epoch`` fences it from later owners."""

    id: UUID
    epoch: int
    client_id: str
    source_type: str
    config: dict[str, Any]
    attempt: int
    max_attempts: int
    rescues: int
    request_id: str | None


@dataclass(frozen=True)
class Rescued:
    """A job taken back from a worker whose lease ran out."""

    id: UUID
    source_type: str
    state: JobState
    lease_owner: str
    rescues: int


@dataclass(frozen=True)
class QueueFigures:
    """How much is due and waiting, and since when (unix time, 0 if nothing)."""

    queued: int
    oldest_due_unix: float


_INSERT = text(
    """
    INSERT INTO jobs (id, client_id, source_type, config, max_attempts, request_id)
    VALUES (:id, :client_id, :source_type, CAST(:config AS jsonb), :max_attempts, :request_id)
    """
)

_CLAIM = text(
    """
    UPDATE jobs
    SET state = 'running', epoch = epoch + 1, attempt = attempt + 1, lease_owner = :owner,
        lease_until = now() + make_interval(secs => :lease_seconds),
        started_at = coalesce(started_at, now()), updated_at = now()
    WHERE id = (
        SELECT id FROM jobs
        WHERE state = 'queued' AND run_at <= now() AND source_type = ANY(:kinds)
        ORDER BY priority DESC, run_at, id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, epoch, client_id, source_type, config, attempt, max_attempts, rescues, request_id
    """
)

_BEAT = text(
    """
    UPDATE jobs
    SET lease_until = now() + make_interval(secs => :lease_seconds)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS bigint[])) AS held (id, epoch)
    WHERE jobs.id = held.id AND jobs.epoch = held.epoch AND jobs.state = 'running'
    RETURNING jobs.id
    """
)

# Every end of an attempt carries the fence: this epoch, and still running.
_END = """
    UPDATE jobs
    SET {changes}, lease_owner = NULL, lease_until = NULL, updated_at = now()
    WHERE id = :id AND epoch = :epoch AND state = 'running'
"""
_SUCCEED = text(
    _END.format(
        changes="state = 'succeeded', record_count = :record_count, error = NULL, finished_at = now()",
    )
)
_STORE = text(
    """
    INSERT INTO records (job_id, ordinal, content)
    SELECT :id, item.position - 1, item.content
    FROM jsonb_array_elements(CAST(:records AS jsonb)) WITH ORDINALITY AS item (content, position)
    ON CONFLICT (job_id, ordinal) DO NOTHING
    """
)
_GIVE_UP = text(
    _END.format(changes="state = :state, error = CAST(:error AS jsonb), finished_at = now()"),
)
_RETRY = text(
    _END.format(
        changes="state = 'queued', error = CAST(:error AS jsonb), "
        "run_at = now() + make_interval(secs => :delay_seconds)",
    )
)
_RELEASE = text(_END.format(changes="state = 'queued', attempt = attempt - 1, run_at = now()"))

_RESCUE = text(
    """
    UPDATE jobs
    SET rescues = jobs.rescues + 1, lease_owner = NULL, lease_until = NULL, updated_at = now(),
        state = CASE WHEN jobs.rescues + 1 >= jobs.max_attempts THEN 'dead' ELSE 'queued' END,
        finished_at = CASE WHEN jobs.rescues + 1 >= jobs.max_attempts THEN now() END,
        error = jsonb_build_object('reason', 'lease_expired', 'message', 'the worker did not renew its lease')
    FROM (
        SELECT id, lease_owner FROM jobs
        WHERE state = 'running' AND lease_until < now()
        ORDER BY lease_until
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ) AS overdue
    WHERE jobs.id = overdue.id
    RETURNING jobs.id, jobs.source_type, jobs.state, overdue.lease_owner, jobs.rescues
    """
)

_FIGURES = text(
    """
    SELECT count(*), coalesce(extract(epoch FROM min(run_at)), 0)
    FROM jobs WHERE state = 'queued' AND run_at <= now()
    """
)

_RECONCILE_LOCK = 0x0DC5_0002


class JobRepository:
    """Queries, in the transaction of the connection given."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(
        self,
        *,
        job_id: UUID,
        client_id: str,
        source_type: str,
        config: Mapping[str, Any],
        max_attempts: int,
        request_id: str | None,
    ) -> None:
        """Store a new job, due at once."""
        values = {
            "id": job_id,
            "client_id": client_id,
            "source_type": source_type,
            "config": orjson.dumps(dict(config)).decode(),
            "max_attempts": max_attempts,
            "request_id": request_id,
        }
        self._connection.execute(_INSERT, values)

    def find(self, job_id: UUID) -> Row[Any] | None:
        """Return the row of a job."""
        return self._connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()

    def page(self, job_id: UUID, *, after: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return up to ``limit`` records whose ordinal is greater than ``after``."""
        query = (
            select(records.c.ordinal, records.c.content)
            .where(records.c.job_id == job_id, records.c.ordinal > after)
            .order_by(records.c.ordinal)
            .limit(limit)
        )
        return [(row.ordinal, row.content) for row in self._connection.execute(query)]

    def claim(self, *, owner: str, lease_seconds: float, kinds: Sequence[str]) -> ClaimedJob | None:
        """Take the next due job of these kinds, or None. One another worker is taking is not waited for."""
        values = {"owner": owner, "lease_seconds": lease_seconds, "kinds": list(kinds)}
        row = self._connection.execute(_CLAIM, values).one_or_none()
        return ClaimedJob(**row._mapping) if row is not None else None  # noqa: SLF001  SQLAlchemy's public name

    def beat(self, held: Sequence[tuple[UUID, int]], *, lease_seconds: float) -> set[UUID]:
        """Renew leases; return the ids of jobs still held."""
        values = {
            "ids": [str(job_id) for job_id, _ in held],
            "epochs": [epoch for _, epoch in held],
            "lease_seconds": lease_seconds,
        }
        return {row.id for row in self._connection.execute(_BEAT, values)}

    def succeed(self, job: ClaimedJob, *, record_count: int) -> None:
        """Finish the job. Raises ``FencedError`` if another owns it by now."""
        self._end(_SUCCEED, job, record_count=record_count)

    def store(self, job: ClaimedJob, collected: Encoded) -> None:
        """Store what was collected."""
        self._connection.execute(_STORE, {"id": job.id, "records": collected.body})

    def give_up(self, job: ClaimedJob, state: JobState, *, reason: str, message: str) -> None:
        """End the job without a result: ``failed`` or ``dead``."""
        self._end(_GIVE_UP, job, state=state.value, error=_error(reason, message))

    def retry(self, job: ClaimedJob, *, delay_seconds: float, reason: str, message: str) -> None:
        """Queue the job again, due after a delay."""
        self._end(_RETRY, job, delay_seconds=delay_seconds, error=_error(reason, message))

    def release(self, job: ClaimedJob) -> None:
        """Give a job back unharmed: the attempt does not count."""
        self._end(_RELEASE, job)

    def has_ended(self, job: ClaimedJob, state: JobState) -> bool:
        """Return whether this very attempt ended in ``state``."""
        same = (jobs.c.id == job.id, jobs.c.epoch == job.epoch, jobs.c.state == state.value)
        return self._connection.execute(select(jobs.c.id).where(*same)).one_or_none() is not None

    def _end(self, statement: Any, job: ClaimedJob, **values: Any) -> None:
        if self._connection.execute(statement, {"id": job.id, "epoch": job.epoch, **values}).rowcount != 1:
            raise FencedError

    def lock_reconciler(self) -> bool:
        """Return whether this transaction is the one that may reconcile."""
        query = text("SELECT pg_try_advisory_xact_lock(:key)")
        return bool(self._connection.execute(query, {"key": _RECONCILE_LOCK}).scalar_one())

    def rescue(self) -> list[Rescued]:
        """Queue jobs whose lease ran out again; those rescued too often are dead: they kill workers."""
        rows = self._connection.execute(_RESCUE, {"limit": RESCUE_BATCH_MAX})
        return [
            Rescued(row.id, row.source_type, JobState(row.state), row.lease_owner, row.rescues)
            for row in rows
        ]

    def figures(self) -> QueueFigures:
        """Return what is waiting now."""
        queued, oldest = self._connection.execute(_FIGURES).one()
        return QueueFigures(queued, float(oldest))


def _error(reason: str, message: str) -> str:
    storable = message.replace("\0", "").encode(errors="replace").decode()  # no half of a surrogate pair
    return orjson.dumps({"reason": reason, "message": storable[:2000]}).decode()
