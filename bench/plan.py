"""How much is measured. The defaults are those of ``make bench``; a test makes them small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

SECTIONS = ("jobs", "trigger", "telemetry", "ingest", "load")


@dataclass(frozen=True)
class Plan:
    """Sizes and times of one run."""

    rounds: int = 5
    sections: tuple[str, ...] = SECTIONS
    jobs: int = 10_000
    warm_up_jobs: int = 200
    processes: int = 2
    """Workers, each with as many threads; RQ gets a process for each thread instead."""
    threads: int = 4
    rate_per_second: float = 100.0
    """At which jobs arrive when it is not a burst."""
    rate_seconds: float = 8.0
    """0: no more than the burst."""
    connections: int = 32
    warm_up_seconds: float = 2.0
    seconds: float = 8.0
    """How long one contestant answers requests in one round."""
    parts: int = 4
    """Into which that is divided where two contestants answer by turns."""
    part_warm_up_seconds: float = 0.3
    load_connections: tuple[int, ...] = (1, 32, 256)
    load_seconds: float = 5.0
    """The same under load, where there are more turns."""
    avatars: int = 60
    ingest_bytes: int = 100_000_000
    memory_bytes: tuple[int, ...] = (10_000_000, 100_000_000, 1_000_000_000)
    handicap_ms: float = 0.0
    """Puts the service at a disadvantage in every section that can be told so, to see that it is told."""
    against_self: bool = False
    """Compare with this service itself, which needs no other environment."""

    def part(self, seconds: float) -> Plan:
        """Return a plan for a part of a round."""
        return replace(self, seconds=seconds, warm_up_seconds=self.part_warm_up_seconds)


@dataclass(frozen=True)
class Bench:
    """What every section works with."""

    plan: Plan
    folder: Path
    """For logs and files, gone at the end unless something failed."""
    say: Callable[[str], None]
