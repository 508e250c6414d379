"""Who answers requests: the service in its shapes, and the bare handler it is compared with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.http.requests import ENDPOINT
from bench.processes import PYTHON, Programs
from bench.servers import OURS, Servers
from tests.support.ports import free_port

POOL_SIZE = 10
"""Connections of every contestant's pool: the service's default."""

NOBODY = "http://127.0.0.1:9"
"""Where the jobs handed in would collect from, if any worker ran."""

Starter = Callable[[Servers, Programs], int]


@dataclass(frozen=True)
class Contestant:
    """One way to answer. ``start`` starts it and returns its port; ``ready_path`` answers 200 then."""

    name: str
    start: Starter
    ready_path: str = "/health/ready"


def service_settings(servers: Servers, port: int) -> dict[str, str]:
    """Return the settings of one API."""
    return {
        **servers.service_settings(),
        "DCS_PORT": str(port),
        "DCS_INSTANCE": "bench-api-1",
        "DCS_DATABASE_POOL_SIZE": str(POOL_SIZE),
        "DCS_API_SOURCES": json.dumps({ENDPOINT: f"{NOBODY}/"}),
        "DCS_SOURCES_ALLOW": json.dumps([NOBODY]),
    }


def service(servers: Servers, programs: Programs) -> int:
    """Start the service as it is, its log lines on stdout."""
    port = free_port()
    programs.start("api", [PYTHON, "-m", "app.main"], service_settings(servers, port))
    return port


def silent(servers: Servers, programs: Programs) -> int:
    """Start the service without telemetry."""
    port = free_port()
    programs.start("api", [PYTHON, "-m", "bench.http.silent"], service_settings(servers, port))
    return port


def fully_told(servers: Servers, programs: Programs) -> int:
    """Start the service with everything exported by OTLP, and what takes it."""
    port, sink = free_port(), free_port()
    programs.start("otlp-sink", [PYTHON, "-m", "bench.http.sink", "--port", str(sink)], {})
    settings = {
        **service_settings(servers, port),
        "DCS_OTLP_LOGS_ENDPOINT": f"http://127.0.0.1:{sink}/v1/logs",
        "DCS_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{sink}/v1/traces",
    }
    programs.start("api", [PYTHON, "-m", "app.main"], settings)
    return port


def bare(servers: Servers, programs: Programs) -> int:
    """Start the bare handler."""
    port = free_port()
    url = f"postgresql+psycopg2://dcs@127.0.0.1:{servers.postgres.port}/{OURS}"
    argv: list[str | Path] = [PYTHON, "-m", "bench.http.bare", "--port", str(port)]
    argv += ["--url", url, "--pool-size", str(POOL_SIZE)]
    programs.start("bare", argv, {})
    return port


SERVICE = Contestant("ours", service)
BARE = Contestant("bare", bare, "/openapi.json")
FULL = Contestant("full", fully_told)
SILENT = Contestant("none", silent)
