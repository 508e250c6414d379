"""The jobs this worker holds, and the heart that keeps their leases alive."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from app.database.engine import DATABASE_ERRORS, Database
from app.errors import FencedError
from app.jobs.repository import ClaimedJob, JobRepository, Wanted
from app.telemetry import metrics

log = structlog.get_logger()


@dataclass
class Held:
    """A job in progress. ``expires_at`` is monotonic and never later than what the database knows."""

    job: ClaimedJob
    expires_at: float
    lost: threading.Event = field(default_factory=threading.Event)


class Leases:
    """All jobs in progress in this process. ``limits``: how many of each kind there may be, None for any."""

    def __init__(self, database: Database, *, lease_seconds: float, limits: Mapping[str, int | None]) -> None:
        self._database = database
        self._limits = limits
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._held: dict[UUID, Held] = {}

    def claim(self, *, owner: str) -> Held | None:
        """Take the next due job. Raises one of ``DATABASE_ERRORS``."""
        asked_at = time.monotonic()
        with self._database.transaction() as connection:
            taken, _ = JobRepository(connection).claim(
                owner=owner,
                lease_seconds=self._lease_seconds,
                wanted=Wanted(self._rooms(), limit=1, idle=1),
            )
        if not taken:
            return None
        [job] = taken
        held = Held(job, asked_at + self._lease_seconds)
        with self._lock:
            self._held[job.id] = held
            metrics.WORKER_JOBS_RUNNING.set(len(self._held))
        return held

    def _rooms(self) -> dict[str, int | None]:
        """Return how many more of each kind this process may run; None for any number."""
        with self._lock:
            running = Counter(held.job.source_type for held in self._held.values())
        return {
            kind: None if limit is None else limit - running[kind]
            for kind, limit in self._limits.items()
            if limit is None or running[kind] < limit
        }

    def drop(self, held: Held) -> None:
        """Forget a job that has ended here."""
        with self._lock:
            self._held.pop(held.job.id, None)
            metrics.WORKER_JOBS_RUNNING.set(len(self._held))

    def _snapshot(self) -> list[Held]:
        with self._lock:
            return list(self._held.values())

    def beat(self) -> None:
        """Renew every lease; mark those that others own by now."""
        held = self._snapshot()
        if not held:
            return
        asked_at = time.monotonic()
        try:
            with self._database.transaction() as connection:
                kept = JobRepository(connection).beat(
                    [(one.job.id, one.job.epoch) for one in held], lease_seconds=self._lease_seconds
                )
        except DATABASE_ERRORS:
            return  # the next beat may get through; a lease that runs out is another worker's affair
        for one in held:
            if one.job.id in kept:
                one.expires_at = asked_at + self._lease_seconds
            else:
                one.lost.set()

    def release_all(self) -> None:
        """Give back what is still running, so that another worker need not wait for the lease."""
        for one in self._snapshot():
            try:
                with self._database.transaction() as connection:
                    JobRepository(connection).release(one.job)
            except (*DATABASE_ERRORS, FencedError) as exc:
                log.warning("job_release_failed", job_id=str(one.job.id), error=str(exc))
            else:
                log.info("job_released", job_id=str(one.job.id))
