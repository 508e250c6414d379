"""What keeps the queue in order: rescues, figures, the purge."""

from __future__ import annotations

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
                  overdue.lease_owner, jobs.rescues
    ), audited AS (
        INSERT INTO job_events (job_id, seq, client_id, event, epoch, detail)
        SELECT id, events, client_id, CASE state WHEN 'queued' THEN 'rescued' ELSE state END, epoch,
               jsonb_build_object('reason', 'lease_expired', 'owner', lease_owner)
        FROM rescued
    )
    SELECT * FROM rescued
    """
)

_FIGURES = text(
    """
    SELECT count(*), coalesce(extract(epoch FROM min(run_at)), 0)
    FROM jobs WHERE state = 'queued' AND run_at <= now()
    """
)

RECONCILE_LOCK = 0x0DC5_0002


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


class Upkeep(Queries):
    """What the reconciler does."""

    def rescue(self) -> list[Rescued]:
        """Queue jobs whose lease ran out again; those rescued too often are dead: they kill workers.

        One transaction at a time does it: while another does, there is nothing to rescue.
        """
        rows = self._connection.execute(_RESCUE, {"limit": RESCUE_BATCH_MAX, "lock": RECONCILE_LOCK})
        return [
            Rescued(row.id, row.source_type, JobState(row.state), row.lease_owner, row.rescues)
            for row in rows
        ]

    def figures(self) -> QueueFigures:
        """Return what is waiting now."""
        queued, oldest = self._connection.execute(_FIGURES).one()
        return QueueFigures(queued, float(oldest))
