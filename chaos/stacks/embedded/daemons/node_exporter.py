"""Figures of the machine."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import http_ok

_COLLECTORS = (
    "cpu",
    "meminfo",
    "loadavg",
    "filesystem",
    "diskstats",
    "stat",
    "vmstat",
    "netstat",
    "pressure",
)


def daemons(context: Context) -> list[Daemon]:
    """Return the exporter with the collectors that work without root."""
    name = "node-exporter"
    if name in context.missing:
        return []
    address = context.topology.address(name)
    return [
        Daemon(
            name=name,
            command=[
                str(context.tool("node_exporter")),
                f"--web.listen-address={address}",
                "--collector.disable-defaults",
                *(f"--collector.{collector}" for collector in _COLLECTORS),
            ],
            ready=http_ok(address, "/metrics"),
            port=address.port,
        )
    ]
