"""One run: begun in the journal, watched by a guardian, and always closed with a healthy stack."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

from chaos.domain.journal import ActiveRun, Phase, ProcessRef
from chaos.domain.waiting import HEAL_SECONDS_MAX
from chaos.engine.heal import HealReport, heal
from chaos.errors import RunInterruptedError
from chaos.ports import HoldingGuardian, Journal, Operators, RunBook

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Turns the first signal into an exception, and none once healing has begun."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._healing = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._healing:
            self._say(f"{name}: healing goes on; it is bounded and must not be cut short")
            return
        self._healing = True  # a second signal must not tear down the healing the first one starts
        self._say(f"{name}: stopping, then healing")
        raise RunInterruptedError

    def shield(self) -> None:
        """From here on signals only say that healing goes on."""
        self._healing = True

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals inside, restore what was there after."""
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass
class Run:
    """A run that has begun. ``clean`` is set by whoever proved that nothing is left over."""

    id: str
    journal: Journal
    guardian: HoldingGuardian
    active: ActiveRun
    clean: bool = False
    held: bool = False


@dataclass(frozen=True)
class Session:
    """Begins and closes runs of one lab, whose lock the caller holds."""

    operators: Operators
    book: RunBook
    guard: Callable[[str, float], HoldingGuardian]
    me: ProcessRef
    say: Callable[[str], None]

    def clear_crashed(self) -> None:
        """Heal what a run that nobody closed has left. Called with the lock held, before a new run."""
        crashed = self.book.active()
        if crashed is None:
            return
        self.say(f"run {crashed.run_id} was never closed: healing first")
        self.book.journal(crashed.run_id).write(Phase.HEALING, "heal a run that died")
        self.heal_now()
        self.book.journal(crashed.run_id).write(Phase.CLOSED, "healed by a later command")
        self.book.clear_active()

    def heal_now(self) -> HealReport:
        """Heal everything, saying what was mended."""
        return heal(self.operators, self.say, HEAL_SECONDS_MAX)

    @contextmanager
    def run(
        self, *, run_id: str, mode: str, scenario: str, variant: str, seed: int, seconds_max: float
    ) -> Iterator[Run]:
        """Begin a run; whatever happens inside, end with nothing broken unless it was held.

        Raises:
            RunInterruptedError: a signal came; what was broken has been healed.
            NotHealedError: it could not be healed.
        """
        now = self.operators.clock.now()
        deadline = now + seconds_max
        active = ActiveRun(run_id, mode, scenario, variant, seed, now, deadline, False, self.me, None)  # noqa: FBT003
        journal = self.book.journal(run_id)
        interrupts = Interrupts(self.say)
        with interrupts.handled():
            journal.write(Phase.PLANNED, f"{mode} {scenario}", variant=variant, seed=seed)
            self.book.set_active(active)
            try:
                guardian = self.guard(run_id, deadline)
            except BaseException:
                self.book.clear_active()
                raise
            run = Run(run_id, journal, guardian, replace(active, guardian=guardian.ref))
            self.book.set_active(run.active)
            try:
                guardian.wait_ready()
                yield run
            finally:
                interrupts.shield()
                if not run.held:
                    self._close(run)

    def hold(self, run: Run, until_unix: float) -> None:
        """Leave the run to its guardian until then: the lab stays broken and locked."""
        run.journal.write(Phase.HELD, "hold", until_unix=until_unix)
        self.book.set_active(replace(run.active, held=True, deadline_unix=until_unix))
        run.guardian.hold(until_unix)
        run.held = True

    def _close(self, run: Run) -> None:
        if not run.clean:
            run.journal.write(Phase.HEALING, "heal after the run")
            try:
                self.heal_now()
            finally:
                # Even then the guardian has nothing to add: it would heal in the same way.
                run.guardian.dismiss()
        else:
            run.guardian.dismiss()
        run.journal.write(Phase.CLOSED, "closed")
        self.book.clear_active()
