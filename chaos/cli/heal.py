"""``lab heal``: set the baseline, whatever was broken."""

from __future__ import annotations

import contextlib

import click
import psutil

from chaos.adapters.guardian import find_process
from chaos.cli.output import say
from chaos.domain.journal import Phase
from chaos.domain.waiting import HEAL_SECONDS_MAX
from chaos.engine.heal import heal, wait_quiet
from chaos.engine.session import note, quietly
from chaos.errors import LabBusyError, LabError
from chaos.wiring import Lab, open_lab

QUIET_SECONDS_MAX = 60.0
LOCK_WAIT_SECONDS_MAX = 3 * HEAL_SECONDS_MAX  # a guardian heals in up to two rounds


@click.command()
def command() -> None:
    """Heal everything a fault can break. Needs no record of a run, and ends a run that is held."""
    lab = open_lab()
    end_guardian(lab)
    lab.runs.acquire(LOCK_WAIT_SECONDS_MAX)
    tell = quietly(say)
    try:
        mended = lab.stack.repair(tell)  # it also wakes or buries a process manager that hangs or is gone
        if not lab.stack.is_running():
            close_run(lab)
            tell("nothing runs: nothing is broken; `make up` starts it")
            return
        mended += heal(lab.operators, tell, HEAL_SECONDS_MAX).mended
        close_run(lab)
        wait_quiet(lab.operators, QUIET_SECONDS_MAX)
    finally:
        lab.runs.release()
    tell(f"healed ({len(mended)} things mended)" if mended else "nothing was broken")


def close_run(lab: Lab) -> None:
    """Close the run that is active, if any. Called with the lock held, after healing."""
    active = lab.runs.active()
    if active is None:
        return
    with contextlib.suppress(LabError, OSError):
        journal = lab.runs.journal(active.run_id)
        note(journal, Phase.CLOSED, "closed by an operator")
        journal.close()
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
            f"{active.mode} {active.scenario} is running: it heals when it ends; "
            f"end it with Ctrl-C or `kill -INT {runner.pid}`"
        )
    if guardian is None:
        return
    try:
        guardian.resume()  # a stopped process keeps its signals until it is woken
        guardian.terminate()
        guardian.wait(LOCK_WAIT_SECONDS_MAX)
    except psutil.NoSuchProcess:
        return  # it has just ended by itself
    except psutil.Error as error:
        raise LabError(f"the guardian (pid {guardian.pid}) did not end: see logs/guardian.log") from error
