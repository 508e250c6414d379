"""Set the baseline, whatever was broken and whoever broke it. Needs no record of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chaos.domain.waiting import POLL_SECONDS
from chaos.errors import AdapterError, LabError, StackError
from chaos.ports import Operators
from chaos.signals.steady import WATCHDOG

LEAKING_PROGRAM = "reporting"


@dataclass
class HealReport:
    """What healing mended. Empty means that nothing was broken."""

    mended: list[str] = field(default_factory=list)


Step = tuple[str, Callable[[], list[str]]]


class NotHealedError(LabError):
    """The stack could not be set to its baseline. Run `make down`, then `make up`."""


def heal(operators: Operators, progress: Callable[[str], None], seconds_max: float) -> HealReport:
    """Heal everything a fault can break.

    Each step is tried even when one before it failed, and all are harmless when there is nothing
    to do. Only what carries this lab's marker is touched.

    Raises:
        NotHealedError: a step failed, or the service did not come back within ``seconds_max``.
    """
    report = HealReport()
    steps: tuple[Step, ...] = (
        ("processes", operators.stack.repair),
        ("the service's network paths", operators.service_proxies.heal),
        ("the monitoring's network paths", operators.monitoring_proxies.heal),
        ("the database server", lambda: _database(operators)),
        ("silences", lambda: _silences(operators)),
        ("the service", lambda: _service(operators, seconds_max)),
    )
    # A step may depend on a later one (a program that is ready only once its path is open).
    failed = _attempt(steps, report, progress)
    if failed:
        retry = tuple(step for step in steps if step[0] in failed)
        failed = _attempt(retry, report, progress)
    if failed:
        told = "; ".join(f"{what}: {why}" for what, why in failed.items())
        raise NotHealedError(f"not healed: {told}. Run `make down`, then `make up`, and try again")
    return report


def _attempt(steps: Sequence[Step], report: HealReport, progress: Callable[[str], None]) -> dict[str, str]:
    """Take each step; return those that failed and why."""
    failed: dict[str, str] = {}
    for what, step in steps:
        try:
            done = step()
        except Exception as error:  # noqa: BLE001 - whatever one step meets, the next must be tried
            failed[what] = f"{error or type(error).__name__}"
            progress(f"could not heal {what} yet: {failed[what]}")
            continue
        report.mended += done
        for text in done:
            progress(f"healed: {text}")
    return failed


def require_own_database(operators: Operators) -> None:
    """Refuse to touch a database server that does not carry this lab's marker.

    Raises:
        StackError: it carries none, or another lab's.
    """
    lab_id = operators.stack.topology.lab_id
    if not operators.database.is_lab(lab_id):
        raise StackError(
            f"the database server does not carry the marker of lab {lab_id}, so it is left alone: "
            "run `lab down`, then `lab up`"
        )


def _database(operators: Operators) -> list[str]:
    require_own_database(operators)
    done: list[str] = []
    ended = operators.database.end_connections(LEAKING_PROGRAM)
    if ended:
        done.append(f"ended {ended} connections of {LEAKING_PROGRAM}")
    if operators.database.has_settings():
        operators.database.reset_settings()
        operators.stack.restart("postgres")
        done.append("dropped settings of the database server and restarted it")
    return done


def _silences(operators: Operators) -> list[str]:
    silences = operators.alerts.silences()
    for silence in silences:
        operators.alerts.expire_silence(silence)
    return [f"ended silence {silence}" for silence in silences]


def _service(operators: Operators, seconds_max: float) -> list[str]:
    """Wait until the data path works and the service says so: an API that answers proves nothing."""
    deadline = operators.clock.now() + seconds_max
    while True:
        probe = operators.data_path.probe()
        reasons = operators.data_path.service_reasons()
        if probe.ok and all(reason is None for reason in reasons.values()):
            return []
        if operators.clock.now() > deadline:
            raise StackError(f"the way to the database: {probe.reason}; the service says {dict(reasons)}")
        operators.clock.sleep(POLL_SECONDS)


def wait_quiet(operators: Operators, seconds_max: float) -> None:
    """Return once no alert is pending or firing but Watchdog, at Prometheus and at Alertmanager.

    Raises:
        StackError: one still was after ``seconds_max``.
    """
    deadline = operators.clock.now() + seconds_max
    while True:
        names = {alert.name for alert in operators.metrics.active_alerts()}
        names |= {labels["alertname"] for labels in operators.alerts.firing()}
        names.discard(WATCHDOG)
        if not names:
            return
        if operators.clock.now() > deadline:
            listed = ", ".join(sorted(names))
            raise StackError(f"healed, but {listed} had not ended after {seconds_max:g} s: see its runbook")
        operators.clock.sleep(POLL_SECONDS)


def leftovers(operators: Operators) -> list[str]:
    """Return what an earlier run seems to have left, without touching it."""
    found: list[str] = []
    for proxies in (operators.service_proxies, operators.monitoring_proxies):
        try:
            found += [str(left) for left in proxies.leftovers()]
        except AdapterError as error:
            found.append(str(error))
    found += [f"override of {name}" for name in operators.stack.overridden()]
    views = {view.name: view for view in operators.stack.views()}
    if LEAKING_PROGRAM in views and views[LEAKING_PROGRAM].state not in {"STOPPED", "EXITED"}:
        found.append(f"{LEAKING_PROGRAM} is {views[LEAKING_PROGRAM].state}")
    try:
        if operators.database.has_settings():
            found.append("settings of the database server")
    except AdapterError as error:
        found.append(str(error))
    return found
