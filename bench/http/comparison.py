"""Requests per second of contestants on the trigger route, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Floor, Outcome
from bench.http import contestants as who
from bench.http import requests
from bench.http.access import prepare_callers
from bench.http.turn import await_ready, check_answers, check_stored, drive, empty_jobs, jobs_stored
from bench.plan import Bench
from bench.processes import Programs, Usage, family_of
from bench.servers import Servers, servers

TRIGGER_RATIO_MIN = 0.7
TELEMETRY_RATIO_MIN = 0.9


def run_trigger(bench: Bench) -> Outcome:
    """Compare the trigger route with a bare handler that inserts one row."""
    return _compare(
        bench, "trigger", "Trigger route against a bare handler", (who.SERVICE, who.BARE), TRIGGER_RATIO_MIN
    )


def run_telemetry(bench: Bench) -> Outcome:
    """Compare the trigger route with itself, without telemetry."""
    return _compare(
        bench, "telemetry", "Full telemetry against none", (who.FULL, who.SILENT), TELEMETRY_RATIO_MIN
    )


def _compare(
    bench: Bench, section: str, title: str, pair: Sequence[who.Contestant], ratio_min: float
) -> Outcome:
    outcome = Outcome(section, facts={"connections": bench.plan.connections, "pool_size": who.POOL_SIZE})
    with servers() as running:
        callers = prepare_callers(running)
        asked = [requests.trigger(headers) for headers in callers]
        for number in range(1, bench.plan.rounds + 1):
            for contestant in pair:
                outcome.add(_turn(bench, running, contestant, asked, f"round {number}"))
    floor = Floor(
        title, f"requests_per_second/{pair[0].name}", (f"requests_per_second/{pair[1].name}",), ratio_min
    )
    outcome.judgements.append(floor.judge(outcome.rounds))
    return outcome


def _turn(
    bench: Bench, running: Servers, contestant: who.Contestant, asked: Sequence[str], label: str
) -> dict[str, float]:
    empty_jobs(running)
    with Programs(bench.folder) as programs:
        port = contestant.start(running, programs)
        await_ready(programs, port, contestant.ready_path)
        groups = {
            "server": family_of(programs.running[-1].process.pid),
            "postgres": family_of(running.postgres.pid),
        }
        with Usage(groups) as usage:
            seen = drive(programs, bench.folder, bench.plan, port, asked, connections=bench.plan.connections)
        stored = jobs_stored(running)
    check_stored(stored, seen)
    check_answers(seen)
    name = contestant.name
    p50, p99 = seen.percentile_ms(50), seen.percentile_ms(99)
    # Of the warm-up too: every job in the table has cost this much.
    server_ms, postgres_ms = (1000 * usage.cpu_seconds[each] / stored for each in ("server", "postgres"))
    bench.say(
        f"{label}: {name} {seen.per_second:.0f} requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"CPU of server {server_ms:.2f} ms and of PostgreSQL {postgres_ms:.2f} ms each"
    )
    return {
        f"requests_per_second/{name}": seen.per_second,
        f"p50_ms/{name}": p50,
        f"p99_ms/{name}": p99,
        f"server_cpu_ms/{name}": server_ms,
        f"postgres_cpu_ms/{name}": postgres_ms,
        f"client_cores/{name}": seen.client_cores,
    }
