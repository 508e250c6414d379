"""The process that heals when a run dies: it waits for the run's word, its end, or the deadline.

The run writes lines into a pipe: ``beat``, ``held UNIX`` (go on without me until then) and
``dismissed`` (nothing is left to heal). The end of the pipe without one of the last two means that
the run was killed.
"""

from __future__ import annotations

import enum
import os
import select
from collections.abc import Callable
from dataclasses import dataclass

from chaos.ports import Clock

LINE_BYTES_MAX = 4096


class Outcome(enum.StrEnum):
    """Why the guardian stopped waiting."""

    DISMISSED = "dismissed"
    RUN_DIED = "the run died"
    DEADLINE = "the deadline passed"
    HOLD_ENDED = "the hold ended"
    ASKED = "asked to heal"


@dataclass
class Watch:
    """Waits on the pipe. ``asked`` is polled: a signal handler sets what it reads."""

    fd: int
    deadline_unix: float
    clock: Clock
    asked: Callable[[], bool]
    poll_seconds: float = 0.1
    held: bool = False
    _pending: bytes = b""

    def wait(self) -> Outcome:
        """Return why waiting ended. Never later than the deadline in force."""
        while True:
            if self.asked():
                return Outcome.ASKED
            if self.clock.now() > self.deadline_unix:
                return Outcome.HOLD_ENDED if self.held else Outcome.DEADLINE
            if self.fd < 0:
                self.clock.sleep(self.poll_seconds)
            elif (outcome := self._read()) is not None:
                return outcome

    def _read(self) -> Outcome | None:
        readable, _, _ = select.select([self.fd], [], [], self.poll_seconds)
        if not readable:
            return None
        chunk = os.read(self.fd, LINE_BYTES_MAX)
        if not chunk:
            os.close(self.fd)
            self.fd = -1
            return None if self.held else Outcome.RUN_DIED
        *lines, self._pending = (self._pending + chunk)[-LINE_BYTES_MAX:].split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            if word == "dismissed":
                return Outcome.DISMISSED
            if word == "held":
                self.held, self.deadline_unix = True, float(rest)
        return None
