"""Valkey or Redis: wakes the workers, holds nothing that PostgreSQL has not got."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import redis_pings

_CONF = """\
bind {host}
port {port}
protected-mode yes
daemonize no
save ""
appendonly no
maxmemory 64mb
maxmemory-policy noeviction
loglevel notice
logfile ""
"""


def daemons(context: Context) -> list[Daemon]:
    """Return the Redis server. It works in its data directory, so no path needs to stand in its file."""
    address = context.topology.address("redis")
    return [
        Daemon(
            name="redis",
            command=[str(context.tool("valkey-server")), str(context.layout.conf / "redis.conf")],
            files={"redis.conf": _CONF.format(host=address.host, port=address.port)},
            ready=redis_pings(address),
            port=address.port,
        )
    ]
