"""Two Toxiproxies: healing the service's paths does not blind the monitoring's."""

from __future__ import annotations

import json
from collections.abc import Mapping

from chaos.domain.topology import Proxy
from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import holds_proxies


def daemons(context: Context) -> list[Daemon]:
    """Return both. Each is given its proxies as a file, so that one restarted alone is at its baseline."""
    topology = context.topology
    return [
        _one(context, "toxiproxy-service", topology.service_proxies),
        _one(context, "toxiproxy-monitoring", topology.monitoring_proxies),
    ]


def _one(context: Context, name: str, proxies: Mapping[str, Proxy]) -> Daemon:
    address = context.topology.address(name)
    listed = [
        {"name": proxy.name, "listen": str(proxy.listen), "upstream": str(proxy.upstream), "enabled": True}
        for proxy in proxies.values()
    ]
    return Daemon(
        name=name,
        command=[
            str(context.tool("toxiproxy-server")),
            "-host", address.host,
            "-port", str(address.port),
            "-config", str(context.layout.conf / f"{name}.json"),
            "-proxy-metrics",
            "-runtime-metrics",
        ],
        env={"LOG_LEVEL": "info"},
        files={f"{name}.json": json.dumps(listed, indent=2) + "\n"},
        ready=holds_proxies(address, proxies),
        port=address.port,
        stop_seconds=3,  # it has nothing to finish, and healing waits for it
    )  # fmt: skip
