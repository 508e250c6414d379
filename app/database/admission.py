"""Admission: work that would have to wait too long is refused at once instead of piling up."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from app.errors import OverloadedError
from app.telemetry.metrics import runtime

MEMORY_OF_WAIT = 1 / 3
"""For how long places count that became free, as a part of the longest wait. If longer, a database that turns
slow is believed in for too long; if shorter, each pause of a healthy one is taken for its end."""
HOPE = 2.0
"""The highest rate that is believed in, as a multiple of that which serves the longest queue in time."""
_RATE_MIN = 1e-6  # per second: no division by zero after an endless wait


class Gate:
    """A number of places, and a queue before them that is bounded in length and in time.

    A caller is refused at once when, at the rate at which places have become free of late, its turn would
    come after ``wait_seconds_max``. So a slow database gets the work that it can do, a healthy one that is
    merely busy refuses nobody, and few callers wait for an answer that will be 503 anyway.

    The rate is an exponentially weighted count of the places that became free, per second in which there was
    none to be had. How long places are held says less: a pause of the process makes all of them long at
    once, and a long queue multiplies it.
    """

    def __init__(self, pool: str, places: int, wait_seconds_max: float, waiting_max: int) -> None:
        self._places = places
        self._wait_seconds_max = wait_seconds_max
        self._waiting_max = waiting_max
        self._queue: dict[asyncio.Future[bool], None] = {}
        self._in_use = 0
        self._memory_seconds = wait_seconds_max * MEMORY_OF_WAIT
        self._rate_max = HOPE * waiting_max / wait_seconds_max
        self._rate = self._rate_max
        self._rate_at = self._freed_at = time.monotonic()
        self._wait = runtime.SLOT_WAIT.labels(pool)
        self._shed = {reason: runtime.REQUESTS_SHED.labels(pool, reason) for reason in runtime.SHED_REASONS}
        runtime.SLOTS.labels(pool, "total").set(places)
        runtime.SLOTS.labels(pool, "in_use").set_function(lambda: self._in_use)
        runtime.SLOTS.labels(pool, "waiting").set_function(lambda: len(self._queue))

    def hold(self) -> AbstractAsyncContextManager[None]:
        """Hold a place. Raises ``OverloadedError`` at once or after the longest wait."""
        return _Hold(self)

    async def enter(self) -> None:
        """Take a place, which ``leave`` gives back. Raises as ``hold``."""
        if self._in_use >= self._places or self._queue:
            await self._wait_for_turn()
            return
        self._age()
        self._in_use += 1

    def leave(self) -> None:
        """Give a place back: to who has waited longest, if anybody waits."""
        self._age()
        self._rate = min(self._rate + 1 / self._memory_seconds, self._rate_max)
        self._freed_at = self._rate_at
        while self._queue:
            turn = next(iter(self._queue))
            del self._queue[turn]
            if not turn.done():
                turn.set_result(True)
                return
        self._in_use -= 1

    async def _wait_for_turn(self) -> None:
        if len(self._queue) >= self._waiting_max:
            raise self.refusal("queue_full")
        if self.expected_wait_seconds() > self._wait_seconds_max:
            raise self.refusal("queue_slow")
        asked = time.monotonic()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._queue[turn] = None
        timer = loop.call_later(self._wait_seconds_max, _give_up, turn)
        try:
            got_it = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()  # it was handed over in the same moment
            raise
        finally:
            timer.cancel()
            self._queue.pop(turn, None)
        if not got_it:
            raise self.refusal("waited_too_long")
        self._wait.observe(time.monotonic() - asked)

    def expected_wait_seconds(self) -> float:
        """Return when a caller that comes now would get a place, if all goes on as of late."""
        self._age()
        return max((len(self._queue) + 1) / self._rate, self._rate_at - self._freed_at)

    def _age(self) -> None:
        """Let the rate fall for the time in which all places were held, and rise again for any other."""
        now = time.monotonic()
        kept = math.exp((self._rate_at - now) / self._memory_seconds)
        if self._queue or self._in_use >= self._places:
            self._rate = max(self._rate * kept, _RATE_MIN)
        else:
            self._rate = self._rate_max - (self._rate_max - self._rate) * kept
            self._freed_at = now
        self._rate_at = now

    def refusal(self, reason: str) -> OverloadedError:
        """Count a caller that is refused, for one of ``SHED_REASONS``, and return what it is told."""
        self._shed[reason].inc()
        return OverloadedError("overloaded")


class _Hold(AbstractAsyncContextManager[None]):
    """A place while it is held. A class: a generator costs several times as much, for every request."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def __aenter__(self) -> None:
        await self._gate.enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gate.leave()


def _give_up(turn: asyncio.Future[bool]) -> None:
    if not turn.done():
        turn.set_result(False)
