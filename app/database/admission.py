"""Admission: work that would have to wait too long is refused at once instead of piling up."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from app.errors import OverloadedError
from app.telemetry.metrics import runtime

HOLD_WEIGHT = 0.2
"""Of the newest in the moving average of how long a place is held: about the last 10 count."""


class Gate:
    """A number of places, and a queue before them that is bounded in length and in time.

    A caller is refused at once when, at the speed at which places have become free of late, its turn would
    come after ``wait_seconds_max``. So a slow database gets the work that it can do, a healthy one that is
    merely busy refuses nobody, and no caller waits for an answer that will be 503 anyway.
    """

    def __init__(self, pool: str, places: int, wait_seconds_max: float, waiting_max: int) -> None:
        self._places = places
        self._wait_seconds_max = wait_seconds_max
        self._waiting_max = waiting_max
        self._limiter = anyio.CapacityLimiter(places)
        self._waiting = 0
        self._in_use = 0
        self._begun_sum = 0.0
        self._hold_seconds = 0.0
        self._wait = runtime.SLOT_WAIT.labels(pool)
        self._shed = {reason: runtime.REQUESTS_SHED.labels(pool, reason) for reason in runtime.SHED_REASONS}
        runtime.SLOTS.labels(pool, "total").set(places)
        runtime.SLOTS.labels(pool, "in_use").set_function(lambda: self._in_use)
        runtime.SLOTS.labels(pool, "waiting").set_function(lambda: self._waiting)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold a place. Raises ``OverloadedError`` at once or after the longest wait."""
        holder = object()
        try:
            self._limiter.acquire_on_behalf_of_nowait(holder)
        except anyio.WouldBlock:
            await self._queue(holder)
        begun = time.monotonic()
        self._in_use += 1
        self._begun_sum += begun
        try:
            yield
        finally:
            self._in_use -= 1
            self._begun_sum = self._begun_sum - begun if self._in_use else 0.0
            self._hold_seconds += HOLD_WEIGHT * (time.monotonic() - begun - self._hold_seconds)
            self._limiter.release_on_behalf_of(holder)

    async def _queue(self, holder: object) -> None:
        if self._waiting >= self._waiting_max:
            raise self._refusal("queue_full")
        if self.expected_wait_seconds() > self._wait_seconds_max:
            raise self._refusal("queue_slow")
        asked = time.monotonic()
        self._waiting += 1
        try:
            with anyio.move_on_after(self._wait_seconds_max) as waiting:
                await self._limiter.acquire_on_behalf_of(holder)
        finally:
            self._waiting -= 1
        if waiting.cancelled_caught:
            raise self._refusal("waited_too_long")
        self._wait.observe(time.monotonic() - asked)

    def expected_wait_seconds(self) -> float:
        """Return when a caller that comes now would get a place, if all goes on as of late."""
        # Places that are still held say how bad it is before any of them is free again. On average they
        # are half-way.
        ages_mean = time.monotonic() - self._begun_sum / self._in_use if self._in_use else 0.0
        return max(self._hold_seconds, 2 * ages_mean) * (self._waiting + 1) / self._places

    def _refusal(self, reason: str) -> OverloadedError:
        self._shed[reason].inc()
        return OverloadedError("overloaded")
