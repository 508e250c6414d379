"""``lab nemesis``: break everything, a seed's share of it, and count what was lost."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping

import click

from chaos.cli.output import say, say_aside
from chaos.cli.running import Ready, ready_lab, seed_or_random
from chaos.domain.verdict import Verdict
from chaos.engine.drill import run_id
from chaos.engine.nemesis.coverage import REPORT, coverage
from chaos.engine.nemesis.result import NemesisResult, lines, to_html
from chaos.engine.nemesis.run import NemesisRun, Order
from chaos.engine.report.store import REPORTS, write_atomically
from chaos.errors import ExitCode
from chaos.wiring import nemesis_parts

MINUTES_MAX = 240.0
RUN_MINUTES_EXTRA = 25.0
"""For starting, for what a slow machine adds, for reading back."""
_EXITS: Mapping[Verdict, ExitCode] = {
    Verdict.PASS: ExitCode.PASS,
    Verdict.FAIL: ExitCode.FAIL,
    Verdict.ERROR: ExitCode.ERROR,
}


@click.command()
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=None, help="Repeats a schedule.")
@click.option("--minutes", type=click.FloatRange(0.1, MINUTES_MAX), default=5.0, show_default=True)
@click.option("--jobs-min", type=click.IntRange(1, 1_000_000), default=5000, show_default=True)
@click.option(
    "--only", default="", help="Cells by name, such as kill:worker-1,latency:postgres, and no others."
)
@click.option("--keep", is_flag=True, help="Keep a stack that was started for this.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def command(seed: int | None, minutes: float, jobs_min: int, only: str, *, keep: bool, as_json: bool) -> None:
    """Load the service, break it by a seeded schedule, heal it, and check that nothing was lost."""
    order = Order(seed_or_random(seed), minutes, jobs_min, tuple(filter(None, only.split(","))))
    tell = say_aside if as_json else say
    tell(f"nemesis: seed {order.seed}, {minutes:g} min, at least {jobs_min} jobs")
    with ready_lab(tell, keep=keep) as ready:
        result = carry_out(ready, order, as_json=as_json)
    if as_json:
        click.echo(json.dumps(result.as_dict(), default=str))
    raise SystemExit(int(_EXITS[result.verdict]))


def carry_out(ready: Ready, order: Order, *, as_json: bool) -> NemesisResult:
    """Run an order as a run of its own, and write its reports."""
    tell = say_aside if as_json else say
    # A start that was cut short leaves programs that nobody has started yet.
    ready.lab.stack.wait_all_ready(ready.lab.config.up_timeout_seconds)
    clock = ready.lab.operators.clock
    identifier = run_id(clock.now(), f"nemesis-{order.seed}")
    folder = ready.lab.stack.state_dir / REPORTS / _folder(clock.now(), order)
    folder.mkdir(parents=True, exist_ok=True)
    with ready.session.run(
        run_id=identifier,
        mode="nemesis",
        scenario=f"seed {order.seed}",
        variant="",
        seed=order.seed,
        seconds_max=(order.minutes * 3 + RUN_MINUTES_EXTRA) * 60,
    ) as run:
        nemesis = NemesisRun(order, nemesis_parts(ready.lab), ready.session, run, tell)
        result = nemesis.run(folder / "history.jsonl")
    texts = {
        "report.txt": "\n".join(lines(result)) + "\n",
        REPORT: json.dumps(result.as_dict(), default=str, indent=1) + "\n",
        "report.html": to_html(result),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    tell(f"history and reports: {folder}")
    *report, summary = lines(result)
    for line in report:
        tell(line)
    if not result.partial:
        tell(f"  {coverage(folder.parent, result.seed, result.table)}")
    tell(summary)
    return result


def _folder(unix: float, order: Order) -> str:
    moment = dt.datetime.fromtimestamp(unix, dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{moment}-nemesis-{order.seed}"
