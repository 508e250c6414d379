"""``lab status``: every daemon, firing alerts, and whether a run is active."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import asdict, replace
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from chaos.adapters.datapath import ServiceDataPath
from chaos.adapters.guardian import find_process
from chaos.adapters.runstore import RunStore
from chaos.config import LabConfig
from chaos.domain.clients import OPERATOR
from chaos.domain.journal import ActiveRun
from chaos.errors import ExitCode
from chaos.stacks.embedded import keys
from chaos.stacks.embedded.identity import load
from chaos.stacks.embedded.inspection import ProgramState
from chaos.stacks.embedded.readiness import fetch_json
from chaos.stacks.embedded.stack import EmbeddedStack
from chaos.stacks.embedded.supervisor import RUNNING, STOPPED

PLAIN_WIDTH = 120
_MIB = 2**20


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--reveal",
    is_flag=True,
    help="Also name what is broken: the scenario's variant, and tools that should not run.",
)
def command(*, as_json: bool, reveal: bool) -> None:
    """Show every daemon, the firing alerts, and whether a run is active.

    The exit code is 0 when everything does what it should, 3 when not.
    """
    config = LabConfig()
    stack = EmbeddedStack(config)
    running = load(stack.layout) is not None and stack.is_running()
    programs = stack.programs() if load(stack.layout) is not None else []
    if not reveal:
        programs = [_unjudged(program) for program in programs]
    report: dict[str, Any] = {
        "lab_id": config.id,
        "state_dir": str(config.state_dir),
        "running": running,
        "healthy": running and all(program.as_expected for program in programs),
        "programs": [asdict(program) for program in programs],
        "pss_bytes_total": sum(program.pss_bytes or 0 for program in programs),
        "missing": dict(stack.missing()) if programs else {},
        "alerts": _alerts(stack) if running else None,
        "service": _service(stack) if running else None,
        "run": _run(RunStore(config.state_dir).active(), reveal=reveal),
    }
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report, programs)
    if not report["healthy"]:
        raise SystemExit(int(ExitCode.ERROR))


def _unjudged(program: ProgramState) -> ProgramState:
    """Return a program that nothing starts by itself as one that may do what it does.

    Whether such a tool should run is for the person on call to find out: it may be the cause.
    """
    if program.expected_state != STOPPED:
        return program
    return replace(program, expected_state=program.state, detail="")


def _alerts(stack: EmbeddedStack) -> list[dict[str, str]] | None:
    try:
        data = fetch_json(stack.topology.address("prometheus"), "/api/v1/alerts")
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return [
        {
            "name": str(alert["labels"].get("alertname", "?")),
            "severity": str(alert["labels"].get("severity", "")),
            "summary": str(alert.get("annotations", {}).get("summary", "")),
            "since": str(alert.get("activeAt", "")),
        }
        for alert in data["data"]["alerts"]
        if alert["state"] == "firing"
    ]


def _service(stack: EmbeddedStack) -> dict[str, Any]:
    """Return the front door and, per API, why its database is away as its own ``/health`` says."""
    topology = stack.topology
    path = ServiceDataPath(topology, stack.service_settings, stack.launched_overrides)
    return {
        "url": topology.address("nginx").url,
        "database_away": path.service_reasons(),
        "key_file": str(keys.path(stack.layout, OPERATOR)),
    }


def _service_text(service: dict[str, Any] | None) -> str:
    if service is None:
        return "service: not running"
    away = [f"{name}: database {reason}" for name, reason in service["database_away"].items() if reason]
    state = f"degraded ({', '.join(away)})" if away else "ok"
    return f"service at {service['url']}: {state}\nyour API key for it: {service['key_file']}"


def _run(active: ActiveRun | None, *, reveal: bool) -> dict[str, Any] | None:
    if active is None:
        return None
    shown = {
        "run_id": active.run_id,
        "mode": active.mode,
        "scenario": active.scenario,
        "held": active.held,
        "deadline_unix": active.deadline_unix,
        "abandoned": not (find_process(active.runner) or find_process(active.guardian)),
    }
    return shown | {"variant": active.variant} if reveal else shown


def _show(report: dict[str, Any], programs: list[ProgramState]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    if not programs:
        console.print(f"lab {report['lab_id']} is not running: start it with `lab up`", highlight=False)
    else:
        console.print(_table(programs))
        total = report["pss_bytes_total"] / _MIB
        console.print(f"memory of all: {total:.0f} MiB (PSS: shared pages counted once)", highlight=False)
    for name, cost in report["missing"].items():
        console.print(f"without {name}: {cost}", markup=False, highlight=False)
    console.print(_service_text(report["service"]), markup=False, highlight=False)
    console.print(_alerts_text(report["alerts"]), markup=False, highlight=False)
    console.print(_run_text(report["run"]), markup=False, highlight=False)


def _table(programs: list[ProgramState]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("program", "state", "uptime", "port", "memory", "last restart", ""):
        right = title in ("uptime", "port", "memory")
        table.add_column(title, justify="right" if right else "left", no_wrap=bool(title))
    for program in programs:
        colour = "green" if program.as_expected else "red"
        if program.as_expected and program.state != RUNNING:
            colour = "dim"
        table.add_row(
            program.name,
            f"[{colour}]{program.state.lower()}[/]",
            _duration(program.uptime_seconds) if program.pid else "",
            str(program.port or ""),
            f"{program.pss_bytes / _MIB:.0f} MiB" if program.pss_bytes else "",
            _ago(program.last_restart_unix),
            program.detail.replace("[", r"\["),
        )
    return table


def _ago(unix: int | None) -> str:
    return f"{_duration(time.time() - unix)} ago" if unix else ""


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _alerts_text(alerts: list[dict[str, str]] | None) -> str:
    if alerts is None:
        return "alerts: unknown, Prometheus does not answer"
    if not alerts:
        return "alerts: none firing, not even Watchdog, which always should"
    lines = [f"  {a['severity']:8}  {a['name']}: {a['summary']}" for a in alerts]
    return "\n".join(["alerts firing:", *sorted(lines)])


def _run_text(run: dict[str, Any] | None) -> str:
    if run is None:
        return "run active: no"
    cause = f", variant {run['variant']}" if "variant" in run else ""
    name = f"{run['mode']} {run['scenario']} (run {run['run_id']}{cause})"
    if run["abandoned"]:
        return f"run active: {name} was cut short and left something behind: end it with `lab heal`"
    if run["held"]:
        until = time.strftime("%H:%M:%S", time.localtime(run["deadline_unix"]))
        return f"run active: yes, {name}, held until {until}"
    return f"run active: yes, {name}"
