"""Jobs in the tables themselves, without any process of the service."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.database.engine import Database
from app.jobs.ids import new_job_id
from app.jobs.repository import ClaimedJob, JobRepository, NewJob, Wanted

LEASE_SECONDS = 60.0
KINDS = ("api", "database", "file")


def insert(database: Database, client_id: str = "default", **values: Any) -> UUID:
    """Store a job and return its id."""
    job_id = new_job_id()
    given: dict[str, Any] = {"kind": "file", "config": {}, "max_attempts": 3}
    given.update(values)
    job = NewJob(id=job_id, client_id=client_id, **given)
    with database.transaction() as connection:
        assert JobRepository(connection).insert(job)
    return job_id


def insert_many(
    database: Database, client_id: str, count: int, *, priority: int = 0, kind: str = "file"
) -> None:
    """Store many jobs at once, the first due first."""
    with database.transaction() as connection:
        connection.execute(
            text(
                """
                INSERT INTO jobs (id, client_id, source_type, config, max_attempts, priority, run_at)
                SELECT gen_random_uuid(), :client_id, :kind, '{}', 5, :priority,
                       now() - interval '1 s' + n * interval '1 us'
                FROM generate_series(1, :count) AS n
                """
            ),
            {"client_id": client_id, "count": count, "priority": priority, "kind": kind},
        )


def claim(
    database: Database,
    limit: int = 1,
    *,
    idle: int | None = None,
    rooms: dict[str, int | None] | None = None,
    client_running_max: int | None = None,
    bulkheads: int | None = None,
    owner: str = "w",
    lease_seconds: float = LEASE_SECONDS,
) -> list[ClaimedJob]:
    """Claim up to ``limit`` jobs as a worker would."""
    wanted = Wanted(rooms or dict.fromkeys(KINDS), limit, limit if idle is None else idle, bulkheads)
    with database.transaction() as connection:
        jobs, _ = JobRepository(connection).claim(
            owner=owner,
            lease_seconds=lease_seconds,
            wanted=wanted,
            client_running_max=client_running_max,
        )
    return jobs


def execute(database: Database, sql: str, **values: Any) -> None:
    with database.transaction() as connection:
        connection.execute(text(sql), values)


def row(database: Database, job_id: UUID) -> Any:
    with database.transaction() as connection:
        found = JobRepository(connection).find(job_id)
    assert found is not None
    return found


def audit(database: Database, job_id: UUID) -> list[str]:
    """Return the names of what happened to a job, whose numbers have no gap."""
    with database.transaction() as connection:
        entries = JobRepository(connection).audit(job_id, after=0)
    assert [one.seq for one in entries] == list(range(1, len(entries) + 1))
    assert row(database, job_id).events == len(entries)
    return [one.event for one in entries]


def stored(database: Database, job_id: UUID) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return [content for _, content in JobRepository(connection).page(job_id, after=-1, limit=1000)]
