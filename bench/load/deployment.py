"""The service as it is deployed: two APIs behind nginx, two workers, one PostgreSQL and one Redis."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.http import requests
from bench.http.access import CALLERS, prepare_callers
from bench.http.contestants import service_settings
from bench.http.turn import await_ready
from bench.plan import Bench
from bench.processes import PYTHON, BenchError, Group, Programs, family_of
from bench.servers import OURS, Servers, servers
from tests.support.monitoring import program
from tests.support.nginx import write_config
from tests.support.ports import free_port

APIS = ("api-1", "api-2")
WORKERS = ("worker-1", "worker-2")
FILE_ROWS = 10
READ_JOBS = 50
"""Jobs that are asked for in turn. They are not due yet, so every answer comes from PostgreSQL."""
_DUE_TOMORROW = """
    INSERT INTO jobs (id, client_id, source_type, config, state, max_attempts, request_id, run_at)
    VALUES ('{job_id}', '{client}', 'file', jsonb_build_object('path', '{client}/rows.csv'), 'queued', 5,
            'bench', now() + interval '1 day')
"""
EMPTY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1


@dataclass
class Deployment:
    """What runs, and what is asked of it."""

    servers: Servers
    programs: Programs
    port: int
    """Of nginx."""
    ports: Mapping[str, int]
    callers: Sequence[Mapping[str, str]]

    def processes(self) -> dict[str, Group]:
        """Return each process of the service by name, and nginx with its worker."""
        return {program.name: family_of(program.process.pid) for program in self.programs.running}

    def groups(self) -> dict[str, Group]:
        """Return who shares the machine."""
        each = self.processes()
        return {
            "nginx": each["nginx"],
            "APIs": lambda: [process for name in APIS for process in each[name]()],
            "workers": lambda: [process for name in WORKERS for process in each[name]()],
            "PostgreSQL": family_of(self.servers.postgres.pid),
            "Redis": family_of(self.servers.valkey.pid),
        }

    def triggers(self) -> list[str]:
        """Return requests that hand in jobs, which the workers run: a few rows of a file each."""
        asked = []
        for client, headers in zip(CALLERS, self.callers, strict=True):
            spec = {"source_type": "file", "config": {"path": f"{client}/rows.csv"}}
            asked.append(requests.http_request("POST", requests.TRIGGER_PATH, headers, json.dumps(spec)))
        return asked

    def reads(self) -> list[str]:
        """Store jobs that are due tomorrow, and return requests for their status."""
        asked = []
        for number in range(READ_JOBS):
            client, headers = CALLERS[number % len(CALLERS)], self.callers[number % len(CALLERS)]
            job_id = uuid.uuid4()
            self.servers.postgres.execute(_DUE_TOMORROW.format(job_id=job_id, client=client), OURS)
            asked.append(requests.http_request("GET", f"/api/v1/jobs/status/{job_id}", headers))
        return asked

    def empty(self) -> None:
        """Leave no job. What waits is dropped, what a worker has is let finish."""
        running = "SELECT count(*) FROM jobs WHERE state = 'running'"
        give_up_at = time.monotonic() + EMPTY_SECONDS_MAX
        while time.monotonic() < give_up_at:
            self.servers.postgres.execute("DELETE FROM jobs WHERE state = 'queued'", OURS)
            if self.servers.postgres.rows(running, OURS) == [(0,)]:
                self.servers.postgres.execute("TRUNCATE jobs CASCADE", OURS)
                self.servers.postgres.execute("CHECKPOINT", OURS)
                return
            time.sleep(POLL_SECONDS)
        raise BenchError(f"workers still have jobs after {EMPTY_SECONDS_MAX:g} s")


@contextmanager
def deployed(bench: Bench, *, rate_limit_per_minute: int | None = None) -> Iterator[Deployment]:
    """Run everything. A rate limit makes callers be refused, to see that this is told."""
    root = bench.folder / "files"
    for client in CALLERS:
        (root / client).mkdir(parents=True)
        rows = (f"{number},asset-{number},{number % 5}\n" for number in range(FILE_ROWS))
        (root / client / "rows.csv").write_text("id,name,severity\n" + "".join(rows), encoding="ascii")
    with servers() as running, Programs(bench.folder) as programs:
        ports = {name: free_port() for name in (*APIS, *WORKERS)}
        for name, port in ports.items():
            _start(running, programs, name, port, root)
        for name, port in ports.items():
            await_ready(programs, port, "/health/ready" if name in APIS else "/health/live")
        config, listen = write_config((ports[APIS[0]], ports[APIS[1]]), bench.folder / "nginx")
        programs.start("nginx", [program("nginx"), "-e", "stderr", "-c", config], {})
        await_ready(programs, listen.port, "/health")
        callers = prepare_callers(running, rate_limit_per_minute)
        yield Deployment(running, programs, listen.port, ports, callers)


def _start(running: Servers, programs: Programs, name: str, port: int, root: Path) -> None:
    settings = service_settings(running, port) | {
        "DCS_INSTANCE": name,
        "DCS_FILE_ROOT": str(root),
        "DCS_ACCESS_PROCESSES": str(len(APIS)),
        "DCS_ACCESS_TRUSTED_PROXIES": '["127.0.0.1/32"]',
    }
    module = "app.main" if name in APIS else "app.worker"
    programs.start(name, [PYTHON, "-m", module], settings)
