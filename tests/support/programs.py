"""Real processes of the lab's own programs, and what tests of them share."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

ROOT = Path(__file__).resolve().parents[2]
START_DEADLINE_SECONDS = 10.0
STOP_DEADLINE_SECONDS = 3.0
POLL_INTERVAL_SECONDS = 0.02

T = TypeVar("T")

# One client: making a TLS context for each request would cost more than the request. No connection is
# reused, because these tests kill what is at the other end.
HTTP = httpx.Client(timeout=5, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def eventually(check: Callable[[], T | None], within_seconds: float, what: str) -> T:
    """Return the first truthy answer of ``check``; fail with its last answer when there is none in time."""
    deadline = time.monotonic() + within_seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            message = f"not within {within_seconds} s: {what}; last answer: {answer!r}"
            raise AssertionError(message)
        time.sleep(POLL_INTERVAL_SECONDS)


def let_pass(seconds: float) -> None:
    """Let time pass where the passing of time is what is tested."""
    time.sleep(seconds)


class Program:
    """One running program."""

    def __init__(self, module: str, arguments: list[str], log: Path) -> None:
        self.log_path = log
        self._output = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error", "LANG": "C.UTF-8"},
        )
        self.port = 0

    def wait_until_serving(self) -> None:
        self.port = eventually(self._logged_port, START_DEADLINE_SECONDS, "the program_started line")
        eventually(self._healthy, START_DEADLINE_SECONDS, "GET /health")

    def _logged_port(self) -> int | None:
        if self.process.poll() is not None:
            message = f"ended with {self.process.returncode}: {self.log_path.read_text()}"
            raise AssertionError(message)
        return next((int(str(line["port"])) for line in self.events("program_started")), None)

    def _healthy(self) -> bool:
        try:
            return HTTP.get(f"{self.url}/health", timeout=1).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def events(self, name: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log_path.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples whose labels match."""
        total = 0.0
        for line in HTTP.get(f"{self.url}/metrics").text.splitlines():
            found = re.match(rf"{name}(?:{{(.*)}})? (\S+)$", line)
            if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
                total += float(found[2])
        return total

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_DEADLINE_SECONDS)

    def stop(self) -> int:
        """Send SIGTERM; return the exit code. More than 3 s is a failure."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self._output.close()


@contextmanager
def running(module: str, *arguments: str, log: Path, port: int = 0) -> Iterator[Program]:
    """Run an HTTP program of the lab on a free port until the block ends."""
    program = Program(module, ["--port", str(port), *arguments], log)
    try:
        program.wait_until_serving()
        yield program
    finally:
        program.close()
