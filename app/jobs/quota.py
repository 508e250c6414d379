"""How many jobs a client may have waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.jobs.errors import QueueFullError

COUNTED_SECONDS_MAX = 1.0
NEAR = 0.9
CLIENTS_KEPT_MAX = 1000


@dataclass
class _Known:
    counted_at: float
    queued: int
    granted: int
    """Jobs let in ever; what it rose by tells what is missing in a count."""


class QueueQuota:
    """Refuses what is beyond ``queued_max`` jobs of one client.

    Counting a long queue costs more than storing a job. So a count serves for a second, and what this
    process accepts meanwhile is added; only near the limit is each submission preceded by a count. Several
    processes together may exceed the limit by what they accept within that second, and each by what it was
    storing when a count began.
    """

    def __init__(self, queued_max: int) -> None:
        self._queued_max = queued_max
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def admit(self, client_id: str, count: Callable[[], int]) -> None:
        """Let one more job in. Raises ``QueueFullError``."""
        if self._reserve(client_id):
            return
        before = self._granted(client_id)
        if self._learn(client_id, count(), 1, before) == 0:
            raise QueueFullError

    def room(
        self, wanted: Mapping[str, int], count: Callable[[Sequence[str]], Mapping[str, int]]
    ) -> dict[str, int]:
        """Let in up to as many more jobs as wanted, by client. Return how many; all are counted at once."""
        unknown = [client_id for client_id, number in wanted.items() if not self._reserve(client_id, number)]
        before = {one: self._granted(one) for one in unknown}
        queued = count(unknown) if unknown else {}
        learnt = {one: self._learn(one, queued.get(one, 0), wanted[one], before[one]) for one in unknown}
        return {**wanted, **learnt}

    def _granted(self, client_id: str) -> int:
        with self._lock:
            known = self._known.get(client_id)
            return known.granted if known is not None else 0

    def _learn(self, client_id: str, queued: int, wanted: int, before: int) -> int:
        with self._lock:
            if len(self._known) >= CLIENTS_KEPT_MAX:
                self._known.clear()
            known = self._known.get(client_id)
            granted = known.granted if known is not None else before
            queued += max(0, granted - before)  # what others were granted while this one counted
            admitted = max(0, min(wanted, self._queued_max - queued))
            self._known[client_id] = _Known(time.monotonic(), queued + admitted, granted + admitted)
        return admitted

    def _reserve(self, client_id: str, number: int = 1) -> bool:
        with self._lock:
            known = self._known.get(client_id)
            fresh = known is not None and time.monotonic() - known.counted_at < COUNTED_SECONDS_MAX
            if known is None or not fresh or known.queued + number > NEAR * self._queued_max:
                return False
            known.queued += number
            known.granted += number
            return True
