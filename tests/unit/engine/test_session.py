from __future__ import annotations

import os
import signal
import threading
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from chaos.domain.journal import ActiveRun, Phase, ProcessRef
from chaos.engine.heal import NotHealedError
from chaos.engine.session import Run, Session
from chaos.errors import RunInterruptedError, RunTooLongError, StackError
from tests.support.fakes import FakeGuardian, FakeRunBook
from tests.support.world import World


class Scene:
    """A session on a small world, with what it says and its guardian."""

    def __init__(self) -> None:
        self.world = World()
        self.book = FakeRunBook()
        self.guardian = FakeGuardian()
        self.said: list[str] = []
        self.session = Session(
            self.world.operators,
            self.book,
            lambda _run, _deadline: self.guardian,
            ProcessRef(os.getpid(), 1.0),
            self.said.append,
        )

    def begin(self, seconds_max: float = 60) -> AbstractContextManager[Run]:
        return self.session.run(
            run_id="r", mode="drill", scenario="03-x", variant="v", seed=1, seconds_max=seconds_max
        )

    def hang(self) -> None:
        """Break something, then get stuck."""
        self.world.proxies.closed.add("postgres")
        threading.Event().wait(10)

    def interrupt(self) -> None:
        """Break something, then press Ctrl-C."""
        self.world.proxies.closed.add("postgres")
        os.kill(os.getpid(), signal.SIGINT)

    def give_up(self) -> None:
        """Break something, then fail."""
        self.world.proxies.closed.add("postgres")
        raise StackError("the lab could not go on")

    def fill_the_disk_and_give_up(self) -> None:
        """Break something, leave no room for the journal, then fail."""
        self.book.journals["r"].full = True
        self.give_up()

    @property
    def phases(self) -> list[Phase]:
        return [phase for phase, _ in self.book.journals["r"].entries]


def test_a_clean_run_is_planned_before_and_closed_after_without_healing() -> None:
    scene = Scene()
    with scene.begin() as run:
        assert scene.book.active() is not None
        assert scene.phases == [Phase.PLANNED]
        run.clean = True
    assert scene.phases == [Phase.PLANNED, Phase.CLOSED]
    assert scene.book.active() is None
    assert scene.guardian.dismissed


def test_a_run_that_is_not_proven_clean_is_healed() -> None:
    scene = Scene()
    with pytest.raises(StackError), scene.begin():
        scene.give_up()
    assert scene.world.proxies.closed == set()
    assert scene.phases == [Phase.PLANNED, Phase.HEALING, Phase.CLOSED]
    assert scene.guardian.dismissed


def test_ctrl_c_heals_and_exits_130() -> None:
    scene = Scene()
    with pytest.raises(RunInterruptedError), scene.begin():
        scene.interrupt()
    assert scene.world.proxies.closed == set()


def test_ctrl_c_three_times_does_not_cut_healing_short() -> None:
    scene = Scene()
    proxies = scene.world.proxies
    real_heal = proxies.heal

    def heal_under_fire() -> list[str]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return real_heal()

    proxies.heal = heal_under_fire  # type: ignore[method-assign]
    with pytest.raises(RunInterruptedError), scene.begin():
        scene.interrupt()
    assert proxies.closed == set()
    assert sum("healing goes on" in text for text in scene.said) == 2
    assert scene.phases[-1] is Phase.CLOSED


def test_signals_are_as_before_after_a_run() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Scene().begin() as run:
        assert signal.getsignal(signal.SIGTERM) is not before
        run.clean = True
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_held_run_stays_broken_and_active() -> None:
    scene = Scene()
    with scene.begin() as run:
        scene.world.proxies.closed.add("postgres")
        scene.session.hold(run, 99.0)
    assert scene.world.proxies.closed == {"postgres"}
    assert scene.guardian.held_until == 99.0
    assert not scene.guardian.dismissed
    active = scene.book.active()
    assert active is not None
    assert active.held


def test_what_a_dead_run_left_is_healed_before_the_next() -> None:
    scene = Scene()
    scene.world.proxies.closed.add("postgres")
    dead = ActiveRun("r", "drill", "03-x", "v", 1, 0.0, 1.0, False, ProcessRef(1, 1.0), None)  # noqa: FBT003
    scene.book.now = dead
    scene.session.clear_crashed()
    assert scene.world.proxies.closed == set()
    assert scene.book.active() is None
    assert scene.phases == [Phase.HEALING, Phase.CLOSED]


def test_a_guardian_that_does_not_start_leaves_nothing_active() -> None:
    scene = Scene()

    def refuse(_run: str, _deadline: float) -> FakeGuardian:
        raise StackError("no guardian")

    session = Session(scene.world.operators, scene.book, refuse, ProcessRef(1, 1.0), scene.said.append)
    with (
        pytest.raises(StackError),
        session.run(run_id="r", mode="drill", scenario="03-x", variant="v", seed=1, seconds_max=60),
    ):
        pytest.fail("nothing may be broken without a guardian")
    assert scene.book.active() is None


def test_ctrl_c_while_a_run_closes_is_not_forgotten() -> None:
    scene = Scene()
    dismiss = scene.guardian.dismiss

    def dismiss_under_fire() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        dismiss()

    scene.guardian.dismiss = dismiss_under_fire  # type: ignore[method-assign]
    with pytest.raises(RunInterruptedError), scene.begin() as run:
        run.clean = True
    assert scene.phases[-1] is Phase.CLOSED


def test_a_run_that_takes_too_long_is_ended_and_healed() -> None:
    scene = Scene()
    with pytest.raises(RunTooLongError), scene.begin(seconds_max=0.2):
        scene.hang()
    assert scene.world.proxies.closed == set()
    assert scene.phases[-1] is Phase.CLOSED


def test_a_full_disk_does_not_keep_a_fault() -> None:
    scene = Scene()
    with pytest.raises(StackError), scene.begin():
        scene.fill_the_disk_and_give_up()
    assert scene.world.proxies.closed == set()
    assert scene.guardian.dismissed


def test_a_terminal_that_is_gone_does_not_keep_a_fault() -> None:
    scene = Scene()

    def gone(_text: str) -> None:
        raise OSError(5, "Input/output error")

    session = replace(scene.session, say=gone)
    with (
        pytest.raises(RunInterruptedError),
        session.run(run_id="r", mode="drill", scenario="03-x", variant="v", seed=1, seconds_max=60),
    ):
        scene.interrupt()
    assert scene.world.proxies.closed == set()


def test_a_guardian_is_kept_while_healing_fails() -> None:
    scene = Scene()
    scene.world.stack.will_not_repair = True
    with pytest.raises(NotHealedError), scene.begin():
        scene.give_up()
    assert not scene.guardian.dismissed
    assert scene.book.active() is not None
