"""Counts of what happens in every request, kept until somebody looks.

A counter of the client library finds its labels and checks what it is given each time; a request has several.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from prometheus_client import Histogram

ThingT = TypeVar("ThingT")

_settle_each: Final[list[Callable[[], None]]] = []


class _Counted:
    __slots__ = ("number", "total")

    def __init__(self) -> None:
        self.number = 0
        self.total = 0.0


class Tally(Generic[ThingT]):
    """Counts things of few different kinds.

    Args:
        tell: Takes a thing, how often it was counted, and the sum of what was given with it, to the metrics.

    """

    def __init__(self, tell: Callable[[ThingT, int, float], None]) -> None:
        self._tell = tell
        self._counts: dict[ThingT, _Counted] = {}
        self._lock = threading.Lock()
        _settle_each.append(self.settle)

    def add(self, thing: ThingT, amount: float = 0.0) -> None:
        """Count one."""
        with self._lock:
            counted = self._counts.get(thing)
            if counted is None:
                counted = self._counts[thing] = _Counted()
            counted.number += 1
            counted.total += amount

    def settle(self) -> None:
        """Tell the metrics."""
        fresh: dict[ThingT, _Counted] = {}  # made before: what collects garbage may log, and that counts
        with self._lock:
            counts, self._counts = self._counts, fresh
        for thing, counted in counts.items():
            self._tell(thing, counted.number, counted.total)


class TalliedHistogram(Histogram):
    """A histogram that also takes what was counted elsewhere."""

    def add(self, bucket: int, number: int, total: float) -> None:
        """Add observations to the bucket of that index: of the first bound that they do not pass."""
        self._sum.inc(total)
        self._buckets[bucket].inc(number)


def settle() -> None:
    """Tell all counters: before their values are read."""
    for settle_one in _settle_each:
        settle_one()
