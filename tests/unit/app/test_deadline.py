from __future__ import annotations

import gc
import os
import socket
import threading
import time

import pytest

from app.database.deadline import LOOK_SECONDS, DeadlineWatchdog
from tests.support.waiting import eventually


def test_an_overdue_operation_is_cut() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = DeadlineWatchdog().line(ours.fileno())
        started = time.monotonic()
        with line.within(0.2):
            assert ours.recv(1) == b""  # would wait for ever
        assert line.fired
        assert 0.15 < time.monotonic() - started < 1


def test_one_in_time_is_left_alone() -> None:
    watchdog = DeadlineWatchdog()
    ours, theirs = socket.socketpair()
    other, end = socket.socketpair()
    with ours, theirs, other, end:
        line, another = watchdog.line(ours.fileno()), watchdog.line(other.fileno())
        with line.within(0.1):
            pass
        # A second operation, on something else, outlasts the first one's deadline.
        with another.within(0.3):
            assert other.recv(1) == b""
        assert not line.fired
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"


def test_a_shorter_deadline_that_comes_later_is_kept() -> None:
    watchdog = DeadlineWatchdog()
    slow, slow_end = socket.socketpair()
    fast, fast_end = socket.socketpair()
    with slow, slow_end, fast, fast_end:
        patient, hasty = watchdog.line(slow.fileno()), watchdog.line(fast.fileno())
        with patient.within(30):
            started = time.monotonic()
            with hasty.within(0.2):
                assert fast.recv(1) == b""
            assert time.monotonic() - started < 1
        assert hasty.fired
        assert not patient.fired


def test_each_operation_has_a_deadline_of_its_own_also_after_a_long_silence() -> None:
    watchdog = DeadlineWatchdog()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = watchdog.line(ours.fileno())
        for _ in range(200):
            with line.within(0.15):
                pass
        # The watchdog sleeps without end when nothing was in use for two of its looks.
        eventually(lambda: watchdog._wakes_at == float("inf"), within_seconds=3, what="it sleeps")
        started = time.monotonic()
        with line.within(0.15):
            assert ours.recv(1) == b""
        assert 0.1 < time.monotonic() - started < 0.15 + LOOK_SECONDS


def test_a_socket_that_is_held_no_longer_is_closed() -> None:
    watchdog = DeadlineWatchdog()
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            closed, dropped = watchdog.line(ours.fileno()), watchdog.line(ours.fileno())
            numbers = closed.fileno, dropped.fileno
        closed.close()
        closed.close()
        del dropped
        gc.collect()
        for number in numbers:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)
        assert theirs.recv(1) == b""  # the other end learns of it


def test_what_was_not_asked_for_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        line = DeadlineWatchdog().line(ours.fileno())
        assert line.quiet()
        theirs.close()
        assert not line.quiet()


def test_operations_of_many_threads_end_at_their_own_deadline() -> None:
    watchdog = DeadlineWatchdog()
    wrong: list[str] = []

    def work(number: int) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            line = watchdog.line(ours.fileno())
            for _ in range(300):
                with line.within(0.5):
                    pass
            if line.fired:
                wrong.append(f"{number} was cut in time")
            with line.within(0.2):
                ours.recv(1)
            if not line.fired:
                wrong.append(f"{number} was not cut")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert wrong == []
