"""Steady background load, so that a fault has somebody to hurt."""

from __future__ import annotations

from chaos.stacks.embedded import objectstore
from chaos.stacks.embedded.daemon import LANDING, Context, Daemon, python, python_environment
from chaos.stacks.embedded.readiness import http_ok

CLIENTS = 20
RATE_EACH_PER_SECOND = 1.0
SEED = 7
LANDING_CLIENTS = 3
LANDING_EVERY_SECONDS = 5.0


def daemons(context: Context) -> list[Daemon]:
    """Return the traffic generator, whose first clients also deliver files."""
    access, secret = (context.secret(name) for name in objectstore.key_files(objectstore.DELIVERY))
    command = python(
        "chaos.traffic",
        "--target", context.topology.address("nginx").url,
        "--port", str(context.port("traffic")),
        "--keys-dir", str(context.layout.keys),
        "--clients", str(CLIENTS),
        "--rate-each", str(RATE_EACH_PER_SECOND),
        "--seed", str(SEED),
        "--landing", f"{context.topology.address('seaweedfs').url}/{objectstore.BUCKET}",
        "--landing-access-key-file", str(access),
        "--landing-secret-key-file", str(secret),
        "--landing-clients", str(LANDING_CLIENTS),
        "--landing-every-seconds", str(LANDING_EVERY_SECONDS),
    )  # fmt: skip
    return [
        Daemon(
            name="traffic",
            command=command,
            env=python_environment(),
            after=("nginx", "worker-1", "worker-2", LANDING),
            ready=http_ok(context.topology.address("traffic"), "/health"),
            port=context.port("traffic"),
        )
    ]
