"""The third party that moderates what clients make avatars of."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon, python, python_environment
from chaos.stacks.embedded.readiness import http_ok

SEED = 7


def daemons(context: Context) -> list[Daemon]:
    """Return the moderation API."""
    name = "moderation-api"
    return [
        Daemon(
            name=name,
            command=python(
                "chaos.upstreams.moderation", "--port", str(context.port(name)), "--seed", str(SEED)
            ),
            env=python_environment(),
            ready=http_ok(context.topology.address(name), "/health"),
            port=context.port(name),
        )
    ]
