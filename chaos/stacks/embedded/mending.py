"""Heals the stack's processes to their baseline. It needs no record of what was done to them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
import psycopg2

from chaos.stacks.embedded import databases, launcher, orphans, processes, readiness
from chaos.stacks.embedded.inspection import auto_settings, expected_state
from chaos.stacks.embedded.supervisor import RUNNING, STARTING, STOPPED

if TYPE_CHECKING:
    from chaos.stacks.embedded.stack import EmbeddedStack

ADMIN_CONNECT_TIMEOUT_SECONDS = 2
MISBEHAVING = ("moderation-api", "s3-events")
BEHAVIOUR = "/admin/behaviour"
ADMIN_STATEMENT_TIMEOUT_MS = 5000


def repair(stack: EmbeddedStack, progress: Callable[[str], None]) -> list[str]:
    """Set the baseline; the same call again mends nothing. Return what was mended."""
    mended: list[str] = []

    def note(text: str) -> None:
        mended.append(text)
        progress(text)

    for name in stack.clear_overrides():
        note(f"removed the override of {name}")
    for name in _wake_stopped(stack):
        note(f"woke {name}, which was stopped by a signal")
    for stray in stack.end_strays():
        note(f"ended {stray}, which nobody looked after")
    if not stack.is_running():
        return mended
    to_restart = _overlaid(stack)
    if _reset_postgres(stack):
        note("dropped settings that ALTER SYSTEM had written")
        to_restart.append("postgres")
    for name in _unexpected(stack):
        stack.stop(name)
        note(f"stopped {name}")
    names = tuple(dict.fromkeys(to_restart))
    if names:
        stack.bounce(*names)
        note(f"restarted {', '.join(names)} with their own settings")
    _complete(stack, note)
    return mended


def _complete(stack: EmbeddedStack, note: Callable[[str], None]) -> None:
    """Start what should run and does not, wait for all of it, and let upstreams be well."""
    absent = [
        program.name
        for program in stack.programs()
        if program.expected_state == RUNNING and program.pid is None
    ]
    for name in absent:
        note(f"started {name}")
    stack.wait_all_ready(stack.config.heal_timeout_seconds)
    for name in _reset_upstreams(stack):
        note(f"let {name} behave as at its start")


def _reset_upstreams(stack: EmbeddedStack) -> list[str]:
    """Return the upstreams that had been told to misbehave."""
    reset = []
    for name in MISBEHAVING:
        if not stack.listens(name):
            continue
        address = stack.topology.address(name)
        before = readiness.fetch_json(address, BEHAVIOUR)
        readiness.fetch(address, BEHAVIOUR, method="DELETE")
        if readiness.fetch_json(address, BEHAVIOUR) != before:
            reset.append(name)
    return reset


def _wake_stopped(stack: EmbeddedStack) -> list[str]:
    who = stack.identity
    woken = []
    for process in orphans.marked(who.lab_id, stack.layout.root, who.created_unix):
        if processes.is_stopped(process) and processes.send(process, signal.SIGCONT):
            with contextlib.suppress(psutil.Error):
                woken.append(f"{process.name()} (pid {process.pid})")
    return woken


def _overlaid(stack: EmbeddedStack) -> list[str]:
    """Return programs whose running process was launched with an override."""
    return [daemon.name for daemon in stack.daemons() if launcher.launched(stack.layout, daemon.name)[1]]


def _unexpected(stack: EmbeddedStack) -> list[str]:
    infos = stack.supervisor.infos()
    return [
        daemon.name
        for daemon in stack.daemons()
        if expected_state(daemon) == STOPPED
        and daemon.name in infos
        and infos[daemon.name].state in (RUNNING, STARTING)
    ]


def _reset_postgres(stack: EmbeddedStack) -> bool:
    """Drop what ALTER SYSTEM wrote; True when the server must restart to forget it."""
    written = bool(auto_settings(stack.layout))
    try:
        link = psycopg2.connect(
            **stack.admin_dsn(), connect_timeout=ADMIN_CONNECT_TIMEOUT_SECONDS,
            options=f"-c statement_timeout={ADMIN_STATEMENT_TIMEOUT_MS}",
        )  # fmt: skip
    except psycopg2.Error:
        if written:  # it cannot start with them, or cannot be asked: the file is the way
            databases.drop_written_settings(stack.layout)
        return written
    try:
        link.autocommit = True
        with link.cursor() as cursor:
            if written:
                cursor.execute("ALTER SYSTEM RESET ALL")
            # The file may have been emptied already while the server still runs with what it held.
            cursor.execute(
                "SELECT count(*) FROM pg_settings "
                "WHERE pending_restart OR sourcefile LIKE '%/postgresql.auto.conf'"
            )
            row = cursor.fetchone()
        return written or bool(row and row[0])
    except psycopg2.Error:
        return True
    finally:
        link.close()
