"""How work says that it gets on, and learns that nobody wants it any more."""

from __future__ import annotations

from typing import Final, Protocol


class Progress(Protocol):
    """What watches over a piece of work."""

    def report(self, done: int, total: int | None = None) -> None:
        """Say how much of the work is done. Cheap: most calls only remember it."""

    def check(self) -> None:
        """Raise ``FencedError`` when the work is in vain: the lease is lost, or the job was cancelled."""


class _Unwatched:
    def report(self, done: int, total: int | None = None) -> None:
        pass

    def check(self) -> None:
        pass


UNWATCHED: Final[Progress] = _Unwatched()
"""Nobody does: the work goes on to its end."""
