"""Work that goes on in a thread of its own until it is told to stop, and tells what ended it before."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod


class Background(ABC):
    """Begins with ``start``. Nothing of it is begun after ``stop``."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def check(self) -> None:
        """Raise what ended it before it was stopped."""
        if self._failure is not None:
            raise self._failure

    def _end(self, seconds_max: float, *, join_seconds_max: float) -> None:
        """Begin nothing new, keep at what was begun for ``seconds_max``, and raise what ended it."""
        self._give_up_at = time.monotonic() + seconds_max
        self._stop.set()
        self._thread.join(join_seconds_max)
        self.check()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  told to whoever asks next
            self._failure = error

    @abstractmethod
    def _work(self) -> None:
        """Work until ``_stop`` is set."""
