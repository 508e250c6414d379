"""What keeps the queue in order: rescues, figures, the purge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from app.jobs.repository.base import Queries
from app.models import JobState

RESCUE_BATCH_MAX = 100

_RESCUE = text(
    """
    WITH overdue AS (
        SELECT id, lease_owner FROM jobs
        WHERE state = 'running' AND lease_until < now() AND (SELECT pg_try_advisory_xact_lock(:lock))
        ORDER BY lease_until
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ), rescued AS (
        UPDATE jobs
        SET rescues = jobs.rescues + 1, lease_owner = NULL, lease_until = NULL, updated_at = now(),
            events = events + 1,
            state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                         WHEN jobs.rescues + 1 >= jobs.max_attempts THEN 'dead' ELSE 'queued' END,
            finished_at = CASE WHEN cancel_requested_at IS NOT NULL
                                 OR jobs.rescues + 1 >= jobs.max_attempts THEN now() END,
            error = jsonb_build_object('reason', 'lease_expired',
                                       'message', 'the worker did not renew its lease')
        FROM overdue
        WHERE jobs.id = overdue.id
        RETURNING jobs.id, jobs.client_id, jobs.source_type, jobs.state, jobs.events, jobs.epoch,
                  overdue.lease_owner, jobs.rescues, jobs.trace_context
    ), audited AS (
        INSERT INTO job_events (job_id, seq, client_id, event, epoch, detail)
        SELECT id, events, client_id, CASE state WHEN 'queued' THEN 'rescued' ELSE state END, epoch,
               jsonb_build_object('reason', 'lease_expired', 'owner', lease_owner)
        FROM rescued
    )
    SELECT * FROM rescued
    """
)

# A job that was rescued or released keeps its place by `run_at`, but it waits only since nobody holds it.
_FIGURES = text(
    """
    SELECT client_id, source_type, count(*) AS queued,
           extract(epoch FROM min(greatest(run_at, updated_at))) AS waiting_since_unix
    FROM jobs WHERE state = 'queued' AND run_at <= now()
    GROUP BY client_id, source_type
    """
)
_DEAD = text("SELECT count(*) FROM jobs WHERE state = 'dead'")

_PURGE = text(
    """
    WITH old AS (
        SELECT id FROM jobs
        WHERE finished_at < now() - make_interval(secs => :age_seconds)
          AND (SELECT pg_try_advisory_xact_lock(:lock))
        ORDER BY finished_at
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ), forgotten AS (
        DELETE FROM job_events USING old WHERE job_events.job_id = old.id
    ), purged AS (
        DELETE FROM jobs USING old WHERE jobs.id = old.id RETURNING jobs.id
    )
    SELECT count(*) FROM purged
    """
)

_PURGE_LOCK = 0x0DC5_0004
RECONCILE_LOCK = 0x0DC5_0002


@dataclass(frozen=True)
class Rescued:
    """A job taken back from a worker whose lease ran out."""

    id: UUID
    client_id: str
    source_type: str
    state: JobState
    lease_owner: str
    rescues: int
    trace_context: str | None


@dataclass(frozen=True)
class ShelfFigures:
    """How much of one client's and kind's is due and waiting, and since when (unix time)."""

    client_id: str
    source_type: str
    queued: int
    waiting_since_unix: float


@dataclass(frozen=True)
class QueueFigures:
    """How much is due and waiting, and how many jobs are dead."""

    shelves: Sequence[ShelfFigures]
    dead: int

    @property
    def queued(self) -> int:
        """Jobs due and waiting."""
        return sum(shelf.queued for shelf in self.shelves)

    @property
    def waiting_since_unix(self) -> float:
        """Since when the oldest waits; 0 if none does."""
        return min((shelf.waiting_since_unix for shelf in self.shelves), default=0.0)


class Upkeep(Queries):
    """What the reconciler does."""

    def rescue(self) -> list[Rescued]:
        """Queue jobs whose lease ran out again; those rescued too often are dead: they kill workers.

        One transaction at a time does it: while another does, there is nothing to rescue.
        """
        rows = self._connection.execute(_RESCUE, {"limit": RESCUE_BATCH_MAX, "lock": RECONCILE_LOCK})
        return [
            Rescued(
                row.id,
                row.client_id,
                row.source_type,
                JobState(row.state),
                row.lease_owner,
                row.rescues,
                row.trace_context,
            )
            for row in rows
        ]

    def figures(self) -> QueueFigures:
        """Return what is waiting now, and what is dead."""
        shelves = [
            ShelfFigures(row.client_id, row.source_type, row.queued, float(row.waiting_since_unix))
            for row in self._connection.execute(_FIGURES)
        ]
        return QueueFigures(shelves, int(self._connection.execute(_DEAD).scalar_one()))

    def purge(self, *, age_seconds: float, limit: int) -> int:
        """Delete the oldest jobs that ended longer ago, and all that belongs to them. Return how many."""
        values = {"age_seconds": age_seconds, "limit": limit, "lock": _PURGE_LOCK}
        return int(self._connection.execute(_PURGE, values).scalar_one())
