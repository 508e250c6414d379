"""nginx, balancing the two APIs."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return nginx. It starts after the APIs, or it would set them aside as failed."""
    layout = context.layout
    return [
        Daemon(
            name="nginx",
            command=[
                str(context.tool("nginx")),
                "-e", "stderr",
                "-p", str(layout.data / "nginx"),
                "-c", str(layout.conf / "nginx" / "nginx.conf"),
            ],
            after=("api-1", "api-2"),
            ready=http_ok(context.topology.address("nginx"), "/health"),
            port=context.port("nginx"),
        )
    ]  # fmt: skip
