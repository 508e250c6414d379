"""One injection: intent, act, proof, hold, heal, and the proof that it is over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.domain.journal import Phase, ProcessRef
from chaos.domain.waiting import POLL_SECONDS
from chaos.engine.nemesis.ports import MarkedCache, Misbehaving, Paths, Processes
from chaos.engine.nemesis.proofs import MISHAP_PROOFS, PROOFS
from chaos.engine.nemesis.schedule import Step
from chaos.engine.nemesis.table import (
    DOWN,
    EVENT_MISHAPS,
    FLUSH,
    KILL,
    MISHAPS,
    PAUSE,
    ROLLING_RESTART,
    SERVICE,
)
from chaos.errors import LabError
from chaos.ledger.history import History, Type
from chaos.ports import Journal, Operators

CONTROL_ATTEMPTS_MAX = 4
PROOF_SECONDS_MAX = 12.0
OVER_SECONDS_MAX = 20.0
RESTART_SECONDS_MAX = 40.0
NEMESIS = "nemesis"


class NotProvenError(LabError):
    """An injection did not show, so it counts for nothing. Look at the path or the program it names."""


@dataclass(frozen=True)
class Tools:
    """What the nemesis breaks things with."""

    operators: Operators
    paths: Paths
    processes: Processes
    cache: MarkedCache
    upstreams: Misbehaving
    history: History
    journal: Journal
    stopping: threading.Event
    journal_lock: threading.Lock


class Nemesis:
    """Carries out steps. Several threads may, on different targets."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._acts: dict[str, Callable[[Step], None]] = {
            KILL: self._kill,
            PAUSE: self._pause,
            FLUSH: self._flush,
            ROLLING_RESTART: self._rolling_restart,
        }
        self._acts |= dict.fromkeys(MISHAPS, self._misbehave) | dict.fromkeys(EVENT_MISHAPS, self._spoil)

    def inject(self, step: Step) -> None:
        """Do it all. When this returns the fault was live and is over.

        Raises:
            NotProvenError: it was not live, or did not end.
        """
        detail = {
            "cell": step.cell.name,
            "stream": step.stream,
            "attributes": step.attributes,
            "hold_seconds": step.hold_seconds,
        }
        with self._tools.journal_lock:
            self._tools.journal.write(Phase.INJECTING, step.cell.name, **detail)
        self._tools.history.record(Type.INVOKE, NEMESIS, "inject", durable=True, **detail)
        try:
            self._acts.get(step.cell.fault, self._impair)(step)
        except LabError as error:
            self._record(Type.FAIL, "inject", step, why=str(error))
            raise
        self._record(Type.OK, "inject", step)

    def _record(self, type_: Type, act: str, step: Step, **detail: Any) -> None:
        self._tools.history.record(type_, NEMESIS, act, cell=step.cell.name, **detail)

    def _hold(self, step: Step) -> None:
        # Whoever ends the run does not wait for this.
        self._tools.stopping.wait(step.hold_seconds)

    # ---- paths -------------------------------------------------------------------------------

    def _impair(self, step: Step) -> None:
        proxies, path = self._tools.operators.service_proxies, step.cell.target
        self._control(step)
        try:
            if step.cell.fault == DOWN:
                proxies.disable(path)
            else:
                proxies.add_toxic(path, step.cell.fault, step.stream, step.attributes)
            self._prove(step)
            self._hold(step)
        finally:
            proxies.clear_toxics(path)
            proxies.enable(path)
        self._over(step)

    def _shows(self, step: Step) -> bool:
        found = self._tools.paths.exchange(step.cell.target, large=step.stream)
        return PROOFS[step.cell.fault](found, step.attributes)

    def _control(self, step: Step) -> None:
        # A proof that is true of a healthy path proves nothing.
        for _ in range(CONTROL_ATTEMPTS_MAX):
            found = self._tools.paths.exchange(step.cell.target, large=step.stream)
            if found.complete and not PROOFS[step.cell.fault](found, step.attributes):
                return
            self._tools.operators.clock.sleep(POLL_SECONDS * 5)
        raise NotProvenError(f"{step.cell.name}: the path looks so without the fault: {found}")

    def _prove(self, step: Step) -> None:
        self._until(lambda: self._shows(step), PROOF_SECONDS_MAX, f"{step.cell.name} does not show")
        self._record(Type.INFO, "live", step)

    def _over(self, step: Step) -> None:
        def healthy() -> bool:
            found = self._tools.paths.exchange(step.cell.target, large=step.stream)
            return found.complete and not PROOFS[step.cell.fault](found, step.attributes)

        self._until(healthy, OVER_SECONDS_MAX, f"{step.cell.name} did not end")

    def _until(self, true: Callable[[], bool], seconds_max: float, otherwise: str) -> None:
        clock = self._tools.operators.clock
        deadline = clock.now() + seconds_max
        while not true():
            if clock.now() > deadline:
                raise NotProvenError(f"{otherwise} within {seconds_max:g} s")
            clock.sleep(POLL_SECONDS)

    def _misbehave(self, step: Step) -> None:
        upstream, fault = step.cell.target, step.cell.fault
        ask = self._tools.upstreams.ask

        def healthy() -> bool:
            return ask(upstream).usable

        self._until(healthy, PROOF_SECONDS_MAX, f"{step.cell.name}: it is not well without the fault")
        try:
            self._tools.upstreams.behave(upstream, MISHAPS[fault])
            self._until(
                lambda: MISHAP_PROOFS[fault](ask(upstream)),
                PROOF_SECONDS_MAX,
                f"{step.cell.name} does not show",
            )
            self._record(Type.INFO, "live", step)
            self._hold(step)
        finally:
            self._tools.upstreams.reset(upstream)
        self._until(healthy, OVER_SECONDS_MAX, f"{step.cell.name} did not end")

    def _spoil(self, step: Step) -> None:
        """Let events go wrong. The one that does is the proof, so somebody must deliver files meanwhile."""
        relay, upstreams = step.cell.target, self._tools.upstreams
        kind, behaviour = EVENT_MISHAPS[step.cell.fault]
        before = upstreams.mishaps(relay, kind)
        try:
            upstreams.behave(relay, behaviour)
            self._until(
                lambda: upstreams.mishaps(relay, kind) > before,
                PROOF_SECONDS_MAX,
                f"{step.cell.name} does not show",
            )
            self._record(Type.INFO, "live", step)
            self._hold(step)
        finally:
            upstreams.reset(relay)

    # ---- processes ---------------------------------------------------------------------------

    def _kill(self, step: Step) -> None:
        name = step.cell.target
        before = self._tools.processes.process(name)
        self._tools.processes.signal(name, signal.SIGKILL)
        self._replaced(step, name, before)
        self._record(Type.INFO, "live", step, pid=before.pid)
        self._ready(step, name)
        if name == "redis":
            self._mark()

    def _replaced(self, step: Step, name: str, before: ProcessRef) -> None:
        def replaced() -> bool:
            try:
                return self._tools.processes.process(name) != before
            except LabError:
                return False  # it has ended; the next one is on its way

        self._until(replaced, RESTART_SECONDS_MAX, f"{step.cell.name}: no other process came")

    def _ready(self, step: Step, name: str) -> None:
        def ready() -> bool:
            try:
                self._tools.operators.stack.start(name)  # waits for it; one that runs is left as it is
            except LabError:
                return False  # PostgreSQL may not start before its last orphan has gone
            return True

        self._until(ready, RESTART_SECONDS_MAX, f"{step.cell.name}: {name} is not back")

    def _mark(self) -> None:
        # The process has just been proven to be this lab's own, so what listens is.
        self._tools.cache.mark(self._tools.operators.stack.topology.lab_id)

    def _pause(self, step: Step) -> None:
        name, processes = step.cell.target, self._tools.processes
        before = processes.process(name)
        with self._stopped(name, before):
            self._until(
                lambda: processes.is_stopped(name), PROOF_SECONDS_MAX, f"{step.cell.name}: it was not stopped"
            )
            self._record(Type.INFO, "live", step, pid=before.pid)
            self._hold(step)
            if not self._tools.stopping.is_set() and not processes.is_stopped(name):
                raise NotProvenError(f"{step.cell.name}: somebody woke it")
        self._until(
            lambda: not processes.is_stopped(name), OVER_SECONDS_MAX, f"{step.cell.name}: it did not wake"
        )
        if processes.process(name) != before:
            raise NotProvenError(f"{step.cell.name}: it was replaced while it slept, so no zombie woke")

    @contextmanager
    def _stopped(self, name: str, before: ProcessRef) -> Iterator[None]:
        self._tools.processes.signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            if self._tools.processes.process(name) == before:
                self._tools.processes.signal(name, signal.SIGCONT)

    def _flush(self, step: Step) -> None:
        lab_id = self._tools.operators.stack.topology.lab_id
        if not self._tools.cache.is_lab(lab_id):
            raise NotProvenError(
                f"redis does not carry the marker of lab {lab_id}, so it is left alone: run `lab heal`"
            )
        try:
            self._tools.cache.flush()
            # The service writes again at once; the marker comes back only by our own hand.
            if self._tools.cache.is_lab(lab_id):
                raise NotProvenError(f"{step.cell.name}: redis still holds what it held")
            self._record(Type.INFO, "live", step)
        finally:
            self._mark()

    def _rolling_restart(self, step: Step) -> None:
        for name in SERVICE:
            before = self._tools.processes.process(name)
            self._tools.operators.stack.restart(name)
            if self._tools.processes.process(name) == before:
                raise NotProvenError(f"{step.cell.name}: {name} was not restarted")
            self._record(Type.INFO, "live", step, program=name)
