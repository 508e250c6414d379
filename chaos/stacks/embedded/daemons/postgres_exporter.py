"""PostgreSQL's figures, read as a role that keeps a reserved slot when the others are all in use."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import DATABASES, Context, Daemon
from chaos.stacks.embedded.readiness import http_ok


def daemons(context: Context) -> list[Daemon]:
    """Return the exporter; it reads PostgreSQL directly, not through a proxy."""
    name = "postgres-exporter"
    if name in context.missing:
        return []
    address, database = context.topology.address(name), context.topology.address("postgres")
    return [
        Daemon(
            name=name,
            command=[
                str(context.tool("postgres_exporter")),
                f"--web.listen-address={address}",
                # Its columns moved in PostgreSQL 17: it would log an error at every scrape.
                "--no-collector.bgwriter",
            ],
            env={
                "DATA_SOURCE_URI": f"{database}/postgres?sslmode=disable&connect_timeout=2",
                "DATA_SOURCE_USER": "exporter",
                "DATA_SOURCE_PASS_FILE": str(context.secret("exporter")),
            },
            after=(DATABASES,),
            ready=http_ok(address, "/metrics"),
            port=address.port,
        )
    ]
