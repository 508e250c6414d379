"""Requests per second of contestants on the trigger route, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Floor, Outcome
from bench.http import contestants as who
from bench.http import requests
from bench.http.access import prepare_callers
from bench.http.turn import (
    Seen,
    await_ready,
    check_answers,
    check_stored,
    drive,
    empty_jobs,
    jobs_stored,
    together,
)
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
            outcome.add(_round(bench, running, pair, asked, f"round {number}"))
    floor = Floor(
        title, f"requests_per_second/{pair[0].name}", (f"requests_per_second/{pair[1].name}",), ratio_min
    )
    outcome.judgements.append(floor.judge(outcome.rounds))
    return outcome


def _round(
    bench: Bench, running: Servers, pair: Sequence[who.Contestant], asked: Sequence[str], label: str
) -> dict[str, float]:
    """Let both serve, and ask one and the other by turns: what else the machine does is then everybody's."""
    empty_jobs(running)
    measures: dict[str, float] = {}
    with Programs(bench.folder) as programs:
        turns = [_Turns(bench, running, programs, contestant, asked) for contestant in pair]
        for number in range(bench.plan.parts):
            for turn in turns if number % 2 == 0 else reversed(turns):  # nobody always comes after the other
                turn.take()
        for turn in turns:
            measures |= turn.measures(label)
    return measures


class _Turns:
    """One contestant in one round, started and warm."""

    def __init__(
        self,
        bench: Bench,
        running: Servers,
        programs: Programs,
        contestant: who.Contestant,
        asked: Sequence[str],
    ) -> None:
        self._bench, self._running, self._programs, self._asked = bench, running, programs, asked
        self._name = contestant.name
        self._port = contestant.start(running, programs)
        await_ready(programs, self._port, contestant.ready_path)
        self._groups = {
            "server": family_of(programs.running[-1].process.pid),
            "postgres": family_of(running.postgres.pid),
        }
        self._seen: list[Seen] = []
        self._cpu_seconds = dict.fromkeys(self._groups, 0.0)
        self._drive(bench.plan.warm_up_seconds)

    def take(self) -> None:
        """Be asked for a part of the round."""
        plan = self._bench.plan
        before = jobs_stored(self._running)
        with Usage(self._groups) as usage:
            seen = self._drive(plan.seconds / plan.parts)
        check_stored(jobs_stored(self._running) - before, seen)
        check_answers(seen)
        self._seen.append(seen)
        for name, seconds in usage.cpu_seconds.items():
            self._cpu_seconds[name] += seconds

    def _drive(self, seconds: float) -> Seen:
        bench, plan = self._bench, self._bench.plan.part(seconds)
        return drive(
            self._programs, bench.folder, plan, self._port, self._asked, connections=plan.connections
        )

    def measures(self, label: str) -> dict[str, float]:
        """Return what was seen in all parts."""
        name, seen = self._name, together(self._seen)
        p50, p99 = seen.percentile_ms(50), seen.percentile_ms(99)
        server_ms, postgres_ms = (
            1000 * self._cpu_seconds[each] / seen.answers_in_all for each in ("server", "postgres")
        )
        self._bench.say(
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
