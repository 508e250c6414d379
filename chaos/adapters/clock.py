"""Time as the machine tells it."""

from __future__ import annotations

import time


class SystemClock:
    """The wall clock: arrival times, Prometheus and Loki all speak unix time."""

    def now(self) -> float:
        """Return unix seconds."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
