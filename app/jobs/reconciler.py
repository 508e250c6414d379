"""Takes jobs back from dead workers, wakes the living, deletes what is old, and publishes what is waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from app.database.engine import DATABASE_ERRORS, Database
from app.jobs.repository import JobRepository, QueueFigures, Rescued
from app.jobs.repository.upkeep import ShelfFigures
from app.jobs.wakeups import Announcer
from app.telemetry import metrics
from app.telemetry.clients import client_label, count_job
from app.telemetry.metrics import jobs as queue_metrics
from app.telemetry.tracing import trace_of

PURGE_JOBS_MAX = 500
PURGE_SECONDS_MAX = 1.0
"""Of one round: rescues do not wait for it."""
OTHER_KINDS = "other"

log = structlog.get_logger()


class Reconciler:
    """Every worker has one; one at a time rescues. ``kinds`` are those that this worker runs."""

    def __init__(
        self, database: Database, announcer: Announcer, *, kinds: Sequence[str], retention_days: float
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._kinds = frozenset(kinds)
        self._retention_seconds = timedelta(days=retention_days).total_seconds()
        self._purge_jobs = PURGE_JOBS_MAX
        self._by_kind = _Labelled(queue_metrics.QUEUED_OF_KIND, queue_metrics.OLDEST_OF_KIND, kinds)
        self._by_client = _Labelled(queue_metrics.QUEUED_OF_CLIENT, queue_metrics.OLDEST_OF_CLIENT, ())

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
        self._publish(figures)
        if figures.queued:
            self._announcer.announce()
        if self._retention_seconds > 0:
            self._purge()

    def _publish(self, figures: QueueFigures) -> None:
        metrics.JOBS_QUEUED.set(figures.queued)
        metrics.JOBS_OLDEST_QUEUED.set(figures.waiting_since_unix)
        queue_metrics.JOBS_DEAD.set(figures.dead)
        self._by_kind.publish(
            figures.shelves,
            lambda shelf: shelf.source_type if shelf.source_type in self._kinds else OTHER_KINDS,
        )
        self._by_client.publish(figures.shelves, lambda shelf: client_label(shelf.client_id))

    def _purge(self) -> None:
        """Delete old jobs, fewer at a time while they have so much that it takes too long."""
        until = time.monotonic() + PURGE_SECONDS_MAX
        while time.monotonic() < until:
            try:
                with self._database.statement() as connection:
                    purged = JobRepository(connection).purge(
                        age_seconds=self._retention_seconds, limit=self._purge_jobs
                    )
            except DATABASE_ERRORS:
                self._purge_jobs = max(1, self._purge_jobs // 4)
                return
            if purged:
                queue_metrics.JOBS_PURGED.inc(purged)
                log.info("jobs_purged", jobs=purged)
            if purged < self._purge_jobs:
                return
            self._purge_jobs = min(PURGE_JOBS_MAX, self._purge_jobs * 2)

    @staticmethod
    def _report(one: Rescued) -> None:
        metrics.WORKER_RESCUES.inc()
        if one.state.finished:
            metrics.JOBS_FINISHED.labels(one.source_type, one.state.value).inc()
            count_job(one.client_id, one.state.value)
        log.warning(
            "job_rescued",
            job_id=str(one.id),
            source_type=one.source_type,
            lease_owner=one.lease_owner,
            rescues=one.rescues,
            outcome=one.state.value,
            **trace_of(one.trace_context),
        )


class _Labelled:
    """How much waits, and since when, by one label. What is empty again is 0, not gone."""

    def __init__(self, queued: Gauge, oldest: Gauge, known: Sequence[str]) -> None:
        self._queued = queued
        self._oldest = oldest
        self._known = set(known)

    def publish(self, shelves: Sequence[ShelfFigures], label: Callable[[ShelfFigures], str]) -> None:
        queued: dict[str, int] = {}
        oldest: dict[str, float] = {}
        for shelf in shelves:
            name = label(shelf)
            queued[name] = queued.get(name, 0) + shelf.queued
            oldest[name] = min(shelf.waiting_since_unix, oldest.get(name, shelf.waiting_since_unix))
        self._known.update(queued)
        for name in self._known:
            self._queued.labels(name).set(queued.get(name, 0))
            self._oldest.labels(name).set(oldest.get(name, 0.0))
