"""What happened, as it happens."""

from __future__ import annotations

from collections.abc import Callable

from chaos.domain.run import Event
from chaos.ports import Clock

EVENTS_MAX = 2000


class Timeline:
    """Collects events and shows each at once."""

    def __init__(self, clock: Clock, show: Callable[[Event], None]) -> None:
        self._clock = clock
        self._show = show
        self._events: list[Event] = []

    def add(self, kind: str, text: str, at_unix: float | None = None) -> None:
        """Record an event, now or at a time that was read elsewhere."""
        event = Event(self._clock.now() if at_unix is None else at_unix, kind, text)
        if len(self._events) < EVENTS_MAX:
            self._events.append(event)
        self._show(event)

    def events(self) -> tuple[Event, ...]:
        """Return the events by time."""
        return tuple(sorted(self._events, key=lambda event: event.at_unix))
