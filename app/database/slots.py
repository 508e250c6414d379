"""How many requests may use the database at once, and how long the others wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.to_thread

from app.errors import DatabaseUnavailableError

CHECK_THREADS = 4

AnswerT = TypeVar("AnswerT")


class DatabaseSlots:
    """As many requests may use the database at once as the pool has connections; the rest wait briefly.

    Taken when a request is known to be valid: one that is not is told so whatever the database does.
    """

    def __init__(self, slots: int, wait_seconds_max: float) -> None:
        self._limiter = anyio.CapacityLimiter(slots)
        self._checks = anyio.CapacityLimiter(CHECK_THREADS)
        self._wait_seconds_max = wait_seconds_max

    async def check(self, act: Callable[[], None]) -> None:
        """Run a check in a thread that no request on the database holds."""
        await anyio.to_thread.run_sync(act, limiter=self._checks)

    async def run(self, act: Callable[[], AnswerT]) -> AnswerT:
        """Run something on the database in a thread, within a slot."""
        # The slot is free again before the answer is sent to a slow client.
        async with self.hold():
            return await anyio.to_thread.run_sync(act)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold a slot. Waiting is bounded, or a slow database would pile requests up without end."""
        holder = object()
        with anyio.move_on_after(self._wait_seconds_max) as waiting:
            await self._limiter.acquire_on_behalf_of(holder)
        if waiting.cancelled_caught:
            raise DatabaseUnavailableError("overloaded")
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(holder)
