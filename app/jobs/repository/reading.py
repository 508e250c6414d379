"""What is read of jobs, records and the audit log."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row, select

from app.jobs.repository.base import Queries
from app.models import jobs, records


class Reading(Queries):
    """What clients see."""

    def find(self, job_id: UUID, client_id: str | None = None) -> Row[Any] | None:
        """Return the row of a job; with a client, only if it is that client's."""
        query = select(jobs).where(jobs.c.id == job_id)
        if client_id is not None:
            query = query.where(jobs.c.client_id == client_id)
        return self._connection.execute(query).one_or_none()

    def page(self, job_id: UUID, *, after: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return up to ``limit`` records whose ordinal is greater than ``after``."""
        query = (
            select(records.c.ordinal, records.c.content)
            .where(records.c.job_id == job_id, records.c.ordinal > after)
            .order_by(records.c.ordinal)
            .limit(limit)
        )
        return [(row.ordinal, row.content) for row in self._connection.execute(query)]
