from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from chaos.engine.guardian import Outcome, Watch
from tests.support.fakes import START_UNIX, FakeClock


class SteppingClock(FakeClock):
    """Time passes a little with every look, since waiting on a pipe does not sleep on this clock."""

    def now(self) -> float:
        self.sleep(0.5)
        return self.unix


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        with contextlib.suppress(OSError):
            os.close(fd)


def watch(fd: int, *, seconds: float = 30.0, asked: bool = False) -> Watch:
    return Watch(fd, START_UNIX + seconds, SteppingClock(), lambda: asked, poll_seconds=0.01)


def test_a_run_that_says_goodbye_needs_no_healing(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"beat\ndismissed\n")
    assert watch(pipe[0]).wait() is Outcome.DISMISSED


def test_a_run_that_vanishes_has_died(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"beat\n")
    os.close(pipe[1])
    assert watch(pipe[0]).wait() is Outcome.RUN_DIED


def test_a_run_that_hangs_meets_the_deadline(pipe: tuple[int, int]) -> None:
    assert watch(pipe[0], seconds=5.0).wait() is Outcome.DEADLINE


def test_a_held_run_outlives_its_runner_until_the_hold_ends(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], f"held {START_UNIX + 60}\n".encode())
    os.close(pipe[1])
    watching = watch(pipe[0], seconds=5.0)
    assert watching.wait() is Outcome.HOLD_ENDED
    assert watching.clock.now() >= START_UNIX + 60


def test_a_line_cut_in_two_is_read_whole(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"dismi")
    watching = watch(pipe[0], seconds=100.0)
    assert watching._read() is None
    os.write(pipe[1], b"ssed\n")
    assert watching.wait() is Outcome.DISMISSED


def test_asked_to_heal_it_wakes_at_once(pipe: tuple[int, int]) -> None:
    assert watch(pipe[0], asked=True).wait() is Outcome.ASKED
