"""``lab scenario``: break it, say what a person on call would now see, and leave it broken."""

from __future__ import annotations

import click

from chaos.cli.drill import make_drill
from chaos.cli.output import say
from chaos.cli.running import Ready, ready_lab, seed_or_random
from chaos.config import LabConfig
from chaos.domain.durations import parse_duration_seconds
from chaos.domain.scenario import AlertSignal, Contract
from chaos.domain.waiting import POLL_SECONDS
from chaos.engine.drill import run_id
from chaos.engine.load import LoadedScenario, find, load
from chaos.errors import UsageError
from chaos.ports import Notification

HOLD_SECONDS_MAX = 4 * 3600.0
_NOTIFICATION_SECONDS_MAX = 30.0


@click.command()
@click.argument("number")
@click.option("--variant", default=None, help="A variant's id. Default: the first.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=None, help="Repeats a scenario's timing.")
@click.option("--hold", default="30m", show_default=True, help="When it heals by itself: 90s, 30m, 2h.")
def command(number: str, variant: str | None, seed: int | None, hold: str) -> None:
    """Break the stack as scenario NUMBER says, without naming the cause."""
    loaded = load(find(number, LabConfig().scenarios_dir))
    chosen = loaded.variant(variant)
    hold_seconds = _hold_seconds(hold)
    with ready_lab(say, keep=True) as ready:
        clock = ready.lab.operators.clock
        with ready.session.run(
            run_id=run_id(clock.now(), loaded.name),
            mode="scenario",
            scenario=loaded.name,
            variant=chosen.id,
            seed=seed_or_random(seed),
            seconds_max=loaded.scenario.limits.max_duration,
        ) as run:
            drill = make_drill(ready, loaded, chosen, run.active.seed, run)
            drill.quiet = True
            drill.reach_steady_state()
            injected = drill.inject()
            told = _wait_told(ready, loaded.scenario.contract(chosen), injected.ranges.act_unix)
            ready.session.hold(run, clock.now() + hold_seconds)
        _describe(ready, loaded, told, hold_seconds)


def _hold_seconds(text: str) -> float:
    try:
        seconds = parse_duration_seconds(text)
    except ValueError as error:
        raise UsageError(f"--hold: {error}") from error
    if not 0 < seconds <= HOLD_SECONDS_MAX:
        raise UsageError(f"--hold: {text} is not between 1s and {HOLD_SECONDS_MAX / 3600:g}h")
    return seconds


def _wait_told(ready: Ready, contract: Contract, since_unix: float) -> list[Notification]:
    """Wait until the person on call has been paged, or until that is overdue."""
    operators = ready.lab.operators
    wanted = {item.name for item in contract.expect if isinstance(item, AlertSignal)}
    deadline = operators.clock.now() + _NOTIFICATION_SECONDS_MAX
    while True:
        told = [n for n in operators.notifications.since(since_unix) if n.receiver != "deadman"]
        if any(wanted & set(n.names) for n in told) or operators.clock.now() > deadline:
            return told
        operators.clock.sleep(POLL_SECONDS)


def _describe(ready: Ready, loaded: LoadedScenario, told: list[Notification], hold_seconds: float) -> None:
    topology = ready.lab.stack.topology
    say("")
    say(f"It is broken. {loaded.scenario.symptom}")
    for notification in told:
        for alert in notification.payload.get("alerts", []):
            name = alert["labels"].get("alertname")
            say(f"  {notification.receiver}: {name} ({alert['labels'].get('severity')})")
            say(f"    {alert['annotations'].get('summary', '')}")
            say(f"    runbook: docs/runbooks/{name}.md")
    if not told:
        say("  nobody has been told yet")
    say("")
    say("Look around as a person on call would:")
    say("  make status                      every daemon, firing alerts")
    say("  lab promql 'EXPR'                ask Prometheus")
    say("  lab logql 'QUERY'                ask Loki")
    say("  lab logs NAME                    a daemon's own log")
    say(f"  curl -s {topology.address('nginx').url}/health")
    say(f"It heals by itself in {hold_seconds:g} s. End it with: make fix-{loaded.number} (or make heal)")
