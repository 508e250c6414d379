"""``python -m bench``: measure, judge, and write what came of it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from bench.documents.report import Report, ReportError
from bench.documents.writing import DOCS, write
from bench.figures import Outcome
from bench.http import comparison
from bench.ingest import section as ingest
from bench.jobs import section as jobs
from bench.load import section as load
from bench.machine import describe, load_average
from bench.plan import SECTIONS, Bench, Plan
from bench.processes import COMPARATORS_PYTHON, ROOT, BenchError

REPORTS = ROOT / "reports" / "bench"
EXIT_SHORT, EXIT_ERROR, EXIT_INTERRUPTED = 1, 3, 130

RUN: Mapping[str, Callable[[Bench], Outcome]] = {
    "jobs": jobs.run,
    "trigger": comparison.run_trigger,
    "telemetry": comparison.run_telemetry,
    "ingest": ingest.run,
    "load": load.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks: 0 when every ratio is reached, 1 when one is short, 3 when nothing can be said."""
    options = _parse(arguments)
    if options.render_only:
        return _write(options)
    plan = _plan(options)
    # The parts of the service that run here are not what is measured; their log lines would be in the way.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if "jobs" in plan.sections and not plan.against_self and not COMPARATORS_PYTHON.is_file():
        print("The comparators are not installed: run `make bench`, which does that.", file=sys.stderr)
        return EXIT_ERROR
    folder = Path(tempfile.mkdtemp(prefix="dcs-bench-", dir="/tmp"))
    started, load_before = time.monotonic(), load_average()
    say = _teller(started)
    try:
        outcomes = [RUN[name](Bench(plan, folder, _prefixed(say, name))) for name in plan.sections]
    except BenchError as error:
        say(f"ERROR {error}\n(logs are in {folder})")
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    shutil.rmtree(folder, ignore_errors=True)
    _store(options.out, plan, outcomes, seconds=time.monotonic() - started, load_before=load_before)
    judgements = [judgement for outcome in outcomes for judgement in outcome.judgements]
    for judgement in judgements:
        say(judgement.text())
    say(f"figures: {options.out}")
    if options.write and (failed := _write(options)):
        return failed
    return 0 if all(judgement.kept for judgement in judgements) else EXIT_SHORT


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    default = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure the service against others."
    )
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of: " + ", ".join(SECTIONS))
    parser.add_argument("--jobs", type=int, default=default.jobs)
    parser.add_argument("--seconds", type=float, default=default.seconds, help="of each turn under requests")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: to see that it works, not how fast"
    )
    parser.add_argument("--against-self", action="store_true", help="compare jobs with this service itself")
    parser.add_argument("--handicap-ms", type=float, default=0.0, help="slow our jobs down, to see it told")
    parser.add_argument("--out", type=Path, default=REPORTS / "latest.json", help="where the figures are")
    parser.add_argument("--write", action="store_true", help="also write the documents")
    parser.add_argument("--render-only", action="store_true", help="write the documents; measure nothing")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the documents are")
    options = parser.parse_args(arguments)
    options.sections = tuple(name for name in options.only.split(",") if name)
    unknown = sorted(set(options.sections) - set(SECTIONS))
    if unknown or not options.sections:
        parser.error(f"--only takes some of {', '.join(SECTIONS)}, not {', '.join(unknown) or 'nothing'}")
    if options.write and (options.quick or set(options.sections) != set(SECTIONS)):
        parser.error("--write needs every section, in full: the documents are about all of it")
    return options


def _plan(options: argparse.Namespace) -> Plan:
    plan = Plan(
        rounds=options.rounds,
        sections=options.sections,
        jobs=options.jobs,
        seconds=options.seconds,
        handicap_ms=options.handicap_ms,
        against_self=options.against_self,
    )
    if not options.quick:
        return plan
    return dataclasses.replace(
        plan, warm_up_jobs=20, processes=1, rate_seconds=0, warm_up_seconds=0.2, ingest_bytes=1_000_000,
        memory_bytes=(1_000_000, 4_000_000), load_connections=(1, 8), seconds=min(1.0, plan.seconds),
        load_seconds=min(1.0, plan.seconds), avatars=8,
    )  # fmt: skip


def _teller(started: float) -> Callable[[str], None]:
    def say(text: str) -> None:
        print(f"bench {time.monotonic() - started:5.0f} s  {text}", flush=True)

    return say


def _prefixed(say: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda text: say(f"{name}: {text}")


def _write(options: argparse.Namespace) -> int:
    try:
        for path in write(Report.read(options.out), options.docs):
            print(f"wrote {path}")
    except ReportError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def _store(out: Path, plan: Plan, outcomes: Sequence[Outcome], *, seconds: float, load_before: float) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds),
        "load_average_at_start": round(load_before, 2),
        "load_average_at_end": round(load_average(), 2),
        "machine": describe(),
        "plan": dataclasses.asdict(plan),
        "sections": {outcome.section: dataclasses.asdict(outcome) for outcome in outcomes},
    }
    out.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
