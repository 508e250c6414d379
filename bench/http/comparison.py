"""Requests per second of contestants on the trigger route, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Floor, Outcome
from bench.http import contestants as who
from bench.http import requests
from bench.http.access import prepare_callers
from bench.http.turn import await_ready, check_stored, drive, empty_jobs
from bench.plan import Bench
from bench.processes import Programs
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
        seen = drive(programs, bench.folder, bench.plan, port, asked, connections=bench.plan.connections)
    check_stored(running, seen, bench.plan.connections)
    name = contestant.name
    p50, p99 = seen.percentile_ms(50), seen.percentile_ms(99)
    bench.say(f"{label}: {name} {seen.per_second:.0f} requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    return {
        f"requests_per_second/{name}": seen.per_second,
        f"p50_ms/{name}": p50,
        f"p99_ms/{name}": p99,
        f"client_cores/{name}": seen.client_cores,
    }
