"""A load test through nginx: how much the service takes, how long it takes, and what is used up first."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping

import psutil

from bench.figures import Judgement, Outcome
from bench.http.contestants import POOL_SIZE
from bench.http.turn import Seen, check_stored, drive, jobs_stored
from bench.load import avatars
from bench.load.deployment import APIS, WORKERS, Deployment, deployed
from bench.load.saturation import Use, used_up
from bench.load.watching import Watch, memory_mib
from bench.plan import Bench
from bench.processes import Usage

READ, TRIGGER = "status", "trigger"
FAILED_MAX = 0.001
"""Of all answers: what is neither 2xx nor 503, which is how more than it can do is refused."""
REFUSED = "503"
REST_SECONDS = 2.0
HANDICAP_RATE_LIMIT_PER_MINUTE = 60


def run(bench: Bench) -> Outcome:
    """Measure every route at every number of connections in every round."""
    outcome = Outcome("load")
    statuses: dict[str, Counter[str]] = {}
    limit = HANDICAP_RATE_LIMIT_PER_MINUTE if bench.plan.handicap_ms else None
    with deployed(bench, rate_limit_per_minute=limit) as deployment:
        time.sleep(REST_SECONDS)  # until what a start leaves behind is done
        at_rest = memory_mib(deployment.processes())
        avatars.measure(bench, deployment, outcome)
        under_load: dict[str, tuple[float, float]] = {}
        for number in range(1, bench.plan.rounds + 1):
            for route in (READ, TRIGGER):
                for connections in bench.plan.load_connections:
                    at = f"{route}/{connections}"
                    measures, seen, watch = _turn(bench, deployment, route, connections)
                    outcome.add({f"{name}/{at}": value for name, value in measures.items()})
                    statuses.setdefault(at, Counter()).update(seen.statuses)
                    under_load = _most(under_load, watch.memory_mib)
                    bench.say(f"round {number}: {_told(measures, route, connections)}")
    outcome.facts |= {
        "apis": len(APIS),
        "workers": len(WORKERS),
        "pool_size": POOL_SIZE,
        "cores": psutil.cpu_count(),
        "answers": {at: dict(counted) for at, counted in statuses.items()},
        "used_up": {at: used_up(_use(outcome, at)) for at in statuses},
        "memory_mib": {
            name: {"rest": at_rest[name], "load": under_load.get(name, at_rest[name])} for name in at_rest
        },
    }
    outcome.judgements += [_failures(outcome, at) for at in statuses]
    for name, told in outcome.facts["memory_mib"].items():  # type: ignore[attr-defined]
        rest, load = told["rest"], told["load"]
        bench.say(f"memory of {name}: PSS {rest[1]:.0f} MiB at rest, {load[1]:.0f} MiB under load")
    return outcome


def _turn(
    bench: Bench, deployment: Deployment, route: str, connections: int
) -> tuple[dict[str, float], Seen, Watch]:
    deployment.empty()
    asked = deployment.reads() if route == READ else deployment.triggers()
    plan = dataclasses.replace(bench.plan, seconds=bench.plan.load_seconds)
    with Usage(deployment.groups()) as usage, Watch(deployment, POOL_SIZE) as watch:
        seen = drive(deployment.programs, bench.folder, plan, deployment.port, asked, connections=connections)
    if route == TRIGGER:
        check_stored(jobs_stored(deployment.servers), seen)
    return {**_seen(seen), **_cores(usage, seen), **watch.measures}, seen, watch


def _seen(seen: Seen) -> dict[str, float]:
    asked = sum(seen.statuses.values())
    return {
        "requests_per_second": seen.per_second,
        "mean_ms": seen.mean_ms,
        "p50_ms": seen.percentile_ms(50),
        "p95_ms": seen.percentile_ms(95),
        "p99_ms": seen.percentile_ms(99),
        "refused_share": seen.statuses.get(REFUSED, 0) / asked,
        "failed_share": (asked - seen.good - seen.statuses.get(REFUSED, 0)) / asked,
    }


def _cores(usage: Usage, seen: Seen) -> dict[str, float]:
    """Return what each group used: per answer, of the warm-up too, and at the rate that was measured."""
    answered_per_second = len(seen.milliseconds) / seen.seconds
    measures = {"cores/client": seen.client_cores}
    for name, cpu_seconds in usage.cpu_seconds.items():
        per_answer = cpu_seconds / max(1, seen.answers_in_all)
        measures[f"cpu_ms/{name}"] = 1000 * per_answer
        measures[f"cores/{name}"] = per_answer * answered_per_second
    return measures


def _use(outcome: Outcome, at: str) -> Use:
    groups = [
        name.split("/")[1] for name in outcome.rounds if name.startswith("cores/") and name.endswith(at)
    ]
    return Use(
        cores={name: outcome.spread(f"cores/{name}/{at}").median for name in groups},
        machine_cores=psutil.cpu_count() or 1,
        machine_busy=outcome.spread(f"machine_busy/{at}").median,
        api_processes=len(APIS),
        pool_in_use=outcome.spread(f"pool_in_use/{at}").median,
        pool_wait_ms=outcome.spread(f"pool_wait_ms/{at}").median,
        postgres_waiting=outcome.spread(f"postgres_waiting/{at}").median,
    )


def _failures(outcome: Outcome, at: str) -> Judgement:
    route, connections = at.split("/")
    title = f"Failed calls of {route} at {connections} connections"
    measure = f"failed_share/{at}"
    return Judgement(title, measure, "all answers", outcome.spread(measure), ratio_max=FAILED_MAX)


def _most(
    known: Mapping[str, tuple[float, float]], found: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    nothing = (0.0, 0.0)
    return {
        name: (
            max(known.get(name, nothing)[0], found.get(name, nothing)[0]),
            max(known.get(name, nothing)[1], found.get(name, nothing)[1]),
        )
        for name in {**known, **found}
    }


def _told(measures: Mapping[str, float], route: str, connections: int) -> str:
    return (
        f"{route} at {connections} connections: {measures['requests_per_second']:.0f} requests/s, "
        f"p50 {measures['p50_ms']:.1f} ms, p99 {measures['p99_ms']:.1f} ms, "
        f"{measures['refused_share']:.1%} refused, {measures['failed_share']:.1%} failed, "
        f"machine {measures['machine_busy']:.0%} busy"
    )
