"""What a number of requests a second takes, computed from what one request was measured to cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.settings import Settings
from app.worker import EXTRA_CONNECTIONS
from bench.documents.report import Report
from bench.load.section import READ, TRIGGER

PER_SECOND = 1000
BUSY_MAX = 0.7
"""Of a core in the long run; what is fuller makes callers wait whenever a few come at once."""
WORKER_THREADS: int = Settings.model_fields["worker_threads"].default
WORKER_EXTRA_CONNECTIONS = EXTRA_CONNECTIONS
RATE_LIMIT_DEFAULT_PER_MINUTE: int = Settings.model_fields["access_rate_limit_per_minute"].default
CLIENTS = 20


@dataclass(frozen=True)
class Part:
    """One kind of process. A millisecond of CPU for each request is one core at 1000 requests a second."""

    name: str
    cpu_ms: float
    one_core_each: bool
    """A process of it uses no more than one core, so that there must be several."""

    @property
    def cores(self) -> float:
        """At ``PER_SECOND``."""
        return self.cpu_ms * PER_SECOND / 1000

    @property
    def per_second_each(self) -> float:
        """Requests that one process of it takes."""
        return BUSY_MAX * 1000 / self.cpu_ms if self.cpu_ms else math.inf

    @property
    def processes(self) -> int | None:
        """How many, none busier than ``BUSY_MAX``; None where cores may be added to one."""
        return max(1, math.ceil(self.cores / BUSY_MAX)) if self.one_core_each else None


@dataclass(frozen=True)
class Need:
    """What one kind of load takes."""

    parts: Sequence[Part]
    connection_ms: float
    """How long a request holds a connection of the pool."""

    @property
    def cores(self) -> float:
        """Of all, at ``PER_SECOND``."""
        return sum(part.cores for part in self.parts)

    @property
    def cores_to_have(self) -> int:
        """With room for what comes at once."""
        return math.ceil(self.cores / BUSY_MAX)

    def of(self, name: str) -> Part:
        """Return one part."""
        return next(part for part in self.parts if part.name == name)

    @property
    def connections_busy(self) -> float:
        """At a time, on average."""
        return self.connection_ms * PER_SECOND / 1000


class Capacity:
    """The figures of ``docs/howto/capacity.md``."""

    def __init__(self, report: Report) -> None:
        self._report = report
        # Of the numbers of connections that were measured, the middle one: busy, and not overrun.
        measured = sorted({int(name.split("/")[1]) for name in report.names("load", "mean_ms")})
        self.connections = measured[len(measured) // 2]
        self.pool_size = int(report.facts("load")["pool_size"])
        self.reads = self._need(READ, workers_ms=0.0, postgres_ms=self._cpu(READ, "PostgreSQL"))
        # Workers are behind while a burst lasts: what a job costs is taken from where all of them ended.
        self.triggers = self._need(
            TRIGGER,
            workers_ms=report.median("jobs", "workers_cpu_ms/ours"),
            postgres_ms=report.median("jobs", "postgres_cpu_ms/ours"),
        )

    def _cpu(self, route: str, group: str) -> float:
        return self._report.median("load", f"cpu_ms/{group}/{route}/{self.connections}")

    def _need(self, route: str, *, workers_ms: float, postgres_ms: float) -> Need:
        at = f"{route}/{self.connections}"
        in_use = self._report.median("load", f"pool_in_use/{at}") * self.pool_size
        per_api = (
            self._report.median("load", f"requests_per_second/{at}") / self._report.facts("load")["apis"]
        )
        parts = [
            Part("nginx", self._cpu(route, "nginx"), one_core_each=True),
            Part("APIs", self._cpu(route, "APIs"), one_core_each=True),
            Part("workers", workers_ms, one_core_each=True),
            Part("PostgreSQL", postgres_ms, one_core_each=False),
            Part("Redis", self._cpu(route, "Redis"), one_core_each=True),
        ]
        shown = [part for part in parts if part.cpu_ms or part.name == "nginx"]
        return Need(shown, 1000 * in_use / per_api if per_api else 0.0)

    def connections_kept(self, need: Need) -> int:
        """Return how many connections PostgreSQL must allow, all pools full."""
        kept = 0
        for part in need.parts:
            each = {"APIs": self.pool_size, "workers": WORKER_THREADS + WORKER_EXTRA_CONNECTIONS}.get(
                part.name, 0
            )
            kept += (part.processes or 0) * each
        return kept

    def memory_mib(self, need: Need) -> float:
        """Return the memory of the service's own processes under load, shared pages counted once."""
        told = self._report.facts("load")["memory_mib"]
        of = {"APIs": "api-1", "workers": "worker-1", "nginx": "nginx"}
        return sum(
            float(told[of[part.name]]["load"][1]) * (part.processes or 0)
            for part in need.parts
            if part.name in of
        )

    @property
    def keys_at_default_limit(self) -> int:
        """How many keys may together ask ``PER_SECOND`` without a limit of their own."""
        return PER_SECOND * 60 // RATE_LIMIT_DEFAULT_PER_MINUTE

    @property
    def limit_of_each_client_per_minute(self) -> int:
        """What ``CLIENTS`` clients with a key each need."""
        return PER_SECOND * 60 // CLIENTS

    @property
    def avatar_cpu_ms(self) -> float:
        """What an avatar costs in all."""
        each: Mapping[str, float] = self._report.facts("load")["avatar_cpu_ms"]
        return sum(each.values())

    @property
    def avatars_per_worker_per_second(self) -> float:
        """With moderation in the process itself, as measured."""
        facts = self._report.facts("load")
        return float(facts["avatars_per_second"]) / float(facts["workers"])

    def avatars_per_worker_while_moderation_takes(self, seconds: float) -> float:
        """Return avatars per second of a worker that moderates one at a time by a call."""
        return 1 / (seconds + 1 / self.avatars_per_worker_per_second)
