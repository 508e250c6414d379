"""Leaves an upstream alone while it fails: a circuit breaker."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable


class BreakerState(enum.IntEnum):
    """As exposed by ``dcs_moderation_breaker_state``."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class BreakerOpenError(Exception):
    """The call was not made. It may be in ``retry_after_seconds``."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"not called: it failed too often; next try in {retry_after_seconds:.1f} s")
        self.retry_after_seconds = retry_after_seconds


class Breaker:
    """Opens after failures in a row; then one call at a time probes whether it works again. Thread-safe."""

    def __init__(
        self,
        *,
        failures_max: int,
        open_seconds: float,
        changed: Callable[[BreakerState], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures_max = failures_max
        self._open_seconds = open_seconds
        self._changed = changed
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_again_at: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """Where it is now."""
        if self._closed_again_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probing else BreakerState.OPEN

    def enter(self) -> None:
        """Ask before a call. Whoever gets through must say how it ended. Raises ``BreakerOpenError``."""
        with self._lock:
            if self._closed_again_at is None:
                return
            left = self._closed_again_at - self._clock()
            if self._probing or left > 0:
                raise BreakerOpenError(max(left, self._open_seconds if self._probing else 0.0))
            self._probing = True
            self._changed(self.state)

    def succeeded(self) -> None:
        """Say that the upstream answered."""
        with self._lock:
            self._failures = 0
            self._probing = False
            self._closed_again_at = None
            self._changed(self.state)

    def failed(self) -> None:
        """Say that it did not."""
        with self._lock:
            self._failures += 1
            if self._probing or self._failures >= self._failures_max:
                self._open(self._open_seconds)

    def pause(self, seconds: float) -> None:
        """Call nothing for a while: the upstream asked for that."""
        with self._lock:
            self._open(seconds)

    def _open(self, seconds: float) -> None:
        self._probing = False
        self._closed_again_at = max(self._clock() + seconds, self._closed_again_at or 0.0)
        self._changed(self.state)
