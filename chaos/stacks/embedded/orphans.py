"""Finds processes of this lab that no supervisor looks after. supervisord's children survive its kill -9."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import psutil

from chaos.config import CLOCK_SLACK_SECONDS
from chaos.stacks.embedded import processes
from chaos.stacks.embedded.identity import MARKER, MARKER_STATE_DIR, ROLE

REWRITES_ENVIRONMENT = frozenset({"postgres", "nginx", "valkey-server", "redis-server"})
"""Programs that write their title over their environment; their working directory tells them apart."""

_GUARDED_ROLES = frozenset({"guardian", "runner"})


def marked(lab_id: str, state_dir: Path, created_unix: float) -> list[psutil.Process]:
    """Return every process that carries this lab's marker, except this one, its ancestors and the guards."""
    here = _own_line()
    found = []
    for process in psutil.process_iter():
        if process.pid in here:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.create_time() < created_unix - CLOCK_SLACK_SECONDS:
                continue
            if carries_marker(process, lab_id, state_dir):
                found.append(process)
    return found


def carries_marker(process: psutil.Process, lab_id: str, state_dir: Path) -> bool:
    """Say whether a process is one of this lab's daemons."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        environment = {}
    if environment.get(ROLE) in _GUARDED_ROLES:
        return False
    if environment.get(MARKER) == lab_id and environment.get(MARKER_STATE_DIR) == str(state_dir):
        return True
    with contextlib.suppress(psutil.Error, OSError):
        # A person's shell may stand in the state directory too, hence the program's name.
        name = Path(process.exe().removesuffix(" (deleted)")).name
        inside = Path(process.cwd()).is_relative_to(state_dir.resolve() / "data")
        return name in REWRITES_ENVIRONMENT and inside
    return False


def unsupervised(
    lab_id: str, state_dir: Path, created_unix: float, supervisor_pid: int | None
) -> list[psutil.Process]:
    """Return marked processes outside the living supervisor's tree; all of them when there is none."""
    everyone = marked(lab_id, state_dir, created_unix)
    if supervisor_pid is None:
        return everyone
    family = set(processes.tree(supervisor_pid))
    # One of the family that ended since it was found is in no tree any more, and nobody's stray.
    return [process for process in everyone if process.pid not in family and processes.is_live(process)]


def end(found: Iterable[psutil.Process], grace_seconds: float = 10.0) -> list[str]:
    """End processes and return what they were, for the person who reads it."""
    members = list(found)
    names = [f"{_name(process)} (pid {process.pid})" for process in members]
    processes.end(members, grace_seconds)
    return names


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name()
    return "gone"


def _own_line() -> set[int]:
    line = {os.getpid()}
    with contextlib.suppress(psutil.Error):
        line |= {parent.pid for parent in psutil.Process().parents()}
    return line | set(processes.tree(os.getpid()))
