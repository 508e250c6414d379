"""A circuit breaker: stops asking what does not answer, and finds out whether it does again."""

from __future__ import annotations

import enum
import random
import threading
import time
from collections.abc import Callable

FAILURES_MAX = 5
OPEN_SECONDS = 5.0
OPEN_SECONDS_MAX = 30.0


class BreakerState(enum.IntEnum):
    """States, as in the values of metrics."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class BreakerOpenError(Exception):
    """The other side failed too often a moment ago; ask again after ``retry_after_seconds``."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"failed too often; the next try is in {retry_after_seconds:.1f} s")
        self.retry_after_seconds = retry_after_seconds


class Breaker:
    """Opens after so many failures in a row. When its time is over one caller tries for all.

    Each failed try doubles the time, up to a maximum. ``on_change`` is called with every new state.
    """

    def __init__(
        self,
        *,
        failures_max: int = FAILURES_MAX,
        open_seconds: float = OPEN_SECONDS,
        open_seconds_max: float = OPEN_SECONDS_MAX,
        on_change: Callable[[BreakerState], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures_max = failures_max
        self._open_seconds = open_seconds
        self._open_seconds_max = open_seconds_max
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._next_open_seconds = open_seconds
        self._due = 0.0
        """When the next try may be made: of an open breaker, and of one whose try has not ended."""
        on_change(self._state)

    @property
    def state(self) -> BreakerState:
        """What it is now."""
        return self._state

    def admit(self) -> None:
        """Let a call through, which then ends in ``succeeded`` or ``failed``. Raises ``BreakerOpenError``."""
        with self._lock:
            if self._state is BreakerState.CLOSED:
                return
            left_seconds = self._due - self._clock()
            if left_seconds > 0:
                # Those who come back then should not all come in the same instant.
                raise BreakerOpenError(left_seconds * (1 + random.random() / 4))  # noqa: S311  not a secret
            # A try that never ends must not keep the others out for ever.
            self._due = self._clock() + self._next_open_seconds
            self._change(BreakerState.HALF_OPEN)

    def succeeded(self) -> None:
        """Say that the other side answered, whatever it answered."""
        with self._lock:
            self._failures = 0
            self._next_open_seconds = self._open_seconds
            self._change(BreakerState.CLOSED)

    def failed(self) -> None:
        """Say that it did not."""
        with self._lock:
            self._failures += 1
            if self._state is BreakerState.HALF_OPEN:
                self._next_open_seconds = min(self._open_seconds_max, self._next_open_seconds * 2)
            elif self._state is BreakerState.OPEN or self._failures < self._failures_max:
                return
            self._due = self._clock() + self._next_open_seconds
            self._change(BreakerState.OPEN)

    def pause(self, seconds: float) -> None:
        """Admit nobody for a while: the other side asked for that. Then one caller tries for all."""
        with self._lock:
            self._due = max(self._due, self._clock() + seconds)
            self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        if state is not self._state:
            self._state = state
            self._on_change(state)
