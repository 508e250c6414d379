from __future__ import annotations

import socket
import time

from app.database.deadline import DeadlineWatchdog


def test_an_overdue_operation_is_cut() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        started = time.monotonic()
        with DeadlineWatchdog().guard(ours.fileno(), 0.2) as watch:
            assert ours.recv(1) == b""  # would wait for ever
        assert watch.fired
        assert 0.15 < time.monotonic() - started < 1


def test_one_in_time_is_left_alone() -> None:
    watchdog = DeadlineWatchdog()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with watchdog.guard(ours.fileno(), 0.1) as watch:
            pass
        # A second guard, on something else, outlasts the first one's deadline.
        other, end = socket.socketpair()
        with other, end, watchdog.guard(other.fileno(), 0.3):
            assert other.recv(1) == b""
        assert not watch.fired
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"


def test_a_shorter_deadline_that_comes_later_is_kept() -> None:
    watchdog = DeadlineWatchdog()
    slow, slow_end = socket.socketpair()
    fast, fast_end = socket.socketpair()
    with slow, slow_end, fast, fast_end, watchdog.guard(slow.fileno(), 30) as patient:
        started = time.monotonic()
        with watchdog.guard(fast.fileno(), 0.2) as hasty:
            assert fast.recv(1) == b""
        assert time.monotonic() - started < 1
        assert hasty.fired
        assert not patient.fired
