"""Every end of an attempt. Each carries the fence: this epoch, still running, and not to be cancelled.

What is written carries the epoch of whoever writes it, which an auditor can compare with the job's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import TextClause, select, text

from app.errors import FencedError
from app.jobs.errors import JobCancelledError
from app.jobs.repository.base import Queries, error_document
from app.jobs.repository.claiming import ClaimedJob
from app.models import JobState, jobs
from app.sources import Encoded


def _end(event: str, changes: str, *, only: str = "cancel_requested_at IS NULL") -> TextClause:
    return text(
        f"""
        WITH ended AS (
            UPDATE jobs
            SET {changes}, lease_owner = NULL, lease_until = NULL, events = events + 1, updated_at = now()
            WHERE id = :id AND epoch = :epoch AND state = 'running' AND {only}
            RETURNING id, client_id, events, CAST(:epoch AS bigint) AS epoch
        )
        INSERT INTO job_events (job_id, seq, client_id, event, epoch, detail)
        SELECT id, events, client_id, {event}, epoch, CAST(:detail AS jsonb) FROM ended
        """  # noqa: S608  nothing in it comes from outside
    )


_SUCCEED = _end(
    "'succeeded'",
    "state = 'succeeded', record_count = :record_count, error = NULL, finished_at = now()",
)
_GIVE_UP = _end(":state", "state = :state, error = CAST(:error AS jsonb), finished_at = now()")
_RETRY = _end(
    "'retried'",
    "state = 'queued', error = CAST(:error AS jsonb), attempt = attempt - :uncounted, "
    "run_at = now() + make_interval(secs => :delay_seconds)",
)
_CANCEL = _end(
    "'cancelled'", "state = 'cancelled', finished_at = now()", only="cancel_requested_at IS NOT NULL"
)

_STORE = text(
    """
    INSERT INTO records (job_id, ordinal, content, epoch)
    SELECT :id, item.position - 1, item.content, :epoch
    FROM jsonb_array_elements(CAST(:records AS jsonb)) WITH ORDINALITY AS item (content, position)
    ON CONFLICT (job_id, ordinal) DO NOTHING
    """
)

# Many jobs in one statement, each behind its own fence: what is fenced off has no row in ``ended``.
_SUCCEED_MANY = text(
    """
    WITH done AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS bigint[]), CAST(:counts AS int[]),
                             CAST(:bodies AS text[])) AS done (id, epoch, record_count, body)
    ), ended AS (
        UPDATE jobs
        SET state = 'succeeded', record_count = done.record_count, error = NULL, finished_at = now(),
            lease_owner = NULL, lease_until = NULL, events = events + 1, updated_at = now()
        FROM done
        WHERE jobs.id = done.id AND jobs.epoch = done.epoch AND state = 'running'
          AND cancel_requested_at IS NULL
        RETURNING jobs.id, jobs.client_id, jobs.events, done.epoch, jobs.record_count, done.body
    ), stored AS (
        INSERT INTO records (job_id, ordinal, content, epoch)
        SELECT ended.id, item.position - 1, item.content, ended.epoch
        FROM ended CROSS JOIN LATERAL
             jsonb_array_elements(CAST(ended.body AS jsonb)) WITH ORDINALITY AS item (content, position)
        ON CONFLICT (job_id, ordinal) DO NOTHING
    ), audited AS (
        INSERT INTO job_events (job_id, seq, client_id, event, epoch, detail)
        SELECT id, events, client_id, 'succeeded', epoch, jsonb_build_object('records', record_count)
        FROM ended
    )
    SELECT id FROM ended
    """
)

# A job keeps its place in the queue: it was given back for no fault of its own.
_RELEASE = text(
    """
    WITH ended AS (
        UPDATE jobs
        SET state = CASE WHEN cancel_requested_at IS NULL THEN 'queued' ELSE 'cancelled' END,
            attempt = attempt - 1, started_at = CASE WHEN attempt > 1 THEN started_at END,
            finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN now() END,
            lease_owner = NULL, lease_until = NULL, events = events + 1, updated_at = now()
        FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS bigint[])) AS held (id, epoch)
        WHERE jobs.id = held.id AND jobs.epoch = held.epoch AND state = 'running'
        RETURNING jobs.id, jobs.client_id, jobs.events, held.epoch, jobs.state
    ), audited AS (
        INSERT INTO job_events (job_id, seq, client_id, event, epoch)
        SELECT id, events, client_id, CASE state WHEN 'queued' THEN 'released' ELSE state END, epoch
        FROM ended
    )
    SELECT id FROM ended
    """
)


@dataclass(frozen=True)
class Succeeded:
    """A job that is done, and its records."""

    job: ClaimedJob
    collected: Encoded


class Ending(Queries):
    """What workers do with jobs they are done with.

    Those for one job raise ``FencedError`` if another owns it by now, ``JobCancelledError`` if it is to be
    cancelled.
    """

    def succeed(self, job: ClaimedJob, *, record_count: int) -> None:
        """Finish the job."""
        self._end(_SUCCEED, job, {"records": record_count}, record_count=record_count)

    def succeed_many(self, done: Sequence[Succeeded]) -> set[UUID]:
        """Finish jobs and store their records. Return those that were still ours to finish."""
        values = {
            "ids": [str(one.job.id) for one in done],
            "epochs": [one.job.epoch for one in done],
            "counts": [one.collected.count for one in done],
            "bodies": [one.collected.body for one in done],
        }
        return {row.id for row in self._connection.execute(_SUCCEED_MANY, values)}

    def store(self, job: ClaimedJob, collected: Encoded) -> None:
        """Store what was collected."""
        self._connection.execute(_STORE, {"id": job.id, "epoch": job.epoch, "records": collected.body})

    def give_up(self, job: ClaimedJob, state: JobState, *, reason: str, message: str) -> None:
        """End the job without a result: ``failed`` or ``dead``."""
        error = error_document(reason, message)
        self._end(_GIVE_UP, job, {"reason": reason}, state=state.value, error=error)

    def retry(
        self, job: ClaimedJob, *, delay_seconds: float, reason: str, message: str, attempted: bool = True
    ) -> None:
        """Queue the job again, due after a delay. Without ``attempted`` this attempt does not count."""
        detail = {"reason": reason, "delay_seconds": round(delay_seconds, 2)}
        error = error_document(reason, message)
        uncounted = 0 if attempted else 1
        self._end(_RETRY, job, detail, delay_seconds=delay_seconds, error=error, uncounted=uncounted)

    def release(self, held: Sequence[ClaimedJob]) -> set[UUID]:
        """Give jobs back unharmed: the attempts do not count. Return those that were still ours to give."""
        return self.give_back([(job.id, job.epoch) for job in held])

    def give_back(self, held: Sequence[tuple[UUID, int]]) -> set[UUID]:
        """Do the same by id and epoch."""
        values = {"ids": [str(job_id) for job_id, _ in held], "epochs": [epoch for _, epoch in held]}
        return {row.id for row in self._connection.execute(_RELEASE, values)}

    def cancelled(self, job: ClaimedJob) -> None:
        """End a job that is to be cancelled."""
        self._end(_CANCEL, job)

    def has_ended(self, job: ClaimedJob, state: JobState) -> bool:
        """Return whether this very attempt ended in ``state``."""
        same = (jobs.c.id == job.id, jobs.c.epoch == job.epoch, jobs.c.state == state.value)
        return self._connection.execute(select(jobs.c.id).where(*same)).one_or_none() is not None

    def _end(
        self, statement: TextClause, job: ClaimedJob, detail: dict[str, Any] | None = None, **values: Any
    ) -> None:
        document = orjson.dumps(detail).decode() if detail else None
        values = {"id": job.id, "epoch": job.epoch, "detail": document, **values}
        if self._connection.execute(statement, values).rowcount == 1:
            return
        ours = (jobs.c.id == job.id, jobs.c.epoch == job.epoch, jobs.c.state == JobState.RUNNING.value)
        query = select(jobs.c.id).where(*ours, jobs.c.cancel_requested_at.is_not(None))
        if self._connection.execute(query).one_or_none() is not None:
            raise JobCancelledError
        raise FencedError
