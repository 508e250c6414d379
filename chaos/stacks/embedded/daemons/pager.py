"""The receiver of notifications."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon, python, python_environment
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return the pager."""
    store = context.layout.data / "pager" / "notifications.jsonl"
    return [
        Daemon(
            name="pager",
            command=python("chaos.pager", "--port", str(context.port("pager")), "--store", str(store)),
            env=python_environment(),
            ready=http_ok(context.topology.address("pager"), "/health"),
            port=context.port("pager"),
        )
    ]
