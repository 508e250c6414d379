"""Brings the daemons' logs to Loki."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon, python, python_environment
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return the forwarder."""
    command = python(
        "chaos.forwarder",
        "--logs-dir", str(context.layout.logs),
        "--endpoint", context.topology.monitored_via("loki").url + "/otlp/v1/logs",
        "--port", str(context.port("forwarder")),
        "--environment", context.config.id,
        "--positions", str(context.layout.data / "forwarder" / "positions.json"),
    )  # fmt: skip
    return [
        Daemon(
            name="forwarder",
            command=command,
            env=python_environment(),
            after=("loki", "toxiproxy-monitoring"),
            ready=http_ok(context.topology.address("forwarder"), "/health"),
            port=context.port("forwarder"),
        )
    ]
