"""What runs, in what state, and what differs from what should be."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from chaos.stacks.embedded import launcher, orphans
from chaos.stacks.embedded.assembly import Started
from chaos.stacks.embedded.daemon import Daemon
from chaos.stacks.embedded.daemons.postgres import data_directory
from chaos.stacks.embedded.identity import Identity
from chaos.stacks.embedded.layout import Layout
from chaos.stacks.embedded.memory import pss_bytes
from chaos.stacks.embedded.processes import children_by_parent, is_stopped
from chaos.stacks.embedded.supervisor import BACKOFF, EXITED, FATAL, RUNNING, STOPPED, ProcessInfo

_NOT_OF_THE_BASELINE = frozenset({"run.lock", "up.lock", "active.json", "runs", "reports"})


@dataclass(frozen=True)
class ProgramState:
    """One program as `lab status` shows it."""

    name: str
    state: str
    expected_state: str
    pid: int | None
    uptime_seconds: float
    port: int | None
    pss_bytes: int | None
    last_restart_unix: int | None
    detail: str = ""

    @property
    def as_expected(self) -> bool:
        """Whether it does what it should."""
        return self.state == self.expected_state and not self.detail


def expected_state(daemon: Daemon) -> str:
    """Return the state of a program at the baseline."""
    return RUNNING if daemon.autostart else STOPPED


def program_states(
    daemons: Iterable[Daemon], infos: Mapping[str, ProcessInfo], started: Started | None
) -> list[ProgramState]:
    """Return all programs, by name. Without supervisord all are stopped."""
    table = children_by_parent() if infos else {}
    first = started.first_start_unix if started else {}
    return [
        _state(daemon, infos.get(daemon.name), table, first)
        for daemon in sorted(daemons, key=lambda d: d.name)
    ]


def _state(
    daemon: Daemon, info: ProcessInfo | None, table: dict[int, list[int]], first: Mapping[str, int]
) -> ProgramState:
    expected = expected_state(daemon)
    if info is None:
        return ProgramState(daemon.name, STOPPED, expected, None, 0.0, daemon.port, None, None)
    restarted = info.pid is not None and info.start_unix > first.get(daemon.name, info.start_unix)
    return ProgramState(
        name=daemon.name,
        state=info.state,
        expected_state=expected,
        pid=info.pid,
        uptime_seconds=max(0.0, time.time() - info.start_unix) if info.pid else 0.0,
        port=daemon.port,
        pss_bytes=pss_bytes(info.pid, table) if info.pid else None,
        last_restart_unix=info.start_unix if restarted else None,
        detail=_detail(info),
    )


def _detail(info: ProcessInfo) -> str:
    if info.pid is not None:
        try:
            return "stopped by a signal (SIGSTOP)" if is_stopped(psutil.Process(info.pid)) else ""
        except psutil.NoSuchProcess:
            return ""
    if info.state in (BACKOFF, EXITED, FATAL):
        return info.spawn_error or f"exit status {info.exit_status}"
    return ""


def snapshot(
    layout: Layout, identity: Identity, states: Iterable[ProgramState], supervisor_pid: int | None
) -> dict[str, Any]:
    """Return what must be the same before and after a run; nothing in it changes by itself."""
    members = list(states)
    overlaid = {name: launcher.launched(layout, name)[1] for name in (state.name for state in members)}
    strays = orphans.unsupervised(identity.lab_id, layout.root, identity.created_unix, supervisor_pid)
    return {
        "supervisord": supervisor_pid is not None,
        "programs": {state.name: state.state for state in members},
        "stopped_by_signal": [state.name for state in members if state.detail.startswith("stopped")],
        "overrides": launcher.overrides(layout),
        "launched_overrides": {name: values for name, values in overlaid.items() if values},
        "postgres_auto_settings": auto_settings(layout),
        "state_files": sorted(
            path.name for path in layout.root.iterdir() if path.name not in _NOT_OF_THE_BASELINE
        ),
        "stray_processes": sorted(stray.name() for stray in strays if stray.is_running()),
    }


def auto_settings(layout: Layout) -> list[str]:
    """Return the settings that ALTER SYSTEM has written; none at the baseline."""
    try:
        text = (data_directory(layout) / "postgresql.auto.conf").read_text("utf-8")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
