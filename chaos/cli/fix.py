"""``lab fix``: apply the remedy of the scenario that is held, and see everything green again."""

from __future__ import annotations

import click

from chaos.cli.heal import close_run, end_guardian
from chaos.cli.output import say
from chaos.config import LabConfig
from chaos.domain.journal import Phase
from chaos.domain.scenario import Scenario
from chaos.domain.waiting import RECOVER_SECONDS_MAX
from chaos.engine.heal import leftovers
from chaos.engine.load import find, load
from chaos.errors import StackError, UsageError
from chaos.faults.remedies import apply_remedy
from chaos.signals import steady
from chaos.wiring import Lab, open_lab

_LOCK_WAIT_SECONDS_MAX = 90.0


@click.command()
@click.argument("number")
def command(number: str) -> None:
    """Apply the remedy for scenario NUMBER, which `lab scenario` left broken."""
    loaded = load(find(number, LabConfig().scenarios_dir))
    lab = open_lab()
    active = lab.runs.active()
    if active is None or not active.held or active.scenario != loaded.name:
        held = f"{active.scenario} is" if active is not None and active.held else "nothing is"
        raise UsageError(
            f"scenario {loaded.number} is not held ({held}): first break it with "
            f"make scenario-{loaded.number}"
        )
    variant = loaded.variant(active.variant)
    journal = lab.runs.journal(active.run_id)
    started = lab.operators.clock.now()
    for remedy in variant.remedy:
        journal.write(Phase.REMEDYING, remedy)
        say(f"remedy: {remedy}")
        apply_remedy(remedy, lab.operators)
    left = leftovers(lab.operators)
    if left:
        raise StackError(f"the remedy left {'; '.join(left)}: the lab stays held; `make heal` ends it")
    wait_green(lab, loaded.scenario, started)
    end_guardian(lab)  # it finds nothing to heal, closes the run and lets go of the lock
    lab.runs.acquire(_LOCK_WAIT_SECONDS_MAX)
    try:
        close_run(lab)  # when there was no guardian any more
    finally:
        lab.runs.release()
    say("all green: no alert fires, traffic flows, every path is open")


def wait_green(lab: Lab, scenario: Scenario, since_unix: float) -> None:
    """Return once the steady state is back, by the remedy alone: nothing else was healed yet.

    Raises:
        StackError: it is not; the lab stays held.
    """
    steady.wait(
        scenario.steady_state,
        lab.operators,
        traffic_per_second=scenario.traffic.rate_per_second,
        watchdog_since_unix=since_unix,
        seconds_max=RECOVER_SECONDS_MAX,
        hold_seconds=2.0,
    )
