"""What is in use while requests come in: the machine, pools of connections, PostgreSQL, memory."""

from __future__ import annotations

import re
import statistics
import threading
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx
import psutil

from bench.load.deployment import APIS, Deployment
from bench.processes import Group, pss_bytes, rss_bytes
from bench.servers import OURS

INTERVAL_SECONDS = 0.25
MEMORY_EVERY = 4
"""Looking at the memory of a process costs it a little; once a second is enough."""
MEBIBYTE = 1024**2

_ACTIVITY = f"""
    SELECT application_name, state <> 'idle', state = 'active' AND wait_event_type IN ('IO', 'LWLock', 'Lock')
    FROM pg_stat_activity WHERE datname = '{OURS}' AND backend_type = 'client backend'
"""  # noqa: S608  a constant
_SAMPLE = re.compile(r"^dcs_db_pool_wait_seconds_(?P<what>sum|count) (?P<value>\S+)$", re.MULTILINE)


def memory_mib(processes: Mapping[str, Group]) -> dict[str, tuple[float, float]]:
    """Return RSS and PSS of each process."""
    return {
        name: (rss_bytes(group()) / MEBIBYTE, pss_bytes(group()) / MEBIBYTE)
        for name, group in processes.items()
    }


class Watch:
    """Looks while a body runs. What it costs is a query and a few files four times a second."""

    def __init__(self, deployment: Deployment, pool_size: int) -> None:
        self._deployment = deployment
        self._pool_size = pool_size
        self._processes = deployment.processes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._machine: list[float] = []
        self._in_use: list[float] = []
        self._waiting: list[float] = []
        self._failed: BaseException | None = None
        self._waited = (0.0, 0.0)
        self.memory_mib: dict[str, tuple[float, float]] = {}
        """The most of each process, RSS and PSS."""

    def __enter__(self) -> Self:
        self._waited = self._pool_waits()
        psutil.cpu_percent()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._failed is not None and error is None:
            raise self._failed
        before, after = self._waited, self._pool_waits()
        self._waited = (after[0] - before[0], after[1] - before[1])

    @property
    def measures(self) -> dict[str, float]:
        """Shares are of 1; the machine's and PostgreSQL's are medians, so that the start weighs nothing."""
        seconds, count = self._waited
        return {
            "machine_busy": _median(self._machine),
            "pool_in_use": _median(self._in_use),
            "pool_wait_ms": 1000 * seconds / max(1.0, count),
            "postgres_waiting": _median(self._waiting),
        }

    def _look_on(self) -> None:
        try:
            with self._deployment.servers.postgres.connection(OURS) as connection:
                number = 0
                while not self._ended.wait(INTERVAL_SECONDS):
                    self._machine.append(psutil.cpu_percent() / 100)
                    with connection.cursor() as cursor:
                        cursor.execute(_ACTIVITY)
                        self._note(cursor.fetchall())
                    if number % MEMORY_EVERY == 0:
                        self._note_memory()
                    number += 1
        except BaseException as exc:  # noqa: BLE001  raised where the body ends
            self._failed = exc

    def _note(self, rows: list[tuple[str, bool, bool]]) -> None:
        in_use = Counter(name for name, busy, _ in rows if busy)
        self._in_use.append(max(in_use[name] for name in APIS) / self._pool_size)
        self._waiting.append(sum(waits is True for _, _, waits in rows))

    def _note_memory(self) -> None:
        for name, (rss, pss) in memory_mib(self._processes).items():
            most = self.memory_mib.get(name, (0.0, 0.0))
            self.memory_mib[name] = (max(rss, most[0]), max(pss, most[1]))

    def _pool_waits(self) -> tuple[float, float]:
        totals = {"sum": 0.0, "count": 0.0}
        for name in APIS:
            text = httpx.get(f"http://127.0.0.1:{self._deployment.ports[name]}/metrics", timeout=10).text
            for match in _SAMPLE.finditer(text):
                totals[match["what"]] += float(match["value"])
        return totals["sum"], totals["count"]


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0
