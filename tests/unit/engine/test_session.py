from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager

import pytest

from chaos.domain.journal import ActiveRun, Phase, ProcessRef
from chaos.engine.session import Run, Session
from chaos.errors import ExitCode, RunInterruptedError, StackError
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

    def begin(self) -> AbstractContextManager[Run]:
        return self.session.run(
            run_id="r", mode="drill", scenario="03-x", variant="v", seed=1, seconds_max=60
        )

    def interrupt(self) -> None:
        """Break something, then press Ctrl-C."""
        self.world.proxies.closed.add("postgres")
        os.kill(os.getpid(), signal.SIGINT)

    def give_up(self) -> None:
        """Break something, then fail."""
        self.world.proxies.closed.add("postgres")
        raise StackError("the lab could not go on")

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
    with pytest.raises(RunInterruptedError) as caught, scene.begin():
        scene.interrupt()
    assert caught.value.exit_code is ExitCode.INTERRUPTED
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
