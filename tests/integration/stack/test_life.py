"""Coming up and going down, and what stands in the way of it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from chaos.adapters.runstore import RunStore
from chaos.stacks.embedded import processes
from tests.support.lab import Lab, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

WARM_UP_SECONDS_MAX = 60.0
"""Of this test, on a machine that does other things too; the figure itself is printed."""


@pytest.fixture(scope="module")
def second(new_lab: Callable[..., Lab], shared: Lab) -> Iterator[Lab]:
    """Another lab beside the shared one, where the path is too long for a socket."""
    lab = new_lab("a/quite long/" + "path " * 12)
    lab.ok("up")
    yield lab
    lab.run("down")


def test_two_labs_run_side_by_side(shared: Lab, second: Lab) -> None:
    bases = {lab.stack.topology.address("nginx").port // 100 for lab in (shared, second)}
    assert len(bases) == 2
    assert not set(shared.pids().values()) & set(second.pids().values()) - {None}


def test_when_supervisord_is_killed_up_ends_what_is_left_and_starts_afresh(shared: Lab, second: Lab) -> None:
    undisturbed = shared.pids()
    left = {name: psutil.Process(pid) for name, pid in second.pids().items() if pid is not None}
    pid = second.stack.supervisor.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not second.stack.is_running(), 5, "supervisord to be gone")
    # A Go program that writes a log line just then ends: its pipe has gone. These write none.
    for name in ("postgres", "redis"):
        assert processes.is_live(left[name]), f"{name} survives it"
    assert second.run("status").returncode == 3

    told = second.ok("up")
    assert "ended what nobody looked after" in told
    assert not any(processes.is_live(process) for process in left.values())
    assert shared.pids() == undisturbed


@pytest.mark.full
def test_a_hung_supervisord_does_not_hang_down_and_nothing_is_left(shared: Lab, second: Lab) -> None:
    undisturbed = shared.pids()
    pid = second.stack.supervisor.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    done = second.run("down")
    assert done.returncode == 0, done.stderr
    assert second.processes() == []
    assert not second.stack.layout.run.exists()
    assert shared.pids() == undisturbed


def test_down_leaves_no_process_and_a_warm_up_is_quick(second: Lab) -> None:
    second.ok("down")
    began = time.monotonic()
    second.ok("up")
    took = time.monotonic() - began
    print(f"warm `lab up`: {took:.1f} s")
    assert took < WARM_UP_SECONDS_MAX
    assert second.processes()
    assert second.run("down").returncode == 0
    assert [process.cmdline() for process in second.processes()] == []
    assert second.run("down").returncode == 0


def test_a_taken_port_names_its_owner(new_lab: Callable[..., Lab]) -> None:
    lab = new_lab()
    port = lab.stack.topology.address("prometheus").port
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        done = lab.run("up")
    assert done.returncode == 3
    assert f"port {port} (prometheus)" in done.stderr
    assert f"pid {os.getpid()}: " in done.stderr
    assert lab.processes() == []


def test_up_and_down_leave_a_lab_alone_that_a_run_holds(new_lab: Callable[..., Lab]) -> None:
    lab = new_lab()
    runs = RunStore(lab.config.state_dir)
    runs.acquire()
    try:
        for command in ("up", "down"):
            done = lab.run(command)
            assert done.returncode == 3
            assert "holds this lab" in done.stderr
    finally:
        runs.release()
    assert lab.processes() == []


def test_a_full_disk_is_told_before_anything_starts(new_lab: Callable[..., Lab]) -> None:
    lab = new_lab()
    done = lab.run("up", LAB_DISK_FREE_MIN_BYTES=str(2**60))
    assert done.returncode == 3
    assert "MiB free" in done.stderr
    assert not lab.config.state_dir.joinpath("conf").exists()
    assert lab.processes() == []
