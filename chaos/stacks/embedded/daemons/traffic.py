"""Steady background load, so that a fault has somebody to hurt."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon, python, python_environment
from chaos.stacks.embedded.readiness import http_ok

CLIENTS = 20
RATE_EACH_PER_SECOND = 1.0
SEED = 7


def daemons(context: Context) -> list[Daemon]:
    """Return the traffic generator."""
    command = python(
        "chaos.traffic",
        "--target", context.topology.address("nginx").url,
        "--port", str(context.port("traffic")),
        "--keys-dir", str(context.layout.keys),
        "--clients", str(CLIENTS),
        "--rate-each", str(RATE_EACH_PER_SECOND),
        "--seed", str(SEED),
    )  # fmt: skip
    return [
        Daemon(
            name="traffic",
            command=command,
            env=python_environment(),
            after=("nginx", "worker-1", "worker-2"),
            ready=http_ok(context.topology.address("traffic"), "/health"),
            port=context.port("traffic"),
        )
    ]
