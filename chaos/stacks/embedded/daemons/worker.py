"""The service's workers, twice."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import DATABASES, Context, Daemon, python
from chaos.stacks.embedded.daemons._service import STOP_SECONDS, environment
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return worker-1 and worker-2."""
    return [
        Daemon(
            name=name,
            command=python("app.worker"),
            env=environment(context, name),
            after=(DATABASES, "toxiproxy-service", "toxiproxy-monitoring", "redis"),
            ready=http_ok(context.topology.address(name), "/health/live"),
            port=context.port(name),
            stop_seconds=STOP_SECONDS,
        )
        for name in ("worker-1", "worker-2")
    ]
