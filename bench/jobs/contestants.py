"""Who runs the jobs: this service, Celery in two shapes, RQ. Each with the same workers in number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.plan import Plan
from bench.processes import COMPARATORS_PYTHON, PYTHON, Programs
from bench.servers import OURS, PLAIN, Servers
from tests.support.ports import free_port

CELERY_APP = "bench.comparators.celery_app"


@dataclass(frozen=True)
class Ledger:
    """Where a contestant's rows are, to be counted there."""

    database: str
    table: str
    empty: str


OUR_LEDGER = Ledger(OURS, "records", "TRUNCATE jobs, records CASCADE")
PLAIN_LEDGER = Ledger(PLAIN, "rows", "TRUNCATE rows")


class Contestant(Protocol):
    """One way to run the jobs."""

    @property
    def name(self) -> str:
        """What its figures are called."""

    @property
    def ledger(self) -> Ledger:
        """Where its rows are."""

    def start(self, programs: Programs) -> None:
        """Start its workers."""

    def submitter(self) -> tuple[list[str | Path], dict[str, str]]:
        """Return command and settings of the process that hands in jobs."""


@dataclass(frozen=True)
class Ours:
    """The workers of this service. ``handicap_ms`` slows each job down."""

    servers: Servers
    plan: Plan
    name: str = "ours"
    handicap_ms: float = 0.0
    ledger: Ledger = OUR_LEDGER

    def start(self, programs: Programs) -> None:
        """Start its workers."""
        for number in range(1, self.plan.processes + 1):
            settings = {
                **self.servers.service_settings(),
                "DCS_INSTANCE": f"bench-worker-{number}",
                "DCS_PORT": str(free_port()),
                "DCS_WORKER_THREADS": str(self.plan.threads),
            }
            programs.start(
                f"{self.name}-worker-{number}",
                [PYTHON, "-m", "bench.jobs.ours_worker", "--handicap-ms", str(self.handicap_ms)],
                settings,
            )

    def submitter(self) -> tuple[list[str | Path], dict[str, str]]:
        """Return command and settings of the process that hands in jobs."""
        settings = {**self.servers.service_settings(), "DCS_INSTANCE": "bench-api-1"}
        return [PYTHON, "-m", "bench.jobs.ours_submit"], settings


def _comparator_settings(servers: Servers) -> dict[str, str]:
    return {"BENCH_BROKER": servers.broker_url, "BENCH_DSN": servers.plain_dsn}


@dataclass(frozen=True)
class Celery:
    """Celery with one of its pools: ``threads`` or ``prefork``."""

    servers: Servers
    plan: Plan
    pool: str
    ledger: Ledger = PLAIN_LEDGER

    @property
    def name(self) -> str:
        """What its figures are called."""
        return f"celery-{self.pool}"

    def start(self, programs: Programs) -> None:
        """Start its workers."""
        # A prefork pool is one parent with a process per unit of concurrency.
        processes, concurrency = (
            (1, self.plan.processes * self.plan.threads)
            if self.pool == "prefork"
            else (self.plan.processes, self.plan.threads)
        )
        for number in range(1, processes + 1):
            worker = [
                "worker",
                "--pool",
                self.pool,
                "--concurrency",
                str(concurrency),
                "--loglevel",
                "WARNING",
            ]
            quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
            argv: list[str | Path] = [
                COMPARATORS_PYTHON,
                "-m",
                "celery",
                "-A",
                "bench.comparators.celery_app",
            ]
            programs.start(
                f"{self.name}-worker-{number}",
                [*argv, *worker, *quiet, "--hostname", f"w{number}@bench"],
                _comparator_settings(self.servers),
            )

    def submitter(self) -> tuple[list[str | Path], dict[str, str]]:
        """Return command and settings of the process that hands in jobs."""
        argv: list[str | Path] = [COMPARATORS_PYTHON, "-m", CELERY_APP]
        return argv, _comparator_settings(self.servers)


@dataclass(frozen=True)
class Rq:
    """RQ: a process has no threads, so it gets as many processes as others have threads in all."""

    servers: Servers
    plan: Plan
    kind: str = "simple"
    ledger: Ledger = PLAIN_LEDGER

    @property
    def name(self) -> str:
        """What its figures are called."""
        return f"rq-{self.kind}"

    def start(self, programs: Programs) -> None:
        """Start its workers."""
        for number in range(1, self.plan.processes * self.plan.threads + 1):
            programs.start(
                f"{self.name}-worker-{number}",
                [COMPARATORS_PYTHON, "-m", "bench.comparators.rq_worker", self.kind],
                _comparator_settings(self.servers),
            )

    def submitter(self) -> tuple[list[str | Path], dict[str, str]]:
        """Return command and settings of the process that hands in jobs."""
        argv: list[str | Path] = [COMPARATORS_PYTHON, "-m", "bench.comparators.rq_submit"]
        return argv, _comparator_settings(self.servers)
