"""``lab drill``: break it, see whether the right person is told in time, mend it, and judge."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import click

from chaos.cli.output import LiveTimeline, console, say, say_aside
from chaos.cli.running import Ready, ready_lab, seed_or_random
from chaos.config import LabConfig
from chaos.domain.run import DrillResult, VariantResult
from chaos.domain.scenario import Variant
from chaos.domain.verdict import Verdict
from chaos.domain.watching import parse_prometheus
from chaos.engine.drill import Drill, run_id
from chaos.engine.load import LoadedScenario, find, load
from chaos.engine.planner import Planner
from chaos.engine.report import render_text, report_directory, to_json, write_reports
from chaos.engine.session import Run
from chaos.engine.timeline import Timeline
from chaos.errors import ExitCode
from chaos.stacks.rendering import lab_clock

ALL = "all"
_EXITS: Mapping[Verdict, ExitCode] = {
    Verdict.PASS: ExitCode.PASS,
    Verdict.FAIL: ExitCode.FAIL,
    Verdict.ERROR: ExitCode.ERROR,
}


@click.command()
@click.argument("number")
@click.option("--variant", default=None, help="A variant's id, or all. Default: the first.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=None, help="Repeats a drill's timing.")
@click.option("--keep", is_flag=True, help="Keep a stack that was started for this drill.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def command(number: str, variant: str | None, seed: int | None, *, keep: bool, as_json: bool) -> None:
    """Run scenario NUMBER end to end and judge the detection."""
    loaded = load(find(number, LabConfig().scenarios_dir))
    variants = loaded.scenario.variants if variant == ALL else (loaded.variant(variant),)
    used_seed = seed_or_random(seed)
    tell = say_aside if as_json else say
    tell(f"drill {loaded.number}: {loaded.scenario.title} (seed {used_seed})")
    started = time.time()
    results: list[VariantResult] = []
    with ready_lab(tell, keep=keep) as ready:
        try:
            for each in variants:
                tell(f"variant {each.id}" if len(variants) > 1 else "drilling")
                results.append(drill_variant(ready, loaded, each, used_seed, aside=as_json))
        finally:
            # What was found before an error or Ctrl-C is not lost.
            result = summarise(ready, loaded, used_seed, started, results)
            paths = (
                write_reports(result, report_directory(ready.lab.stack.state_dir, result)) if results else {}
            )
    if as_json:
        click.echo(to_json(result))
    else:
        render_text(result, console())
        for kind, path in paths.items():
            say(f"{kind}: {path}")
    raise SystemExit(int(_EXITS[result.verdict]))


def drill_variant(
    ready: Ready, loaded: LoadedScenario, variant: Variant, seed: int, *, aside: bool
) -> VariantResult:
    """Drill one variant in a run of its own."""
    operators = ready.lab.operators
    identifier = run_id(operators.clock.now(), loaded.name)
    with ready.session.run(
        run_id=identifier,
        mode="drill",
        scenario=loaded.name,
        variant=variant.id,
        seed=seed,
        seconds_max=loaded.scenario.limits.max_duration,
    ) as run:
        drill = make_drill(ready, loaded, variant, seed, run, aside=aside)
        result = drill.run()
        run.clean = any(c.group == "baseline" and c.verdict is Verdict.PASS for c in result.checks)
    return result


def make_drill(
    ready: Ready, loaded: LoadedScenario, variant: Variant, seed: int, run: Run, *, aside: bool = False
) -> Drill:
    """Return the drill of a run that has begun."""
    operators = ready.lab.operators
    return Drill(
        scenario=loaded.scenario,
        variant=variant,
        seed=seed,
        run_id=run.id,
        operators=operators,
        journal=run.journal,
        guardian=run.guardian,
        planner=Planner(loaded.scenario, operators),
        timeline=Timeline(operators.clock, LiveTimeline(aside=aside)),
    )


def summarise(
    ready: Ready, loaded: LoadedScenario, seed: int, started: float, results: list[VariantResult]
) -> DrillResult:
    """Put the variants' results together with what they were measured on."""
    timing = parse_prometheus(ready.lab.stack.deployed().prometheus)
    return DrillResult(
        scenario=loaded.name,
        title=loaded.scenario.title,
        symptom=loaded.scenario.symptom,
        seed=seed,
        lab_id=ready.lab.config.id,
        started_unix=started,
        ended_unix=time.time(),
        versions=ready.lab.stack.versions(),
        clock={
            "k": lab_clock().k,
            "scrape_seconds": timing.scrape_seconds,
            "evaluation_seconds": timing.evaluation_seconds,
            "cpus": float(os.cpu_count() or 0),
        },
        variants=tuple(results),
        all_variants=tuple(variant.id for variant in loaded.scenario.variants),
    )
