"""The circuit breakers of one process's upstreams."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from app.net.breaker import Breaker, BreakerState
from app.telemetry.metrics import sources as metrics

BREAKERS_MAX = 100


class Breakers:
    """One per upstream. The longest unused is forgotten when there are too many."""

    def __init__(self, make: Callable[[Callable[[BreakerState], None]], Breaker] | None = None) -> None:
        self._make = make or (lambda on_change: Breaker(on_change=on_change))
        self._lock = threading.Lock()
        self._breakers: OrderedDict[str, Breaker] = OrderedDict()

    def of(self, upstream: str) -> Breaker:
        """Return the breaker of an upstream."""
        with self._lock:
            breaker = self._breakers.get(upstream)
            if breaker is None:
                gauge = metrics.BREAKER_STATE.labels(upstream)
                breaker = self._breakers[upstream] = self._make(lambda state: gauge.set(state.value))
            self._breakers.move_to_end(upstream)
            if len(self._breakers) > BREAKERS_MAX:
                oldest, _ = self._breakers.popitem(last=False)
                metrics.BREAKER_STATE.remove(oldest)
            return breaker
