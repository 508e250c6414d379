"""Redis' figures."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return the exporter; it reads Redis directly, not through a proxy."""
    name = "redis-exporter"
    if name in context.missing:
        return []
    address = context.topology.address(name)
    return [
        Daemon(
            name=name,
            command=[
                str(context.tool("redis_exporter")),
                f"--redis.addr=redis://{context.topology.address('redis')}",
                f"--web.listen-address={address}",
            ],
            ready=http_ok(address, "/metrics"),
            port=address.port,
        )
    ]
