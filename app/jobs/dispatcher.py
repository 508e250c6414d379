"""Claims jobs for all threads of a worker: many at a time while the queue is deep and the jobs are short."""

from __future__ import annotations

import threading
import time
from collections import deque

from app.database.engine import DATABASE_ERRORS
from app.jobs.leases import Held, Leases
from app.jobs.wakeups import Listener
from app.telemetry.metrics.jobs import WORKER_JOBS_STORED

STORE_AHEAD_SECONDS = 0.1
"""As many jobs are held in store as the threads finish in this time, going by how long jobs took of late."""
STORED_SECONDS_MAX = 2.0
"""What has not been started by then is given back: another worker may have a thread free."""
CONTENDED_SECONDS = 0.01
LOOK_SECONDS = 0.5
NEWEST_WEIGHT = 0.1


class Dispatcher:
    """Hands claimed jobs to threads, which wait for them in ``take``.

    A job that waits in store is lost to others, so there is a store only while claims come back full.
    """

    def __init__(
        self,
        leases: Leases,
        listener: Listener,
        stopping: threading.Event,
        *,
        threads: int,
        store_max: int,
        poll_interval_seconds: float,
    ) -> None:
        self._leases = leases
        self._listener = listener
        self._stopping = stopping
        self._threads = threads
        self._store_max = store_max
        self._poll_interval_seconds = poll_interval_seconds
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._wanted = threading.Condition(lock)
        self._store: deque[Held] = deque()
        self._idle = 0
        self._deep = False
        self._closed = False
        self._job_seconds = STORE_AHEAD_SECONDS * threads * 2  # unknown: nothing is held in store

    def take(self) -> Held | None:
        """Return a job to run, or None when this worker is to claim nothing more."""
        with self._filled:
            self._idle += 1
            if self._lacking() > 0:
                self._wanted.notify()
            while not self._store and not self._closed:
                self._filled.wait()
            self._idle -= 1
            held = self._store.popleft() if self._store else None
            WORKER_JOBS_STORED.set(len(self._store))
            return held

    def ran(self, seconds: float) -> None:
        """Tell how long a job took."""
        self._job_seconds += NEWEST_WEIGHT * (seconds - self._job_seconds)

    def _ahead(self) -> int:
        if not self._deep:
            return 0
        return min(self._store_max, int(self._threads * STORE_AHEAD_SECONDS / max(self._job_seconds, 1e-6)))

    def _lacking(self) -> int:
        """Return how many to claim now: for idle threads, and for the store when it is half empty."""
        missing = self._idle + self._ahead() - len(self._store)
        urgent = self._idle > len(self._store)
        return max(0, missing) if urgent or missing > self._ahead() // 2 else 0

    def run(self) -> None:
        """Claim until stopped."""
        while not self._stopping.is_set():
            self._give_back_stale()
            self._leases.give_back_unheard()
            with self._wanted:
                if self._lacking() <= 0:
                    self._wanted.wait(LOOK_SECONDS)
                limit, idle = self._lacking(), max(0, self._idle - len(self._store))
            if limit > 0:
                self._claim(limit, idle)
        self._listener.close()

    def _claim(self, limit: int, idle: int) -> None:
        try:
            taken, contended = self._leases.claim(limit=limit, idle=idle)
        except DATABASE_ERRORS:
            self._stopping.wait(self._poll_interval_seconds)
            return
        self._deep = len(taken) == limit
        if taken:
            self._put(taken)
        elif contended:
            self._stopping.wait(CONTENDED_SECONDS)
        elif idle:
            self._listener.wait()

    def _put(self, taken: list[Held]) -> None:
        # What must not wait goes first, to the threads it was claimed for.
        at_once = [held for held in taken if held.job.delicate]
        with self._filled:
            if not self._closed:
                self._store.extend(held for held in taken if not held.job.delicate)
                self._store.extendleft(at_once)
                self._filled.notify(len(taken))
                return
        self._leases.release(taken)

    def _give_back_stale(self) -> None:
        latest = time.monotonic() - STORED_SECONDS_MAX
        with self._filled:
            stale = [held for held in self._store if held.claimed_at < latest]
            for held in stale:
                self._store.remove(held)
        if stale:
            self._deep = False
            self._leases.release(stale)

    def close(self) -> None:
        """Give back what no thread has begun, and let the threads end."""
        with self._filled:
            unstarted = list(self._store)
            self._store.clear()
            self._closed = True
            self._filled.notify_all()
        self._leases.release(unstarted)
