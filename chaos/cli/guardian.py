"""``lab guardian``: not for people. A run starts it; it heals when the run dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

import click
import psutil

from chaos.adapters.clock import SystemClock
from chaos.adapters.guardian import find_process
from chaos.domain.journal import Phase
from chaos.domain.waiting import HEAL_SECONDS_MAX
from chaos.engine.guardian import Outcome, Watch
from chaos.engine.heal import heal
from chaos.engine.session import quietly
from chaos.errors import LabError
from chaos.wiring import Lab, open_lab

_RUNNER_END_SECONDS_MAX = 5.0


def _log(event: str, **detail: object) -> None:
    with contextlib.suppress(OSError):  # its log is on the disk that may be full
        print(json.dumps({"event": event, "pid": os.getpid(), **detail}), file=sys.stderr, flush=True)


@click.command(hidden=True)
@click.option("--run-id", required=True)
@click.option("--deadline-unix", type=float, required=True)
@click.option("--pipe-fd", type=int, required=True)
@click.option("--ready-fd", type=int, required=True)
def command(run_id: str, deadline_unix: float, pipe_fd: int, ready_fd: int) -> None:
    """Wait for the end of a run and heal what it left (started by drill and scenario)."""
    asked = False

    def ask(_number: int, _frame: object) -> None:
        nonlocal asked
        asked = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask)
    lab = open_lab()  # before "ready": healing must not have to import anything then
    os.write(ready_fd, b"ready")
    os.close(ready_fd)
    outcome = Watch(pipe_fd, deadline_unix, SystemClock(), lambda: asked).wait()
    _log("guardian_woke", run_id=run_id, outcome=outcome)
    if outcome is not Outcome.DISMISSED:
        _end_run(lab, run_id, outcome)


def _end_run(lab: Lab, run_id: str, outcome: Outcome) -> None:
    """Heal and close. Without success the run stays active, for the next command to heal."""
    active = lab.runs.active()
    runner = find_process(active.runner) if active is not None and active.run_id == run_id else None
    if runner is not None and outcome is Outcome.DEADLINE:
        with contextlib.suppress(psutil.Error):
            runner.kill()  # it is past its limit and may be stuck in any call
            runner.wait(_RUNNER_END_SECONDS_MAX)
    _note(lab, run_id, Phase.HEALING, f"the guardian heals: {outcome}")
    try:
        heal(lab.operators, quietly(lambda text: _log("guardian_heals", text=text)), HEAL_SECONDS_MAX)
    except LabError as error:
        _log("guardian_failed", error=str(error))
        raise
    _note(lab, run_id, Phase.CLOSED, "closed by the guardian")
    lab.runs.clear_active()
    _log("guardian_healed", run_id=run_id)


def _note(lab: Lab, run_id: str, phase: Phase, act: str) -> None:
    """Write to the journal if that is possible: a full disk must not keep the guardian from healing."""
    with contextlib.suppress(LabError, OSError):
        journal = lab.runs.journal(run_id)
        journal.write(phase, act)
        journal.close()
