"""Wake-ups through Redis: "there is work". They carry no job and may be lost: workers poll as well."""

from __future__ import annotations

import threading
import time

import redis

from app.redis_client import record_redis_error, redis_client
from app.settings import Settings

LIST = "dcs:wakeup"
LIST_LENGTH_MAX = 100
AT_ONCE_MAX = 20
"""Wake-ups for what was announced together: more jobs than that keep the woken workers busy anyway."""
HOLD_OFF_SECONDS = 1.0
OWN_SECONDS_MAX = 60
"""How long a worker's wake-up for itself is kept."""
SPACING_SECONDS = 0.005
"""Between two calls: under load one says it for many, and Redis costs a request next to nothing."""
WAIT_SECONDS_MAX = 1.0
CLOSE_SECONDS_MAX = 0.5


def own_list(instance: str) -> str:
    """Return where one process wakes itself up."""
    return f"{LIST}:{instance}"


class Announcer:
    """Says that there is work, from a thread of its own: whoever announces never waits for Redis.

    What is announced while one call is under way, or shortly after, goes out with the next. After a failure
    it is silent for a second.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis = redis_client(settings)
        self._own = own_list(settings.instance)
        self._changed = threading.Condition()
        self._due = 0
        self._own_due = False
        self._closed = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def announce(self, jobs: int = 1) -> None:
        """Wake a worker for each job, if Redis is there."""
        with self._changed:
            first = not self._due
            self._due = min(self._due + jobs, AT_ONCE_MAX)
            self._begin(notify=first)

    def announce_here(self) -> None:
        """Wake this process: it can take what it left to others, or to nobody, a moment ago."""
        with self._changed:
            first = not self._own_due
            self._own_due = True
            self._begin(notify=first)

    def _begin(self, *, notify: bool) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
            self._thread.start()
        if notify:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due and not self._own_due and not self._closed:
                    self._changed.wait()
                due, self._due = self._due, 0
                own, self._own_due = self._own_due, False
                if not due and not own:
                    return
            pushed = (not due or self._push(due)) and (not own or self._push_own())
            self._ended.wait(SPACING_SECONDS if pushed else HOLD_OFF_SECONDS)

    def _push(self, count: int) -> bool:
        try:
            if self._redis.lpush(LIST, *["1"] * count) > LIST_LENGTH_MAX:
                self._redis.ltrim(LIST, 0, LIST_LENGTH_MAX - 1)
        except redis.RedisError as exc:
            record_redis_error(exc)
            return False
        return True

    def _push_own(self) -> bool:
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.lpush(self._own, "1")
                pipeline.ltrim(self._own, 0, 0)
                pipeline.expire(self._own, OWN_SECONDS_MAX)
                pipeline.execute()
        except redis.RedisError as exc:
            record_redis_error(exc)
            return False
        return True

    def close(self) -> None:
        """Say what is still to be said, and close the connections."""
        with self._changed:
            self._closed = True
            self._ended.set()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_SECONDS_MAX)
        self._redis.close()


class Listener:
    """Waits for work. No single wait is long, so that a process that stops need not wait for it."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._poll_seconds = settings.poll_interval_seconds
        self._lists = [LIST, own_list(settings.instance)]
        self._redis = redis_client(settings, blocking_seconds=WAIT_SECONDS_MAX)
        self._stopping = stopping
        self._not_before = 0.0

    def wait(self) -> None:
        """Return when there may be work: on a wake-up, or after the poll interval."""
        until = time.monotonic() + self._poll_seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.is_set():
            # Without Redis the database is polled; Redis itself is asked less often.
            if time.monotonic() < self._not_before:
                self._stopping.wait(left)
                return
            try:
                if self._redis.blpop(self._lists, timeout=min(left, WAIT_SECONDS_MAX)) is not None:
                    return
            except redis.RedisError as exc:
                record_redis_error(exc)
                self._not_before = time.monotonic() + HOLD_OFF_SECONDS

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()
