"""``lab heal``: set the baseline, whatever was broken."""

from __future__ import annotations

import click

from chaos.adapters.guardian import find_process
from chaos.cli.output import say
from chaos.domain.journal import Phase
from chaos.domain.waiting import HEAL_SECONDS_MAX
from chaos.engine.heal import heal, wait_quiet
from chaos.errors import LabBusyError, LabError
from chaos.wiring import Lab, open_lab

QUIET_SECONDS_MAX = 60.0
LOCK_WAIT_SECONDS_MAX = HEAL_SECONDS_MAX + 30.0


@click.command()
def command() -> None:
    """Heal everything a fault can break. Needs no record of a run, and ends a run that is held."""
    lab = open_lab()
    if not lab.stack.is_running():
        lab.stack.repair()
        _close_leftover_run(lab)
        say("nothing runs: nothing to heal")
        return
    end_guardian(lab)
    lab.runs.acquire(LOCK_WAIT_SECONDS_MAX)
    try:
        report = heal(lab.operators, say, HEAL_SECONDS_MAX)
        _close_leftover_run(lab)
        wait_quiet(lab.operators, QUIET_SECONDS_MAX)
    finally:
        lab.runs.release()
    say(f"healed ({len(report.mended)} things mended)" if report.mended else "nothing was broken")


def _close_leftover_run(lab: Lab) -> None:
    active = lab.runs.active()
    if active is not None:
        lab.runs.journal(active.run_id).write(Phase.CLOSED, "closed by heal")
        lab.runs.clear_active()


def end_guardian(lab: Lab) -> None:
    """Ask the guardian of a held run, or of one whose runner died, to heal and let go of the lock.

    Raises:
        LabBusyError: a drill is running; it heals by itself, or after Ctrl-C.
    """
    active = lab.runs.active()
    if active is None:
        return
    runner, guardian = find_process(active.runner), find_process(active.guardian)
    if runner is not None and not active.held:
        raise LabBusyError(
            f"{active.mode} {active.scenario} is running (pid {runner.pid}): it heals when it ends; "
            "stop it with Ctrl-C if you must"
        )
    if guardian is None:
        return
    guardian.resume()  # a stopped process keeps its signals until it is woken
    guardian.terminate()
    try:
        guardian.wait(LOCK_WAIT_SECONDS_MAX)
    except Exception as error:
        raise LabError(f"the guardian (pid {guardian.pid}) did not end: see logs/guardian.log") from error
