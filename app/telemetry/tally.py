"""Counts of what happens in every request, kept by the event loop until somebody looks.

A counter of the client library takes a lock and checks what it is given each time; a request has several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

ThingT = TypeVar("ThingT")

_settle_each: Final[list[Callable[[], None]]] = []


class Tally(Generic[ThingT]):
    """Counts things of few different kinds, without a lock: it is of one thread.

    Args:
        tell: Takes a thing, and how many of it there were, to the counters.

    """

    def __init__(self, tell: Callable[[ThingT, int], None]) -> None:
        self._tell = tell
        self._counts: dict[ThingT, int] = defaultdict(int)
        _settle_each.append(self.settle)

    def add(self, thing: ThingT) -> None:
        """Count one."""
        self._counts[thing] += 1

    def settle(self) -> None:
        """Tell the counters."""
        counts, self._counts = self._counts, defaultdict(int)
        for thing, number in counts.items():
            self._tell(thing, number)


def settle() -> None:
    """Tell all counters: before their values are read."""
    for settle_one in _settle_each:
        settle_one()
