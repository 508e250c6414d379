"""A limit on how often something may be said."""

from __future__ import annotations

import threading
import time


class RateLimiter:
    """Allow ``per_second`` events a second and count those held back since the last allowed one."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._lock = threading.Lock()
        self._window = 0
        self._used = 0
        self._suppressed = 0

    def allow(self) -> int | None:
        """Return how many events were suppressed before this one, or None if this one is, too."""
        with self._lock:
            window = int(time.monotonic())
            if window != self._window:
                self._window, self._used = window, 0
            if self._used >= self._per_second:
                self._suppressed += 1
                return None
            self._used += 1
            suppressed, self._suppressed = self._suppressed, 0
            return suppressed
