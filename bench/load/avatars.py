"""What an avatar costs: it is moderated, drawn and stored by the worker, a few at a time."""

from __future__ import annotations

import time

import httpx

from bench.figures import Outcome
from bench.load.deployment import Deployment
from bench.plan import Bench
from bench.processes import BenchError, Usage
from bench.servers import OURS

PATH = "/api/v1/avatars"
DONE_SECONDS_MAX = 120.0
POLL_SECONDS = 0.1
_ENDED = "SELECT state, count(*) FROM jobs WHERE source_type = 'avatar' GROUP BY state"


def measure(bench: Bench, deployment: Deployment, outcome: Outcome) -> None:
    """Hand in avatars one after the other, and note how long they take and what they cost."""
    deployment.empty()
    count = bench.plan.avatars
    with Usage(deployment.groups()) as usage, httpx.Client(timeout=30) as client:
        started = time.monotonic()
        for number in range(count):
            answer = client.post(
                f"http://127.0.0.1:{deployment.port}{PATH}",
                json={"prompt": f"a calm fox with a green hat, number {number}"},
                headers=dict(deployment.callers[number % len(deployment.callers)]),
            )
            if answer.status_code != httpx.codes.ACCEPTED:
                raise BenchError(f"an avatar was not accepted: {answer.status_code} {answer.text}")
        _await_all(deployment, count)
        passed = time.monotonic() - started
    deployment.empty()
    outcome.facts |= {
        "avatars": count,
        "avatars_per_second": round(count / passed, 1),
        "avatar_cpu_ms": {name: round(1000 * cpu / count, 2) for name, cpu in usage.cpu_seconds.items()},
    }
    bench.say(f"once: {count / passed:.0f} avatars/s, CPU in ms of each {outcome.facts['avatar_cpu_ms']}")


def _await_all(deployment: Deployment, count: int) -> None:
    give_up_at = time.monotonic() + DONE_SECONDS_MAX
    states: dict[object, object] = {}
    while time.monotonic() < give_up_at:
        states = {row[0]: row[1] for row in deployment.servers.postgres.rows(_ENDED, OURS)}
        if states == {"succeeded": count}:
            return
        time.sleep(POLL_SECONDS)
    raise BenchError(f"of {count} avatars after {DONE_SECONDS_MAX:g} s: {states}")
