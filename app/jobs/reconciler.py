"""Takes jobs back from dead workers, wakes the living, and publishes how much is waiting."""

from __future__ import annotations

import structlog

from app.database.engine import DATABASE_ERRORS, Database
from app.jobs.repository import JobRepository, Rescued
from app.jobs.wakeups import Announcer
from app.models import JobState
from app.telemetry import metrics

log = structlog.get_logger()


class Reconciler:
    """Every worker has one; one at a time rescues."""

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer

    def run_once(self) -> None:
        """Reconcile. Without the database the gauges keep what was last known."""
        # Each is a transaction of its own: a worker that is stopped in between holds nothing up.
        try:
            with self._database.statement() as connection:
                rescued = JobRepository(connection).rescue()
            with self._database.statement() as connection:
                figures = JobRepository(connection).figures()
        except DATABASE_ERRORS:
            return
        for one in rescued:
            self._report(one)
        metrics.JOBS_QUEUED.set(figures.queued)
        metrics.JOBS_OLDEST_QUEUED.set(figures.oldest_due_unix)
        if figures.queued:
            self._announcer.announce()

    @staticmethod
    def _report(one: Rescued) -> None:
        metrics.WORKER_RESCUES.inc()
        if one.state is JobState.DEAD:
            metrics.JOBS_FINISHED.labels(one.source_type, "dead").inc()
        log.warning(
            "job_rescued",
            job_id=str(one.id),
            source_type=one.source_type,
            lease_owner=one.lease_owner,
            rescues=one.rescues,
            outcome=one.state.value,
        )
