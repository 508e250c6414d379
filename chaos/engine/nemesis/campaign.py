"""The lanes of a nemesis side by side, until the seed's cells are hit and there are jobs enough."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from chaos.engine.nemesis.schedule import Lane, Step
from chaos.errors import LabError

ATTEMPTS_MAX = 3
LANE_END_SECONDS_MAX = 90.0
WATCH_SECONDS = 0.5
PROGRESS_SECONDS = 10.0


class Injector(Protocol):
    """Whatever carries out a step; see ``acts.Nemesis``."""

    def inject(self, step: Step) -> None:
        """Do it all, or raise ``LabError``."""


@dataclass(frozen=True)
class Injection:
    """One step as it went. ``why`` is empty if the fault was proven live."""

    cell: str
    required: bool
    stream: str
    began_unix: float
    seconds: float
    why: str = ""


@dataclass
class Log:
    """What the lanes did. Appended by several threads."""

    injections: list[Injection] = field(default_factory=list)
    failure: BaseException | None = None

    def proven(self) -> set[str]:
        """Return the cells that were hit."""
        return {injection.cell for injection in self.injections if not injection.why}


class Targets:
    """Lets one injection at a time touch a target. Taken in one order, so that nobody waits in a circle."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._making = threading.Lock()

    @contextmanager
    def taken(self, names: frozenset[str]) -> Iterator[None]:
        """Hold all of them."""
        with contextlib.ExitStack() as stack:
            for name in sorted(names):
                with self._making:
                    lock = self._locks[name]
                stack.enter_context(lock)
            yield


class Campaign:
    """Runs lanes in threads and says when it is enough."""

    def __init__(self, injector: Injector, lanes: Sequence[Lane], stopping: threading.Event) -> None:
        self.log = Log()
        self._injector = injector
        self._lanes = lanes
        self._stopping = stopping
        self._targets = Targets()
        self._current: set[str] = set()
        self._left = {lane.name: len(lane.required) for lane in lanes}
        self._threads = [
            threading.Thread(target=self._run_lane, args=(lane,), name=f"nemesis-{lane.name}", daemon=True)
            for lane in lanes
        ]

    @property
    def owed(self) -> int:
        """How many required injections are still to come."""
        return sum(self._left.values())

    def run(
        self, *, seconds_min: float, seconds_max: float, enough: Callable[[], bool], watch: Callable[[], None]
    ) -> None:
        """Inject until everything owed is done, ``enough`` is true and ``seconds_min`` are over.

        ``watch`` is called all the time; what it raises ends the campaign. So does ``seconds_max``.
        """
        began = time.monotonic()
        for thread in self._threads:
            thread.start()
        try:
            while (elapsed := time.monotonic() - began) < seconds_max:
                watch()
                if self.log.failure is not None:
                    raise self.log.failure
                if elapsed >= seconds_min and not self.owed and enough():
                    return
                time.sleep(WATCH_SECONDS)
        finally:
            self.stop()

    def current(self) -> list[str]:
        """Return what is being injected now."""
        return sorted(self._current)

    def unended(self) -> list[str]:
        """Return the lanes that did not end when they were told to."""
        return [f"lane {thread.name} did not end" for thread in self._threads if thread.is_alive()]

    def stop(self) -> None:
        """Begin nothing more and wait until every injection has been healed."""
        self._stopping.set()
        deadline = time.monotonic() + LANE_END_SECONDS_MAX
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _run_lane(self, lane: Lane) -> None:
        try:
            for step in lane.required:
                self._owed_step(step)
                self._left[lane.name] -= 1
                if self._stopping.wait(step.gap_seconds):
                    return
            for step in lane.more:
                self._try(step)
                if self._stopping.wait(step.gap_seconds):
                    return
        except BaseException as error:  # noqa: BLE001  told to whoever watches
            self.log.failure = error

    def _owed_step(self, step: Step) -> None:
        for _ in range(ATTEMPTS_MAX):
            if self._stopping.is_set() or self._try(step):
                return

    def _try(self, step: Step) -> bool:
        with self._targets.taken(step.uses):
            if self._stopping.is_set():
                return False
            began, clock = time.time(), time.monotonic()
            why = ""
            self._current.add(step.cell.name)
            try:
                self._injector.inject(step)
            except LabError as error:
                why = str(error)
            finally:
                self._current.discard(step.cell.name)
            self.log.injections.append(
                Injection(step.cell.name, step.required, step.stream, began, time.monotonic() - clock, why)
            )
        return not why
