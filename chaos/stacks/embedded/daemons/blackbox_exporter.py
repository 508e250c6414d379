"""Probes nginx from outside."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return the exporter."""
    name = "blackbox-exporter"
    if name in context.missing:
        return []
    address = context.topology.address(name)
    return [
        Daemon(
            name=name,
            command=[
                str(context.tool("blackbox_exporter")),
                f"--config.file={context.layout.conf / 'blackbox' / 'blackbox.yml'}",
                f"--web.listen-address={address}",
            ],
            ready=http_ok(address, "/-/healthy"),
            port=address.port,
        )
    ]
