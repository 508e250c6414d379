"""Taking jobs from the queue, and keeping them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.jobs.repository.base import Queries

PRIORITY_MAX = 9
AGING_SECONDS = 30
"""A waiting job rises by one priority in this time: the last of all is among the first after 270 s."""

_ANY_NUMBER = 2**31 - 1

# Shelves are found by skipping through their index, so that a long queue costs no more than a short one.
# Of each, more is looked at than is wanted: what other workers are taking at this moment is passed over.
_CLAIM = text(
    """
    WITH RECURSIVE shelves (client_id, source_type, priority) AS (
        (
            SELECT client_id, source_type, priority FROM jobs
            WHERE state = 'queued'
            ORDER BY client_id, source_type, priority
            LIMIT 1
        )
        UNION ALL
        SELECT following.client_id, following.source_type, following.priority
        FROM shelves CROSS JOIN LATERAL (
            SELECT jobs.client_id, jobs.source_type, jobs.priority FROM jobs
            WHERE state = 'queued'
              AND (jobs.client_id, jobs.source_type, jobs.priority)
                  > (shelves.client_id, shelves.source_type, shelves.priority)
            ORDER BY jobs.client_id, jobs.source_type, jobs.priority
            LIMIT 1
        ) AS following
    ), running AS MATERIALIZED (
        SELECT client_id, count(*) AS jobs FROM jobs WHERE state = 'running' GROUP BY client_id
    ), due AS (
        SELECT front.*, kinds.room, coalesce(running.jobs, 0) AS running
        FROM shelves
        JOIN unnest(CAST(:kinds AS text[]), CAST(:rooms AS int[])) AS kinds (kind, room)
            ON kinds.kind = shelves.source_type
        LEFT JOIN running ON running.client_id = shelves.client_id
        CROSS JOIN LATERAL (
            SELECT jobs.id, jobs.client_id, jobs.source_type, jobs.run_at,
                   rescues > 0 OR max_attempts = 1 AS delicate,
                   least(:priority_max, jobs.priority + CAST(
                       extract(epoch FROM now() - run_at) AS int) / :aging_seconds) AS rank
            FROM jobs
            WHERE state = 'queued' AND jobs.client_id = shelves.client_id
              AND jobs.source_type = shelves.source_type AND jobs.priority = shelves.priority
              AND run_at <= now()
            ORDER BY run_at, id
            LIMIT (SELECT greatest(4, greatest(32, 4 * :limit) / count(*)) FROM shelves)
        ) AS front
    ), shared AS (
        -- The share of a job: how many its client would be running, were this the next of them.
        SELECT due.*, running + row_number() OVER (
            PARTITION BY client_id ORDER BY rank DESC, run_at, id
        ) AS share
        FROM due
    ), ordered AS (
        SELECT id, rank, share, run_at, room, delicate,
               row_number() OVER (PARTITION BY source_type ORDER BY rank DESC, share, run_at, id) AS of_kind,
               row_number() OVER (PARTITION BY delicate ORDER BY rank DESC, share, run_at, id) AS of_delicacy
        FROM shared
        WHERE share <= :client_running_max
    ), fitting AS (
        SELECT id, rank, share, run_at, room < :any_number AS bulkhead,
               row_number() OVER (
                   PARTITION BY room < :any_number ORDER BY rank DESC, share, run_at, id
               ) AS number
        FROM ordered
        WHERE of_kind <= room AND (NOT delicate OR of_delicacy <= :idle)
    ), candidates AS MATERIALIZED (
        SELECT id, rank, share, run_at FROM fitting
        WHERE NOT bulkhead OR number <= :bulkheads_room
        ORDER BY rank DESC, share, run_at, id
        LIMIT greatest(32, 4 * :limit)
    ), picked AS (
        SELECT jobs.id FROM candidates JOIN jobs ON jobs.id = candidates.id
        WHERE jobs.state = 'queued'
        ORDER BY candidates.rank DESC, candidates.share, candidates.run_at, candidates.id
        LIMIT :limit
        FOR UPDATE OF jobs SKIP LOCKED
    ), claimed AS (
        UPDATE jobs
        SET state = 'running', epoch = epoch + 1, attempt = attempt + 1, events = events + 1,
            lease_owner = :owner, lease_until = now() + make_interval(secs => :lease_seconds),
            started_at = coalesce(started_at, now()), updated_at = now()
        FROM picked
        WHERE jobs.id = picked.id
        RETURNING jobs.id, epoch, client_id, source_type, config, attempt, max_attempts, rescues,
                  request_id, trace_context, events, priority, run_at
    ), audited AS (
        INSERT INTO job_events (job_id, seq, client_id, event, epoch, detail)
        SELECT id, events, client_id, 'claimed', epoch, jsonb_build_object('owner', CAST(:owner AS text))
        FROM claimed
    )
    SELECT seen.candidates, claimed.*
    FROM (SELECT count(*) AS candidates FROM candidates) AS seen LEFT JOIN claimed ON TRUE
    ORDER BY claimed.priority DESC, claimed.run_at, claimed.id
    """
)

# Claims that respect a cap go one after the other: each must see what the one before took.
_CLAIM_LOCK_KEY = 0x0DC5_0003
_CLAIM_LOCK = text("SELECT pg_advisory_xact_lock(:key)")

_BEAT = text(
    """
    UPDATE jobs
    SET lease_until = now() + make_interval(secs => :lease_seconds)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS bigint[])) AS held (id, epoch)
    WHERE jobs.id = held.id AND jobs.epoch = held.epoch AND jobs.state = 'running'
    RETURNING jobs.id, jobs.cancel_requested_at IS NOT NULL AS cancelled
    """
)

# What this owner claimed in the last so many seconds: a lease begins with its claim, so that no clocks of two
# machines are compared.
_UNHEARD = text(
    """
    SELECT id, epoch FROM jobs
    WHERE state = 'running' AND lease_owner = :owner AND id <> ALL(CAST(:held AS uuid[]))
      AND lease_until >= now() + make_interval(secs => :lease_seconds - :seconds)
    """
)

_WATCH = text(
    """
    WITH held (id, epoch, done, total) AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS bigint[]),
                             CAST(:done AS bigint[]), CAST(:totals AS bigint[]))
    ), noted AS (
        UPDATE jobs SET progress_done = held.done, progress_total = held.total, updated_at = now()
        FROM held
        WHERE jobs.id = held.id AND jobs.epoch = held.epoch AND jobs.state = 'running'
          AND held.done IS NOT NULL
    )
    SELECT jobs.id, jobs.cancel_requested_at IS NOT NULL AS cancelled
    FROM jobs JOIN held ON jobs.id = held.id AND jobs.epoch = held.epoch
    WHERE jobs.state = 'running'
    """
)


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
    trace_context: str | None = None
    """The W3C ``traceparent`` of the request that submitted it."""

    @property
    def delicate(self) -> bool:
        """Whether it may have killed a worker, or dies if its worker does: it is never held in store."""
        return self.rescues > 0 or self.max_attempts == 1


@dataclass(frozen=True)
class Wanted:
    """What a worker would take: ``rooms`` is how many of each kind (None: any), ``limit`` how many in all.

    ``idle`` of them start at once, the others are held in store for threads that will soon be free.
    ``bulkheads_room``: how many of all the kinds that are limited together; None: as many as each may.
    """

    rooms: Mapping[str, int | None]
    limit: int
    idle: int
    bulkheads_room: int | None = None


@dataclass(frozen=True)
class Progressed:
    """How far a held job is; ``done`` None: nothing new."""

    id: UUID
    epoch: int
    done: int | None = None
    total: int | None = None


class Claiming(Queries):
    """What workers do to get jobs and keep them."""

    def claim(
        self, *, owner: str, lease_seconds: float, wanted: Wanted, client_running_max: int | None = None
    ) -> tuple[list[ClaimedJob], bool]:
        """Take due jobs: the highest priority first, then of the client with the fewest running, the oldest.

        Also return whether there were others that somebody else was taking at that moment: ask again.
        With ``client_running_max`` no client has more running, which needs a transaction.
        """
        if client_running_max is not None:
            self._connection.execute(_CLAIM_LOCK, {"key": _CLAIM_LOCK_KEY})
        values = {
            "owner": owner,
            "lease_seconds": lease_seconds,
            "kinds": list(wanted.rooms),
            "rooms": [_ANY_NUMBER if room is None else room for room in wanted.rooms.values()],
            "limit": wanted.limit,
            "idle": wanted.idle,
            "any_number": _ANY_NUMBER,
            "bulkheads_room": _ANY_NUMBER if wanted.bulkheads_room is None else wanted.bulkheads_room,
            "client_running_max": _ANY_NUMBER if client_running_max is None else client_running_max,
            "priority_max": PRIORITY_MAX,
            "aging_seconds": AGING_SECONDS,
        }
        rows = self._connection.execute(_CLAIM, values).all()
        taken = [row for row in rows if row.id is not None]
        contended = not taken and rows[0].candidates > 0
        return [
            ClaimedJob(
                row.id,
                row.epoch,
                row.client_id,
                row.source_type,
                row.config,
                row.attempt,
                row.max_attempts,
                row.rescues,
                row.request_id,
                row.trace_context,
            )
            for row in taken
        ], contended

    def beat(self, held: Sequence[tuple[UUID, int]], *, lease_seconds: float) -> dict[UUID, bool]:
        """Renew leases; return the jobs still held, and of each whether it is to be cancelled."""
        values = {
            "ids": [str(job_id) for job_id, _ in held],
            "epochs": [epoch for _, epoch in held],
            "lease_seconds": lease_seconds,
        }
        return {row.id: row.cancelled for row in self._connection.execute(_BEAT, values)}

    def unheard(
        self, *, owner: str, lease_seconds: float, seconds: float, held: Sequence[UUID]
    ) -> list[tuple[UUID, int]]:
        """Return what ``owner`` claimed within the last ``seconds`` and does not hold: id and epoch."""
        values = {
            "owner": owner,
            "lease_seconds": lease_seconds,
            "seconds": seconds,
            "held": [str(job_id) for job_id in held],
        }
        return [(row.id, row.epoch) for row in self._connection.execute(_UNHEARD, values)]

    def watch(self, held: Sequence[Progressed]) -> dict[UUID, bool]:
        """Note progress; return as ``beat``. The leases stay as they are."""
        values = {
            "ids": [str(one.id) for one in held],
            "epochs": [one.epoch for one in held],
            "done": [one.done for one in held],
            "totals": [one.total for one in held],
        }
        return {row.id: row.cancelled for row in self._connection.execute(_WATCH, values)}
