"""What runs a job of one kind: the port between the queue and the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sqlalchemy import Connection

from app.jobs.repository import ClaimedJob, JobRepository
from app.progress import Progress
from app.sources import Encoded


class JobError(Exception):
    """The attempt failed. ``retryable``: trying again may help, after ``retry_after_seconds`` if known.

    ``attempted`` is False when nothing was tried, as behind an open circuit breaker: it counts as no attempt.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retryable: bool,
        retry_after_seconds: float | None = None,
        attempted: bool = True,
    ) -> None:
        super().__init__(message)
        self.attempted = attempted
        self.reason = reason
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class Attempt:
    """One run of one job."""

    job: ClaimedJob
    progress: Progress


class Effect(Protocol):
    """What an attempt leaves behind, written in the transaction that finishes the job."""

    @property
    def record_count(self) -> int | None:
        """How many records the job will have, or None if only writing them tells.

        With None the fence is checked after writing: it locks the job's row, and what takes long must not
        keep the heartbeats of the whole worker waiting for that lock.
        """

    def apply(self, connection: Connection, job: ClaimedJob) -> int:
        """Write it. Return how many records the job has now. ``JobError`` undoes it, and ends the attempt."""


@runtime_checkable
class Told(Protocol):
    """An effect that wants to know when it has taken place: what it counts must not count twice."""

    def committed(self) -> None:
        """Take note. Called once, after the commit."""


@dataclass(frozen=True)
class StoreRecords:
    """The records of a collection."""

    collected: Encoded

    @property
    def record_count(self) -> int:
        """How many there are."""
        return self.collected.count

    def apply(self, connection: Connection, job: ClaimedJob) -> int:
        """Write them."""
        JobRepository(connection).store(job, self.collected)
        return self.collected.count


class Handler(Protocol):
    """Runs the jobs of one kind."""

    @property
    def concurrency_max(self) -> int | None:
        """How many a worker process may run at once (bulkhead); None: as many as it has threads."""

    def run(self, attempt: Attempt) -> Effect:
        """Do the work; no transaction is open while it lasts. Raises ``JobError``."""
