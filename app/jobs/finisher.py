"""Ends many successful jobs in one statement, each behind its own fence."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from sqlalchemy import exc

from app.database.engine import Database
from app.errors import DatabaseUnavailableError
from app.jobs import outcomes
from app.jobs.handlers import StoreRecords
from app.jobs.leases import Held, Leases
from app.jobs.repository import JobRepository, Succeeded

GROUP_JOBS_MAX = 64
GROUP_BYTES_MAX = 1024**2
BODY_BYTES_MAX = 64 * 1024
"""Of one job's records. What is larger is written by its own thread, and keeps no other job waiting."""
QUEUE_JOBS_MAX = 128
RETRY_SECONDS = 1.0


@dataclass(eq=False)
class Done:
    """A job whose records are to be stored."""

    held: Held
    effect: StoreRecords
    started: float
    unsure: bool = False
    """A statement that may have ended it was not answered."""
    context: Context = field(default_factory=copy_context)
    """Of its thread: what is logged of the job names it, and its trace."""


class Finisher:
    """A thread's work. What cannot be ended with others is ended by ``alone``, which never raises."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        stopping: threading.Event,
        alone: Callable[[Done], None],
    ) -> None:
        self._database = database
        self._leases = leases
        self._stopping = stopping
        self._alone = alone
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._queue: deque[Done] = deque()
        self._closed = False

    def add(self, done: Done) -> None:
        """Hand a job over. Waits while too many are waiting, as long as the job's lease lives."""
        with self._lock:
            while len(self._queue) >= QUEUE_JOBS_MAX and time.monotonic() < done.held.expires_at:
                self._emptied.wait(RETRY_SECONDS)
            self._queue.append(done)
            self._filled.notify()

    def close(self) -> None:
        """Let ``run`` return when it has ended what it was given."""
        with self._lock:
            self._closed = True
            self._filled.notify()

    def run(self) -> None:
        """End jobs until closed."""
        while group := self._next_group():
            self._end(group)
            self._leases.drop([one.held for one in group])

    def _next_group(self) -> list[Done]:
        with self._lock:
            while not self._queue and not self._closed:
                self._filled.wait()
            group: list[Done] = []
            room = GROUP_BYTES_MAX
            while self._queue and len(group) < GROUP_JOBS_MAX and room > 0:
                group.append(self._queue.popleft())
                room -= len(group[-1].effect.collected.body)
            self._emptied.notify_all()
            return group

    def _end(self, group: Sequence[Done]) -> None:
        # The work is done: while its lease lives it is worth waiting for the database to come back.
        while group:
            try:
                with self._database.statement() as connection:
                    ended = JobRepository(connection).succeed_many(
                        [Succeeded(one.held.job, one.effect.collected) for one in group]
                    )
            except DatabaseUnavailableError as cause:
                for one in group:
                    one.unsure = one.unsure or cause.outcome_unknown
                give_up = self._stopping.wait(RETRY_SECONDS)
                group = self._still_wanted(group, cause.reason, give_up=give_up)
            except exc.DBAPIError:
                # One of them cannot be stored, and has taken the others with it.
                self._each_alone(group)
                return
            else:
                for one in group:
                    if one.held.job.id in ended:
                        one.context.run(outcomes.succeeded, one.held, one.effect.record_count, one.started)
                self._each_alone([one for one in group if one.held.job.id not in ended])
                return

    def _each_alone(self, group: Sequence[Done]) -> None:
        for one in group:
            one.context.run(self._alone, one)

    @staticmethod
    def _still_wanted(group: Sequence[Done], reason: str, *, give_up: bool) -> list[Done]:
        wanted: list[Done] = []
        for one in group:
            if give_up or time.monotonic() + RETRY_SECONDS >= one.held.expires_at:
                one.context.run(outcomes.abandoned, reason)
            elif one.held.lost and not one.unsure:
                one.context.run(outcomes.fenced, one.held)
            else:
                wanted.append(one)
        return wanted
