"""Alertmanager, alone and without a cluster."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return Alertmanager."""
    address = context.topology.address("alertmanager")
    layout = context.layout
    return [
        Daemon(
            name="alertmanager",
            command=[
                str(context.tool("alertmanager")),
                f"--config.file={layout.conf / 'alertmanager' / 'alertmanager.yml'}",
                f"--storage.path={layout.data / 'alertmanager'}",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
                # A group outlives its alerts until this passes, and an alert that joins it skips group_wait.
                "--dispatch.maintenance-interval=1s",
            ],
            ready=http_ok(address, "/-/ready"),
            port=address.port,
        )
    ]
