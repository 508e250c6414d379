"""Wake-ups through Redis: "there is work". They carry no job and may be lost: workers poll as well."""

from __future__ import annotations

import threading
import time

import redis

from app.redis_client import record_redis_error, redis_client
from app.settings import Settings

LIST = "dcs:wakeup"
LIST_LENGTH_MAX = 100
HOLD_OFF_SECONDS = 1.0


class Announcer:
    """Says that there is work. After a failure it is silent for a second: requests must not wait."""

    def __init__(self, settings: Settings) -> None:
        self._redis = redis_client(settings)
        self._not_before = 0.0

    def announce(self) -> None:
        """Wake one worker, if Redis is there."""
        if time.monotonic() < self._not_before:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.lpush(LIST, "1")
                pipe.ltrim(LIST, 0, LIST_LENGTH_MAX - 1)
                pipe.execute()
        except redis.RedisError as exc:
            self._not_before = time.monotonic() + HOLD_OFF_SECONDS
            record_redis_error(exc)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


class Listener:
    """Waits for work. One per thread."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._poll_seconds = settings.poll_interval_seconds
        self._redis = redis_client(settings, blocking_seconds=self._poll_seconds)
        self._stopping = stopping
        self._not_before = 0.0

    def wait(self) -> None:
        """Return when there may be work: on a wake-up, or after the poll interval."""
        if time.monotonic() < self._not_before:
            self._stopping.wait(self._poll_seconds)
            return
        try:
            self._redis.blpop([LIST], timeout=self._poll_seconds)
        except redis.RedisError as exc:
            record_redis_error(exc)
            # Without Redis the database is polled; Redis itself is asked less often.
            self._not_before = time.monotonic() + HOLD_OFF_SECONDS
            self._stopping.wait(self._poll_seconds)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()
