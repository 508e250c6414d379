"""The service's API, twice."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import DATABASES, Context, Daemon, python
from chaos.stacks.embedded.daemons._service import STOP_SECONDS, environment
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return api-1 and api-2."""
    return [
        Daemon(
            name=name,
            command=python("app.main"),
            env=environment(context, name),
            after=(DATABASES, "toxiproxy-service", "toxiproxy-monitoring", "redis"),
            ready=http_ok(context.topology.address(name), "/health/ready"),
            port=context.port(name),
            stop_seconds=STOP_SECONDS,
        )
        for name in ("api-1", "api-2")
    ]
