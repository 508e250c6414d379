from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil
import pytest

from chaos.stacks.embedded.toolchain.commands import run
from chaos.stacks.embedded.toolchain.model import NotHereError

# The shell's child must go too, as a compiler's children must.
_PARENT = "sleep 60 & echo $! > {pid}; wait"


def read_pid(path: Path) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if path.is_file() and path.read_text().strip():
            return int(path.read_text())
        time.sleep(0.01)
    pytest.fail("the child did not start")


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


def test_a_command_past_its_limit_ends_with_all_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(NotHereError, match=r"sh did not end within 0\.5 s"):
        run(["sh", "-c", _PARENT.format(pid=f"'{pid_file}'")], timeout_seconds=0.5)
    assert is_gone(read_pid(pid_file))


def test_a_cancelled_command_ends(tmp_path: Path) -> None:
    pid_file, cancelled = tmp_path / "pid", threading.Event()

    def cancel_once_it_runs() -> None:
        read_pid(pid_file)
        cancelled.set()

    threading.Thread(target=cancel_once_it_runs, daemon=True).start()
    with pytest.raises(NotHereError, match="interrupted"):
        run(["sh", "-c", _PARENT.format(pid=f"'{pid_file}'")], timeout_seconds=30, cancelled=cancelled)
    assert is_gone(read_pid(pid_file))


def test_environment_is_added_and_both_streams_are_kept() -> None:
    finished = run(
        ["sh", "-c", 'echo "$GREETING"; echo trouble >&2; exit 7'],
        timeout_seconds=10,
        env={"GREETING": "good day"},
    )
    assert (finished.code, set(finished.tail)) == (7, {"good day", "trouble"})


def test_a_program_that_is_not_there_is_a_reason_not_a_crash() -> None:
    with pytest.raises(NotHereError, match="cannot be started: No such file"):
        run(["/no/such/program"], timeout_seconds=1)
