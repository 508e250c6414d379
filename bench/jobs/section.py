"""Jobs per second, and the time from being handed in to being done, against Celery and RQ."""

from __future__ import annotations

from contextlib import ExitStack

import psutil

from bench.figures import Floor, Outcome, percentile
from bench.jobs.contestants import Celery, Contestant, Ours, Rq
from bench.jobs.heat import Heat, latencies
from bench.plan import Bench
from bench.processes import Programs, Usage, family_of
from bench.servers import Servers, servers

RATIO_MIN = 1.0
FORKING_JOBS_PER_JOB = 0.03  # the forking worker is slow, and tells nothing new: a small part of the jobs


def run(bench: Bench) -> Outcome:
    """Measure every contestant in every round, one after the other."""
    outcome = Outcome("jobs")
    with servers() as running:
        contestants = _contestants(bench, running)
        for number in range(1, bench.plan.rounds + 1):
            for contestant in contestants:
                outcome.add(_turn(bench, running, contestant, f"round {number}"))
        if not bench.plan.against_self:
            _forking(bench, running, outcome)
    names = [contestant.name for contestant in contestants]
    references = tuple(f"jobs_per_second/{name}" for name in names[1:])
    floor = Floor("Jobs per second against the faster", f"jobs_per_second/{names[0]}", references, RATIO_MIN)
    outcome.judgements.append(floor.judge(outcome.rounds))
    outcome.facts |= {
        "jobs": bench.plan.jobs,
        "processes": bench.plan.processes,
        "threads": bench.plan.threads,
        "rate_per_second": bench.plan.rate_per_second,
        "contestants": names,
    }
    return outcome


def _contestants(bench: Bench, running: Servers) -> list[Contestant]:
    ours = Ours(running, bench.plan, handicap_ms=bench.plan.handicap_ms)
    if bench.plan.against_self:
        return [ours, Ours(running, bench.plan, name="self")]
    plan = bench.plan
    return [
        ours,
        Celery(running, plan, "threads"),
        Celery(running, plan, "prefork"),
        Rq(running, plan),
    ]


def _turn(bench: Bench, running: Servers, contestant: Contestant, label: str) -> dict[str, float]:
    plan = bench.plan
    with ExitStack() as stack:
        programs = stack.enter_context(Programs(bench.folder))
        contestant.start(programs)
        heat = Heat(contestant, running, programs, bench.folder)
        heat.prepare()
        heat.run(count=plan.warm_up_jobs, first=0)  # also shows that every worker is up
        heat.prepare()
        groups = {"workers": lambda: _families(programs), "postgres": family_of(running.postgres.pid)}
        with Usage(groups) as usage:
            per_second, burst = heat.run(count=plan.jobs, first=0)
        steady: list[float] = []
        if plan.rate_seconds:
            heat.prepare()
            count = max(1, round(plan.rate_per_second * plan.rate_seconds))
            _, steady = heat.run(count=count, first=0, rate_per_second=plan.rate_per_second)
    name = contestant.name
    # Handing in is in PostgreSQL's part, and is not in that of the workers.
    workers_ms, postgres_ms = (1000 * usage.cpu_seconds[each] / plan.jobs for each in groups)
    measures = {
        f"jobs_per_second/{name}": per_second,
        **latencies("burst", name, burst),
        f"workers_cpu_ms/{name}": workers_ms,
        f"postgres_cpu_ms/{name}": postgres_ms,
    }
    told = f"{name} {per_second:.0f} jobs/s; to done {_told(burst)}"
    if steady:
        measures |= latencies("steady", name, steady)
        told += f"; at {plan.rate_per_second:g}/s {_told(steady)}"
    bench.say(f"{label}: {told}")
    return measures


def _families(programs: Programs) -> list[psutil.Process]:
    return [process for program in programs.running for process in family_of(program.process.pid)()]


def _told(milliseconds: list[float]) -> str:
    return f"p50 {percentile(milliseconds, 50):.1f} ms, p99 {percentile(milliseconds, 99):.1f} ms"


def _forking(bench: Bench, running: Servers, outcome: Outcome) -> None:
    contestant = Rq(running, bench.plan, "forking")
    count = max(20, round(bench.plan.jobs * FORKING_JOBS_PER_JOB))
    with Programs(bench.folder) as programs:
        contestant.start(programs)
        heat = Heat(contestant, running, programs, bench.folder)
        heat.prepare()
        heat.run(count=20, first=0)
        heat.prepare()
        per_second, _ = heat.run(count=count, first=0)
    outcome.facts["rq_forking_jobs_per_second"] = round(per_second, 1)
    bench.say(f"once: rq-forking {per_second:.0f} jobs/s")
