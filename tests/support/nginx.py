"""nginx as the lab configures it, before two APIs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from chaos.domain.topology import Address, Proxy, embedded_topology
from chaos.stacks.rendering import render_observability
from tests.support.monitoring import program
from tests.support.ports import free_port
from tests.support.waiting import eventually


@dataclass
class Nginx:
    url: str
    log: Path

    def lines(self) -> list[dict[str, str]]:
        """Return the access log."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def logged(self, request_id: str) -> dict[str, str]:
        """Return the line of a request, once it is written."""
        return eventually(
            lambda: next((line for line in self.lines() if line["request_id"] == request_id), None),
            within_seconds=10,
            what="the request is in the access log",
        )


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def write_config(ports: tuple[int, int], state: Path) -> tuple[Path, Address]:
    """Write its configuration for APIs on these ports of this machine; return that and where it will listen.

    ``state`` is created.
    """
    base = embedded_topology("test", 28_000)
    listen = Address("127.0.0.1", free_port())
    proxies = {
        name: Proxy(name, Address("127.0.0.1", port), Address("127.0.0.1", port))
        for name, port in zip(("api-1", "api-2"), ports, strict=True)
    }
    topology = dataclasses.replace(
        base, direct={**base.direct, "nginx": listen}, service_proxies={**base.service_proxies, **proxies}
    )
    files = render_observability(topology, lab_id="test", state_dir=state, clock=None)
    for folder in ("run", "data/nginx"):
        (state / folder).mkdir(parents=True)
    config = state / "nginx.conf"
    config.write_text(files["nginx/nginx.conf"], encoding="utf-8")
    return config, listen


@contextlib.contextmanager
def nginx_before(ports: tuple[int, int], state: Path) -> Iterator[Nginx]:
    """Serve in front of the APIs on these ports of this machine. ``state`` is created."""
    config, listen = write_config(ports, state)
    log = state / "nginx.log"
    with (
        log.open("wb") as out,
        subprocess.Popen([program("nginx"), "-e", "stderr", "-c", config], stdout=out) as nginx,
    ):
        try:
            eventually(lambda: _serves(listen.url), within_seconds=20, what="nginx serves")
            yield Nginx(listen.url, log)
        finally:
            nginx.terminate()
            nginx.wait(timeout=10)
