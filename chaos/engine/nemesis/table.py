"""The table of the nemesis: fault by what it hits. Pure: which cells there are, and what each one is."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

DOWN = "down"
KILL = "kill"
PAUSE = "pause"
FLUSH = "flushall"
ROLLING_RESTART = "rolling-restart"

Attributes = Mapping[str, int]

# What Toxiproxy calls them, and in what range each of their attributes is drawn (ms, KB/s, bytes, µs).
TOXICS: Mapping[str, Callable[[random.Random], Attributes]] = {
    "latency": lambda rng: {"latency": rng.randint(300, 1200), "jitter": rng.randint(0, 200)},
    "bandwidth": lambda rng: {"rate": rng.randint(4, 12)},
    "slow_close": lambda rng: {"delay": rng.randint(600, 2000)},
    # 0 is a black hole that never ends.
    "timeout": lambda rng: {"timeout": rng.choice((0, rng.randint(200, 1500)))},
    "reset_peer": lambda rng: {"timeout": rng.choice((0, rng.randint(50, 500)))},
    "slicer": lambda rng: {
        "average_size": rng.randint(128, 512),
        "size_variation": rng.randint(0, 64),
        "delay": rng.randint(8_000, 25_000),
    },
    "limit_data": lambda rng: {"bytes": rng.randint(1_500, 6_000)},
}

# What a third party does wrong, by the behaviour it is told.
MISHAPS: Mapping[str, Mapping[str, float]] = {
    "upstream-slow": {"slow_rate": 1.0, "slow_seconds": 10.0},
    "upstream-error": {"error_rate": 1.0},
    "upstream-garbage": {"garbage_rate": 1.0},
    "upstream-throttled": {"rate_limit_rate": 1.0},
}
MODERATION = "moderation-api"

# What may go wrong with any notification, by what the relay of S3 events calls it and is told.
EVENT_MISHAPS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "events-duplicated": ("duplicated", {"duplicate_rate": 0.8}),
    "events-reordered": ("reordered", {"reorder_rate": 0.8}),
    "events-lost": ("lost", {"lose_rate": 0.8}),
}
S3_EVENTS = "s3-events"

# Only answers that the probe can make long enough tell these three from a healthy path.
_BY_VOLUME = frozenset({"bandwidth", "slicer", "limit_data"})
_SHORT_ANSWERS = frozenset({"postgres", "client-postgres", "s3"})
UPSTREAM, DOWNSTREAM = "upstream", "downstream"


@dataclass(frozen=True)
class Cell:
    """One fault on one target: a path (proxy) for faults of the network, a program else."""

    fault: str
    target: str

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{self.fault}:{self.target}"

    @property
    def is_network(self) -> bool:
        """Whether it is a fault of a path."""
        return self.fault == DOWN or self.fault in TOXICS

    def streams(self) -> tuple[str, ...]:
        """Return the directions in which the fault can be proven on this path."""
        if self.fault == "slow_close":
            return (DOWNSTREAM,)
        if self.fault in _BY_VOLUME and self.target in _SHORT_ANSWERS:
            return (UPSTREAM,)
        return (UPSTREAM, DOWNSTREAM)


@dataclass(frozen=True)
class Impossible:
    """A fault the table should have, and why this machine cannot do it."""

    fault: str
    reason: str


APIS = ("api-1", "api-2")
WORKERS = ("worker-1", "worker-2")
SERVICE = (*APIS, *WORKERS)
KILLED = (*WORKERS, *APIS, "redis", "postgres", "seaweedfs", S3_EVENTS)
PAUSED = (*WORKERS, *APIS, "redis", "seaweedfs")

_CLOCK = Impossible(
    "clock step",
    "the clock belongs to the whole machine, and Linux has no name space for it. Leases, retries and "
    "schedules go by the database's clock alone",
)
_DISK = Impossible("disk full", "needs a file system of its own for PostgreSQL, which needs root")
_EVENTS = Impossible("duplicate S3 events", "this stack has no S3")


def not_possible(paths: Sequence[str]) -> list[Impossible]:
    """Return what should be in the table of a stack with these paths and cannot be."""
    return [_CLOCK, _DISK] + ([] if "s3" in paths else [_EVENTS])


def table(paths: Sequence[str], programs: Sequence[str]) -> list[Cell]:
    """Return every cell, in a fixed order that mixes kinds, for the paths and programs of a stack."""
    cells = [Cell(fault, path) for path in paths for fault in (DOWN, *TOXICS)]
    cells += [Cell(KILL, program) for program in KILLED if program in programs]
    cells += [Cell(PAUSE, program) for program in PAUSED if program in programs]
    cells += [Cell(fault, MODERATION) for fault in MISHAPS if MODERATION in programs]
    cells += [Cell(fault, S3_EVENTS) for fault in EVENT_MISHAPS if S3_EVENTS in programs]
    cells += [Cell(FLUSH, "redis"), Cell(ROLLING_RESTART, "service")]
    # Every third of it must hold some of each kind, whatever was appended last.
    random.Random(0).shuffle(cells)  # noqa: S311  an order, not a secret
    return sorted(cells, key=lambda cell: not cell.is_network)
