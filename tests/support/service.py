"""Processes of the service, run as an operator runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.support.access import CLIENTS, DEFAULT_CLIENT, admit_clients, headers_of
from tests.support.ports import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 40.0  # seconds of a machine that also builds and boots other things
STOP_SECONDS_MAX = 30.0
_SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")


def service_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which only ``settings`` configure the service."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("DCS_", "PG", "OTEL_"))
    }
    return clean | dict(settings)


class ServiceProcess:
    """``python -m app.main`` or ``app.worker`` on a port of its own."""

    def __init__(
        self,
        module: str,
        settings: Mapping[str, str],
        *,
        port: int | None = None,
        root: Path = ROOT,
        stdout: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self._database_port = int(settings.get("DCS_DATABASE_PORT", "0"))
        self._database_name = settings.get("DCS_DATABASE_NAME", "dcs")
        self._admitted = set(CLIENTS)
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=root,
            env=service_environment({**settings, "DCS_PORT": str(self.port)}),
            stdout=self._output if stdout is None else stdout,
            stderr=subprocess.STDOUT,
        )

    def wait_until_live(self) -> None:
        def live() -> bool:
            assert self.process.poll() is None, self.output()
            return httpx.get(f"{self.url}/health/live", timeout=1).is_success

        eventually(_quietly(live), within_seconds=START_SECONDS_MAX, what="the service is live")

    def request(
        self,
        method: str,
        path: str,
        *,
        client: str | None = DEFAULT_CLIENT,
        headers: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> httpx.Response:
        """Ask with the key of a client; None asks without one."""
        if client is not None and client not in self._admitted:
            admit_clients(self._database_port, self._database_name, client)
            self._admitted.add(client)
        sent = {**headers_of(client), **(headers or {})}
        return httpx.request(method, f"{self.url}{path}", **{"timeout": 15, **arguments}, headers=sent)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, **arguments)

    def trigger(
        self,
        source_type: str,
        config: Mapping[str, Any],
        *,
        client: str | None = DEFAULT_CLIENT,
        **headers: str,
    ) -> httpx.Response:
        body = {"source_type": source_type, "config": config}
        return self.post("/api/v1/jobs/trigger", json=body, client=client, headers=headers)

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of one sample, which must exist."""
        for line in self.get("/metrics").text.splitlines():
            match = _SAMPLE.match(line)
            if match is None or match["name"] != name:
                continue
            found = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"] or ""))
            if found == labels:
                return float(match["value"])
        message = f"{name}{labels} is not exposed"
        raise AssertionError(message)

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read().decode()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS_MAX)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self._output.close()


Start = Callable[..., ServiceProcess]
"""Starts a process of the given module, with settings overridden by name."""


def _quietly(check: Any) -> Any:
    def answer() -> bool:
        try:
            return bool(check())
        except httpx.HTTPError:
            return False

    return answer
