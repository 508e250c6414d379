"""What is read of jobs, records and the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, text, tuple_

from app.jobs.repository.base import Queries
from app.models import JobState, job_events, jobs, records

EVENTS_MAX = 1000
COLUMNS_BATCH = 2000

_NEWS = text(
    """
    SELECT e.job_id, e.seq, e.at, e.event, e.epoch, e.detail
    FROM unnest(CAST(:ids AS uuid[]), CAST(:after AS int[])) AS watched (id, after)
    JOIN job_events AS e ON e.job_id = watched.id AND e.seq > watched.after
    ORDER BY e.job_id, e.seq
    LIMIT :limit
    """
)

# In the order in which they first appear; within one record, which jsonb keeps in no order, by name.
_COLUMNS = text(
    """
    SELECT key, min(ordinal) AS first
    FROM (
        SELECT ordinal, content FROM records
        WHERE job_id = :job_id AND ordinal > :after ORDER BY ordinal LIMIT :limit
    ) AS batch, jsonb_object_keys(content) AS key
    GROUP BY key
    ORDER BY first, key
    """
)
_LAST_OF = text(
    """
    SELECT max(ordinal), count(*) FROM (
        SELECT ordinal FROM records WHERE job_id = :job_id AND ordinal > :after ORDER BY ordinal LIMIT :limit
    ) AS batch
    """
)


@dataclass(frozen=True)
class JobFilter:
    """Which jobs of a client are listed; what is None does not matter. ``before`` is where a page begins."""

    client_id: str
    states: Sequence[JobState] = ()
    kind: str | None = None
    priority: int | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before: tuple[datetime, UUID] | None = None


class Reading(Queries):
    """What clients see."""

    def find(self, job_id: UUID, client_id: str | None = None) -> Row[Any] | None:
        """Return the row of a job; with a client, only if it is that client's."""
        query = select(jobs).where(jobs.c.id == job_id)
        if client_id is not None:
            query = query.where(jobs.c.client_id == client_id)
        return self._connection.execute(query).one_or_none()

    def list_jobs(self, which: JobFilter, *, limit: int) -> Sequence[Row[Any]]:
        """Return jobs, the newest first."""
        query = select(jobs).where(jobs.c.client_id == which.client_id)
        if which.states:
            query = query.where(jobs.c.state.in_([state.value for state in which.states]))
        if which.kind is not None:
            query = query.where(jobs.c.source_type == which.kind)
        if which.priority is not None:
            query = query.where(jobs.c.priority == which.priority)
        if which.created_after is not None:
            query = query.where(jobs.c.created_at >= which.created_after)
        if which.created_before is not None:
            query = query.where(jobs.c.created_at < which.created_before)
        if which.before is not None:
            query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < which.before)
        query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        return self._connection.execute(query).all()

    def page(self, job_id: UUID, *, after: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return up to ``limit`` records whose ordinal is greater than ``after``."""
        query = (
            select(records.c.ordinal, records.c.content)
            .where(records.c.job_id == job_id, records.c.ordinal > after)
            .order_by(records.c.ordinal)
            .limit(limit)
        )
        return [(row.ordinal, row.content) for row in self._connection.execute(query)]

    def columns(self, job_id: UUID, *, after: int) -> tuple[list[str], int | None]:
        """Return the names in the next batch of records, and the last ordinal of it if others may follow."""
        values = {"job_id": job_id, "after": after, "limit": COLUMNS_BATCH}
        names = [row.key for row in self._connection.execute(_COLUMNS, values)]
        last, count = self._connection.execute(_LAST_OF, values).one()
        return names, last if count == COLUMNS_BATCH else None

    def audit(self, job_id: UUID, *, after: int, limit: int = EVENTS_MAX) -> Sequence[Row[Any]]:
        """Return what happened to a job, in order."""
        query = (
            select(job_events)
            .where(job_events.c.job_id == job_id, job_events.c.seq > after)
            .order_by(job_events.c.seq)
            .limit(limit)
        )
        return self._connection.execute(query).all()

    def news(self, watched: Mapping[UUID, int]) -> tuple[dict[UUID, Row[Any]], Sequence[Row[Any]]]:
        """Return the rows of jobs, and what happened to each after the event that was seen last."""
        rows = self._connection.execute(select(jobs).where(jobs.c.id.in_(list(watched))))
        found = {row.id: row for row in rows}
        values = {
            "ids": [str(job_id) for job_id in watched],
            "after": list(watched.values()),
            "limit": EVENTS_MAX,
        }
        return found, self._connection.execute(_NEWS, values).all()
