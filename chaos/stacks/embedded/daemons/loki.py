"""Loki, one process with its files on disk."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return Loki."""
    return [
        Daemon(
            name="loki",
            command=[str(context.tool("loki")), f"-config.file={context.layout.conf / 'loki' / 'loki.yml'}"],
            ready=http_ok(context.topology.address("loki"), "/ready"),
            port=context.port("loki"),
        )
    ]
