"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil

from bench.processes import COMPARATORS_PYTHON

PACKAGES = (
    "fastapi",
    "uvicorn",
    "uvloop",
    "httptools",
    "sqlalchemy",
    "psycopg2-binary",
    "redis",
    "orjson",
    "pydantic",
)
COMPARATOR_PACKAGES = ("celery", "kombu", "rq", "redis", "psycopg2-binary")
SECONDS_MAX = 30


def describe() -> dict[str, str]:
    """Return machine and versions."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{memory_gib:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "service": ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES),
        "comparators": _comparators(),
    }


def load_average() -> float:
    """Return the machine's load of the last minute: other work makes figures worse, ratios less so."""
    return os.getloadavg()[0]


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _comparators() -> str:
    if not COMPARATORS_PYTHON.is_file():
        return "not installed"
    names = ", ".join(repr(name) for name in COMPARATOR_PACKAGES)
    code = (
        f"from importlib.metadata import version as v; print(', '.join(n + ' ' + v(n) for n in ({names},)))"
    )
    finished = subprocess.run(
        [str(COMPARATORS_PYTHON), "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    return finished.stdout.strip() or "not installed"
