"""The jobs this worker holds, and the heart that keeps their leases alive."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from app.database.engine import DATABASE_ERRORS, Database
from app.errors import DatabaseUnavailableError
from app.jobs.repository import ClaimedJob, JobRepository, Progressed, Wanted
from app.telemetry import metrics
from app.telemetry.tracing import trace_of

WATCH_SECONDS = 1.0
"""How often progress is noted, and how soon a running job learns that it was cancelled."""
TRAVEL_SECONDS = 1.0
"""How long a question may be on its way: what is asked about the past reaches back so much more."""

log = structlog.get_logger()


def bulkheads_max(threads: int) -> int:
    """Return how many jobs of kinds that may be slow a worker runs at once: one thread stays free of them.

    A worker with one thread runs anything.
    """
    return max(1, threads - 1)


@dataclass(eq=False)
class Held:
    """A job in progress. ``expires_at`` is monotonic and never later than what the database knows."""

    job: ClaimedJob
    expires_at: float
    claimed_at: float = field(default_factory=time.monotonic)
    lost: bool = False
    cancelled: bool = False
    progress: tuple[int, int | None] | None = None
    noted: tuple[int, int | None] | None = None

    def fresh_progress(self) -> tuple[int, int | None] | None:
        """Return what the database does not know yet."""
        return self.progress if self.progress != self.noted else None


class Leases:
    """All jobs in progress in this process.

    ``limits``: how many of each kind there may be, None for any; ``bulkheads_max``: how many of those that
    are limited together.
    """

    def __init__(
        self,
        database: Database,
        *,
        owner: str,
        lease_seconds: float,
        limits: Mapping[str, int | None],
        client_running_max: int | None = None,
        bulkheads_max: int | None = None,
        made_room: Callable[[], None] = lambda: None,
    ) -> None:
        """``made_room`` is told when a job has ended of whose kind there may only be so many."""
        self._made_room = made_room
        self._bulkheads_max = bulkheads_max
        self._database = database
        self._owner = owner
        self._limits = limits
        self._lease_seconds = lease_seconds
        self._client_running_max = client_running_max
        self._lock = threading.Lock()
        self._held: dict[UUID, Held] = {}
        self._beaten_at = 0.0
        self._unheard_from: float | None = None
        self._unheard_until = 0.0
        self._unheard_asked_at = float("-inf")

    def claim(self, *, limit: int, idle: int) -> tuple[list[Held], bool]:
        """Take due jobs, ``idle`` of which start at once. Raises one of ``DATABASE_ERRORS``.

        Also return whether others were taking some at that moment.
        """
        wanted = Wanted(self._rooms(), limit, idle, self._bulkheads_room())
        asked_at = time.monotonic()
        capped = self._client_running_max is not None
        try:
            with self._database.transaction() if capped else self._database.statement() as connection:
                jobs, contended = JobRepository(connection).claim(
                    owner=self._owner,
                    lease_seconds=self._lease_seconds,
                    wanted=wanted,
                    client_running_max=self._client_running_max,
                )
        except DatabaseUnavailableError as exc:
            if exc.outcome_unknown:
                self._unheard_from = self._unheard_from or asked_at
                self._unheard_until = time.monotonic() + self._lease_seconds
            raise
        taken = [Held(job, asked_at + self._lease_seconds) for job in jobs]
        with self._lock:
            for held in taken:
                if (older := self._held.get(held.job.id)) is not None:
                    older.lost = True
                self._held[held.job.id] = held
            metrics.WORKER_JOBS_RUNNING.set(len(self._held))
        return taken, contended

    def give_back_unheard(self) -> None:
        """Give back what a claim may have taken whose answer never came: else it would count as a rescue.

        To be called by the thread that claims: it knows that no other claim is on its way. The one that is
        asked for may still be: it is asked until its lease would be over.
        """
        since, now = self._unheard_from, time.monotonic()
        if since is None or now - self._unheard_asked_at < WATCH_SECONDS:
            return
        self._unheard_asked_at = now
        if now > self._unheard_until:
            self._unheard_from = None
            return
        try:
            with self._database.statement() as connection:
                repository = JobRepository(connection)
                unheard = repository.unheard(
                    owner=self._owner,
                    lease_seconds=self._lease_seconds,
                    seconds=now - since + TRAVEL_SECONDS,
                    held=[held.job.id for held in self.snapshot()],
                )
                released = repository.give_back(unheard) if unheard else set()
        except DATABASE_ERRORS:
            return
        for job_id in released:
            log.info("job_released", job_id=str(job_id))

    def _rooms(self) -> dict[str, int | None]:
        """Return how many more of each kind this process may run; None for any number."""
        with self._lock:
            running = Counter(held.job.source_type for held in self._held.values())
        return {
            kind: None if limit is None else limit - running[kind]
            for kind, limit in self._limits.items()
            if limit is None or running[kind] < limit
        }

    def _bulkheads_room(self) -> int | None:
        if self._bulkheads_max is None:
            return None
        with self._lock:
            running = sum(self._limits.get(held.job.source_type) is not None for held in self._held.values())
        return max(0, self._bulkheads_max - running)

    def drop(self, ended: Iterable[Held]) -> None:
        """Forget jobs that have ended here."""
        limited = False
        with self._lock:
            for held in ended:
                # The same job may have been claimed again meanwhile: that is another's to end.
                if self._held.get(held.job.id) is held:
                    del self._held[held.job.id]
                    limited |= self._limits.get(held.job.source_type) is not None
            metrics.WORKER_JOBS_RUNNING.set(len(self._held))
        if limited:
            self._made_room()

    def snapshot(self) -> list[Held]:
        """Return all jobs held now."""
        with self._lock:
            return list(self._held.values())

    def beat(self) -> None:
        """Renew every lease when it is time to, note progress, and mark what is lost or cancelled."""
        if time.monotonic() - self._beaten_at >= self._lease_seconds / 3:
            self._renew(self.snapshot())
            return
        settled_at = time.monotonic() - WATCH_SECONDS
        self._watch([held for held in self.snapshot() if held.claimed_at <= settled_at])

    def _renew(self, held: Sequence[Held]) -> None:
        asked_at = time.monotonic()
        if held:
            pairs = [(one.job.id, one.job.epoch) for one in held]
            try:
                with self._database.statement() as connection:
                    kept = JobRepository(connection).beat(pairs, lease_seconds=self._lease_seconds)
            except DATABASE_ERRORS:
                return  # the next beat may get through; a lease that runs out is another worker's affair
            for one in held:
                if one.job.id in kept:
                    one.expires_at = asked_at + self._lease_seconds
            _mark(held, kept)
        self._beaten_at = asked_at

    def _watch(self, held: Sequence[Held]) -> None:
        if not held:
            return
        fresh = [(one, one.fresh_progress()) for one in held]
        try:
            with self._database.statement() as connection:
                kept = JobRepository(connection).watch(
                    [
                        Progressed(one.job.id, one.job.epoch, *(progress or (None, None)))
                        for one, progress in fresh
                    ]
                )
        except DATABASE_ERRORS:
            return
        for one, progress in fresh:
            if progress is not None:
                one.noted = progress
        _mark(held, kept)

    def release(self, unwanted: Sequence[Held]) -> None:
        """Give jobs back that were not run to an end here: the attempts do not count."""
        if not unwanted:
            return
        try:
            with self._database.statement() as connection:
                released = JobRepository(connection).release([one.job for one in unwanted])
        except DATABASE_ERRORS as exc:
            for one in unwanted:
                log.warning(
                    "job_release_failed",
                    job_id=str(one.job.id),
                    error=str(exc),
                    **trace_of(one.job.trace_context),
                )
            return
        self.drop(unwanted)
        traces = {one.job.id: one.job.trace_context for one in unwanted}
        for job_id in released:
            log.info("job_released", job_id=str(job_id), **trace_of(traces[job_id]))


def _mark(held: Sequence[Held], kept: Mapping[UUID, bool]) -> None:
    for one in held:
        if one.job.id not in kept:
            one.lost = True
        elif kept[one.job.id]:
            one.cancelled = True
