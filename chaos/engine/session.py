"""One run: begun in the journal, watched by a guardian, and always closed with a healthy stack."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

from chaos.domain.journal import ActiveRun, Phase, ProcessRef
from chaos.domain.waiting import HEAL_SECONDS_MAX
from chaos.engine.heal import HealReport, heal
from chaos.errors import LabError, RunInterruptedError, RunTooLongError
from chaos.ports import HoldingGuardian, Journal, Operators, RunBook

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GUARDIAN_GRACE_SECONDS = 2 * HEAL_SECONDS_MAX  # a run that ends itself in time also needs to heal


def quietly(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return ``say`` without its failures: a terminal that is gone must not keep anything from healing."""

    def tell(text: str) -> None:
        with contextlib.suppress(Exception):
            say(text)

    return tell


def note(journal: Journal, phase: Phase, act: str) -> None:
    """Record a step of healing if that is possible. A full disk is no reason to leave a fault."""
    with contextlib.suppress(LabError, OSError):
        journal.write(phase, act)


class Interrupts:
    """Turns the first signal into an exception, and none once healing has begun."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._healing = False
        self.seen = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self.seen = True
        if self._healing:
            self._say(f"{name}: healing goes on; it is bounded and must not be cut short")
            return
        self._healing = True  # a second signal must not tear down the healing the first one starts
        self._say(f"{name}: stopping, then healing")
        raise RunInterruptedError

    def _too_long(self, _number: int, _frame: FrameType | None) -> None:
        if not self._healing:
            raise RunTooLongError

    def shield(self) -> None:
        """From here on signals only say that healing goes on."""
        self._healing = True
        signal.setitimer(signal.ITIMER_REAL, 0)

    @contextmanager
    def handled(self, seconds_max: float) -> Iterator[None]:
        """Handle signals inside, and end what is inside after ``seconds_max``."""
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._too_long)
        signal.setitimer(signal.ITIMER_REAL, seconds_max)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
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
        self._note_in(crashed.run_id, Phase.HEALING, "heal a run that died")
        self.heal_now()
        self._note_in(crashed.run_id, Phase.CLOSED, "healed by a later command")
        self.book.clear_active()

    def _note_in(self, run_id: str, phase: Phase, act: str) -> None:
        with contextlib.suppress(LabError, OSError):
            journal = self.book.journal(run_id)
            journal.write(phase, act)
            journal.close()

    def heal_now(self) -> HealReport:
        """Heal everything, saying what was mended."""
        return heal(self.operators, quietly(self.say), HEAL_SECONDS_MAX)

    @contextmanager
    def run(
        self, *, run_id: str, mode: str, scenario: str, variant: str, seed: int, seconds_max: float
    ) -> Iterator[Run]:
        """Begin a run; whatever happens inside, end with nothing broken unless it was held.

        Raises:
            RunInterruptedError: a signal came; what was broken has been healed.
            RunTooLongError: it took longer than ``seconds_max``; likewise.
            NotHealedError: it could not be healed; the guardian tries, too.
        """
        now = self.operators.clock.now()
        deadline = now + seconds_max + GUARDIAN_GRACE_SECONDS
        active = ActiveRun(run_id, mode, scenario, variant, seed, now, deadline, False, self.me, None)  # noqa: FBT003
        self.book.prune()
        journal = self.book.journal(run_id)
        interrupts = Interrupts(quietly(self.say))
        with interrupts.handled(seconds_max):
            journal.write(Phase.PLANNED, f"{mode} {scenario}", variant=variant, seed=seed)
            self.book.set_active(active)
            try:
                guardian = self.guard(run_id, deadline)
            except BaseException:
                self.book.clear_active()
                raise
            run = Run(run_id, journal, guardian, replace(active, guardian=guardian.ref))
            try:
                self.book.set_active(run.active)
                guardian.wait_ready()
                yield run
            finally:
                interrupts.shield()
                if not run.held:
                    self._close(run)
        if interrupts.seen:
            raise RunInterruptedError  # it came while healing: nothing may be broken after it

    def hold(self, run: Run, until_unix: float) -> None:
        """Leave the run to its guardian until then: the lab stays broken and locked."""
        run.journal.write(Phase.HELD, "hold", until_unix=until_unix)
        self.book.set_active(replace(run.active, held=True, deadline_unix=until_unix))
        run.guardian.hold(until_unix)
        run.held = True

    def _close(self, run: Run) -> None:
        """Heal unless it was proven clean, then let go of the guardian.

        When healing fails the guardian is not dismissed: it sees this process end and tries, too.
        """
        if not run.clean:
            note(run.journal, Phase.HEALING, "heal after the run")
            self.heal_now()
        run.guardian.dismiss()
        note(run.journal, Phase.CLOSED, "closed")
        run.journal.close()
        self.book.clear_active()
