"""One contestant's turn: drive load, then see in the database that every answer was true."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.figures import percentile
from bench.plan import Plan
from bench.processes import PYTHON, BenchError, Programs
from bench.servers import OURS, Servers

READY_SECONDS_MAX = 40.0
POLL_SECONDS = 0.05
CLIENT_GRACE_SECONDS = 60.0
ERRORS_PERCENT_MAX = 5.0


@dataclass(frozen=True)
class Seen:
    """What the callers saw."""

    seconds: float
    statuses: dict[str, int]
    milliseconds: list[float]
    client_cores: float
    answers_in_all: int
    """Those of the warm-up too: what they cost is counted with the rest."""

    @property
    def good(self) -> int:
        """Answers with a status of 2xx."""
        return sum(count for status, count in self.statuses.items() if status.startswith("2"))

    @property
    def per_second(self) -> float:
        """Good answers per second."""
        return self.good / self.seconds

    @property
    def errors_percent(self) -> float:
        """All other answers, and connections that were closed."""
        asked = sum(self.statuses.values())
        return 100 * (asked - self.good) / max(1, asked)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the time to answer."""
        return percentile(self.milliseconds, percent)

    @property
    def mean_ms(self) -> float:
        """Mean time to answer."""
        return sum(self.milliseconds) / max(1, len(self.milliseconds))


def together(parts: Sequence[Seen]) -> Seen:
    """Return what was seen in several parts as if it had been one."""
    seconds = sum(part.seconds for part in parts)
    statuses: Counter[str] = Counter()
    for part in parts:
        statuses.update(part.statuses)
    return Seen(
        seconds,
        dict(statuses),
        [each for part in parts for each in part.milliseconds],
        sum(part.client_cores * part.seconds for part in parts) / seconds,
        sum(part.answers_in_all for part in parts),
    )


def await_ready(programs: Programs, port: int, path: str) -> None:
    """Return when the contestant serves."""
    give_up_at = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < give_up_at:
        programs.check()
        with suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2).is_success:
                return
        time.sleep(POLL_SECONDS)
    raise BenchError(f"{programs.running[-1].name} does not serve {path}: {programs.running[-1].tail()}")


def drive(
    programs: Programs, folder: Path, plan: Plan, port: int, requests: Sequence[str], *, connections: int
) -> Seen:
    """Drive load and return what was seen."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        asked, out = Path(name) / "requests.json", Path(name) / "seen.json"
        asked.write_text(json.dumps(list(requests)), encoding="utf-8")
        times = ["--warm-up-seconds", str(plan.warm_up_seconds), "--seconds", str(plan.seconds)]
        where = ["--port", str(port), "--connections", str(connections)]
        programs.run(
            "client",
            [PYTHON, "-m", "bench.http.client", *where, *times, "--requests", asked, "--out", out],
            {},
            plan.warm_up_seconds + plan.seconds + CLIENT_GRACE_SECONDS,
        )
        seen = json.loads(out.read_text(encoding="utf-8"))
    if not seen["milliseconds"]:
        raise BenchError(f"nothing was answered on port {port}: {seen['statuses']}")
    return Seen(
        seen["seconds"],
        seen["statuses"],
        seen["milliseconds"],
        seen["cpu_cores"],
        seen["answers_in_all"],
    )


def empty_jobs(servers: Servers) -> None:
    """Make every turn start from an empty table."""
    servers.postgres.execute("TRUNCATE jobs CASCADE", OURS)
    servers.postgres.execute("CHECKPOINT")


def jobs_stored(servers: Servers) -> int:
    """Return how many jobs are in the database."""
    return int(str(servers.postgres.rows("SELECT count(*) FROM jobs", OURS)[0][0]))


def check_stored(stored: int, seen: Seen) -> None:
    """Raise unless every job that was accepted is in the database (those of the warm-up are there too)."""
    accepted = seen.statuses.get("202", 0)
    if stored < accepted:
        raise BenchError(f"{accepted} jobs were accepted and {stored} are stored")


def check_answers(seen: Seen) -> None:
    """Raise when there were so many errors that a comparison would say nothing."""
    if seen.errors_percent > ERRORS_PERCENT_MAX:
        raise BenchError(f"too many errors for a comparison: {seen.statuses}")
