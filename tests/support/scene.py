"""A directed run of the ledger on plain processes: an API, workers, clients, and the final read."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx

from chaos.ledger.checks import check
from chaos.ledger.client import Client, Tally
from chaos.ledger.database import Tables
from chaos.ledger.findings import Finding
from chaos.ledger.history import History, read_history
from chaos.ledger.reading import Reader, observe
from chaos.ledger.submissions import submissions
from chaos.ledger.workload import Work
from tests.support.access import headers_of
from tests.support.service import ROOT, ServiceProcess

CLIENTS = ("acme", "globex")
SETTLE_SECONDS_MAX = 25.0


def mutated_service(folder: Path, mutate: Callable[[Path], None]) -> Path:
    """Return a folder with a copy of the service in which something has been broken."""
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    mutate(folder / "app")
    return folder


class Scene:
    """Starts processes of one service, submits to it, and judges what became of it."""

    def __init__(
        self, stack: ExitStack, root: Path, settings: Mapping[str, str], dsn: Mapping[str, object], home: Path
    ) -> None:
        self._stack = stack
        self._root = root
        self._settings = settings
        self._history = stack.enter_context(History(home / "history.jsonl"))
        self.tables = Tables(dsn, CLIENTS)
        self.tables.begin()
        self._tally = Tally()

    def start(self, *programs: tuple[str, str], **overrides: str) -> list[ServiceProcess]:
        """Start (module, instance) side by side and wait until all live."""
        started = [
            ServiceProcess(module, {**self._settings, "DCS_INSTANCE": instance, **overrides}, root=self._root)
            for module, instance in programs
        ]
        for process in started:
            self._stack.callback(process.close)
        for process in started:
            process.wait_until_live()
        return started

    def submit(self, api: ServiceProcess, client: str, works: Mapping[str, Work]) -> list[str | None]:
        """Submit each work under its key, one after the other, and return the jobs' ids."""

        async def all_of_them() -> list[str | None]:
            async with httpx.AsyncClient(base_url=api.url, timeout=5, trust_env=False) as http:
                one = Client(client, http, headers_of(client), self._history, self._tally)
                give_up_at = time.monotonic() + 10
                return [
                    await one.submit(key, work, give_up_at=lambda: give_up_at) for key, work in works.items()
                ]

        return asyncio.run(all_of_them())

    def judge(self, api: ServiceProcess) -> dict[str, Finding]:
        """Wait for all jobs, read back, and check everything."""
        settled = self.tables.settle(SETTLE_SECONDS_MAX)
        submitted = submissions(read_history(self._history.path))
        reader = Reader(api.url, {client: headers_of(client) for client in CLIENTS}, seed=1)
        observed = observe(reader, self.tables, submitted, self.tables.locks(), settled)
        return {finding.check: finding for finding in check(submitted, observed)}


def broken(findings: Mapping[str, Finding]) -> dict[str, Sequence[str]]:
    """Return the checks that are red, and why."""
    return {
        name: [str(violation) for violation in finding.violations]
        for name, finding in findings.items()
        if finding.violations
    }
