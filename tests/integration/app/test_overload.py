"""A database that is slow: what the API does with more requests than it can serve."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.access import headers_of
from tests.support.callers import Caller
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import TcpForwarder

CALLERS = 60
SLOW_SECONDS = 0.25
"""Of each answer of the database; a list of jobs takes one."""
OVERLOAD_SECONDS = 3.0
PAUSE_SECONDS = 0.05  # of a caller that was refused: far less than the Retry-After it got
WAIT_SECONDS = 1.0
PLACES = 5
SERVED_IN_TIME = PLACES * WAIT_SECONDS / SLOW_SECONDS
WAITING_MAX = 1.5 * SERVED_IN_TIME
"""Places become free in bunches here, and each bunch is taken for the beginning of more."""
LONGEST_SECONDS = WAIT_SECONDS + 6 * SLOW_SECONDS + 1.5
"""A wait that was worth it, the transaction, and a machine that does other things too."""

RECOVERY_SECONDS = 1.0


@dataclass
class Seen:
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    slugs: Counter[str] = field(default_factory=Counter)
    refused_at: list[float] = field(default_factory=list)
    other: list[int] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    figures: list[tuple[float, float, int]] = field(default_factory=list)
    """Requests in flight, requests waiting for the database, threads."""


async def ask(caller: Caller, seen: Seen) -> bool:
    asked = time.monotonic()
    answer = await caller.get("/api/v1/jobs")
    seconds = time.monotonic() - asked
    if answer.status == 200:
        seen.accepted.append(seconds)
    elif answer.status == 503:
        assert answer.headers["retry-after"], answer
        assert answer.headers["content-type"] == "application/problem+json"
        seen.refused.append(seconds)
        seen.refused_at.append(asked)
        seen.slugs[answer.json()["type"]] += 1
    else:
        seen.other.append(answer.status)
    return answer.status == 200


async def call_until(end: float, api: ServiceProcess, seen: Seen) -> None:
    with Caller(api.url, headers_of("acme")) as caller:
        while time.monotonic() < end:
            if not await ask(caller, seen):
                await asyncio.sleep(PAUSE_SECONDS)


async def watch_until(end: float, api: ServiceProcess, seen: Seen) -> None:
    status = Path(f"/proc/{api.process.pid}/status")
    with Caller(api.url, headers_of("acme")) as caller:
        while time.monotonic() < end:
            asked = time.monotonic()
            assert (await caller.get("/health/live")).status == 200
            seen.live.append(time.monotonic() - asked)
            text = (await caller.get("/metrics")).body.decode()
            threads = await asyncio.to_thread(status.read_text)
            waiting = sample(text, 'dcs_slots{pool="database",state="waiting"}')
            in_flight = sample(text, "dcs_http_requests_in_flight")
            seen.figures.append((in_flight, waiting, int(threads.split("Threads:")[1].split()[0])))
            await asyncio.sleep(0.1)


def sample(text: str, series: str) -> float:
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series + " "))


async def load(api: ServiceProcess, callers: int, seconds: float) -> Seen:
    seen = Seen()
    end = time.monotonic() + seconds
    tasks = [call_until(end, api, seen) for _ in range(callers)]
    await asyncio.gather(watch_until(end, api, seen), *tasks)
    return seen


def test_a_slow_database_gets_what_it_can_do_and_the_rest_is_told_so_at_once(
    start: Start, postgres: PostgresServer
) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        api = start("app.main", DCS_DATABASE_PORT=str(path.port), DCS_DATABASE_POOL_SIZE=str(PLACES),
                    DCS_DATABASE_POOL_TIMEOUT_SECONDS="1")  # fmt: skip
        memory_before = api.metric("process_resident_memory_bytes")
        asyncio.run(load(api, 8, 0.3))  # connections and threads exist
        path.delay_seconds = SLOW_SECONDS
        seen = asyncio.run(load(api, CALLERS, OVERLOAD_SECONDS))
        path.delay_seconds = 0.0
        healed = time.monotonic()
        after = asyncio.run(load(api, 8, 1.6))

        assert seen.other == []
        assert len(seen.accepted) >= 8, "the database's own speed is used"
        assert len(seen.refused) > 10 * len(seen.accepted)
        answers = sorted(seen.accepted + seen.refused)
        p99 = answers[int(len(answers) * 0.99)]
        assert p99 < LONGEST_SECONDS
        assert max(answers) < LONGEST_SECONDS
        assert statistics.median(seen.refused) < 0.3
        assert max(seen.live) < 1.0
        # The first wave came to a database that had been quick: it waits as long as callers may.
        _, waiting, threads = zip(*seen.figures, strict=True)
        assert max(waiting[2 * len(waiting) // 3 :]) < WAITING_MAX, (
            "nobody waits whose turn cannot come in time"
        )
        assert max(threads) < 40
        assert api.metric("process_resident_memory_bytes") < memory_before + 40 * 1024**2

        assert after.accepted
        assert after.other == []
        assert [at - healed for at in after.refused_at if at > healed + RECOVERY_SECONDS] == []
        assert api.metric("dcs_slots", pool="database", state="waiting") == 0
        assert api.metric("dcs_slots", pool="database", state="in_use") == 0
        assert api.metric("dcs_http_requests_in_flight") == 1  # this one
        shed = sum(
            api.metric("dcs_requests_shed_total", pool=pool, reason=reason)
            for pool in ("database", "checks")
            for reason in ("queue_full", "queue_slow", "waited_too_long")
        )
        assert {*seen.slugs, *after.slugs} == {"urn:dcs:problem:overloaded"}
        assert shed == len(seen.refused) + len(after.refused)
