"""Acts on processes of this lab only: a pid is believed when its create time still fits."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from chaos.errors import StackError

POLL_SECONDS = 0.02


def send(process: psutil.Process, signum: int) -> bool:
    """Send a signal to exactly this process; False when it is gone. A reused pid is never hit."""
    if not hasattr(os, "pidfd_open"):  # not Linux: psutil compares the create time first
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signum)
            return True
        return False
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The descriptor is bound now; if the create time still fits, it is bound to the right process.
        if not is_live(process):
            return False
        signal.pidfd_send_signal(descriptor, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def end(processes: Iterable[psutil.Process], grace_seconds: float, kill_seconds: float = 5.0) -> None:
    """Ask processes to go, then make them. Stopped ones are woken.

    Only the heads of families are asked: a postmaster or an nginx master ends its own in the right order.
    """
    alive = list(processes)
    members = {process.pid for process in alive}
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() not in members:
                # SIGTERM would let PostgreSQL wait for its clients for ever.
                send(process, signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
        send(process, signal.SIGCONT)
    alive = wait_gone(alive, grace_seconds)
    for process in alive:
        send(process, signal.SIGKILL)
    left = wait_gone(alive, kill_seconds)
    if left:
        raise StackError(
            f"pids {[process.pid for process in left]} did not end within {kill_seconds} s of SIGKILL. "
            "They wait for the kernel: look at `dmesg`."
        )


def wait_gone(processes: Iterable[psutil.Process], timeout_seconds: float) -> list[psutil.Process]:
    """Return those still there after the time-out. A zombie counts as gone: its parent reaps it."""
    deadline = time.monotonic() + timeout_seconds
    left = [process for process in processes if is_live(process)]
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = [process for process in left if is_live(process)]
    return left


def is_live(process: psutil.Process) -> bool:
    """Say whether the process still runs, stopped ones included."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_stopped(process: psutil.Process) -> bool:
    """Say whether somebody stopped the process (SIGSTOP)."""
    with contextlib.suppress(psutil.Error):
        return process.status() == psutil.STATUS_STOPPED
    return False


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports a process listens on; none when it is gone or may not be looked at."""
    with contextlib.suppress(psutil.Error):
        return {
            link.laddr[1]
            for link in psutil.Process(pid).net_connections("tcp")
            if link.status == psutil.CONN_LISTEN and link.laddr
        }
    return set()


def children_by_parent() -> dict[int, list[int]]:
    """Return pids by parent pid, read once for the whole machine."""
    table: dict[int, list[int]] = {}
    for pid in psutil.pids():
        with contextlib.suppress(OSError, ValueError, IndexError):
            # Field 4 of /proc/PID/stat; the command in field 2 may hold spaces, so count from its end.
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            table.setdefault(int(fields[1]), []).append(pid)
    return table


def tree(pid: int, table: dict[int, list[int]] | None = None) -> list[int]:
    """Return ``pid`` and its descendants."""
    table = children_by_parent() if table is None else table
    found, queue = [pid], [pid]
    while queue:
        for child in table.get(queue.pop(), []):
            found.append(child)
            queue.append(child)
    return found
