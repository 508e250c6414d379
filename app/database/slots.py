"""How many requests may use the database at once, and how long the others wait."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import anyio
import anyio.to_thread

from app.database.admission import Gate

CHECK_THREADS = 4
WAITING_MAX = 200

AnswerT = TypeVar("AnswerT")


class DatabaseSlots:
    """As many requests may use the database at once as the pool has connections; the rest wait briefly.

    Taken when a request is known to be valid: one that is not is told so whatever the database does.
    """

    def __init__(self, slots: int, wait_seconds_max: float, *, waiting_max: int = WAITING_MAX) -> None:
        self._database = Gate("database", slots, wait_seconds_max, waiting_max)
        self._checks = Gate("checks", CHECK_THREADS, wait_seconds_max, waiting_max)
        self._check_threads = anyio.CapacityLimiter(CHECK_THREADS)

    async def check(self, act: Callable[[], None]) -> None:
        """Run a check in a thread that no request on the database holds."""
        async with self._checks.hold():
            await anyio.to_thread.run_sync(act, limiter=self._check_threads)

    async def run(self, act: Callable[[], AnswerT]) -> AnswerT:
        """Run something on the database in a thread, within a slot."""
        # The slot is free again before the answer is sent to a slow client.
        async with self.hold():
            return await anyio.to_thread.run_sync(act)

    def hold(self) -> AbstractAsyncContextManager[None]:
        """Hold a slot. Waiting is bounded, or a slow database would pile requests up without end.

        Raises ``OverloadedError`` when the wait would be, or was, too long.
        """
        return self._database.hold()
