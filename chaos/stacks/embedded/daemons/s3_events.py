"""The relay that makes S3 event notifications of what SeaweedFS tells."""

from __future__ import annotations

from chaos.domain.clients import S3_EVENTS
from chaos.stacks.embedded import objectstore
from chaos.stacks.embedded.daemon import DATABASES, Context, Daemon, python, python_environment
from chaos.stacks.embedded.readiness import http_ok

SEED = 7


def daemons(context: Context) -> list[Daemon]:
    """Return the relay. It has a key once the databases are prepared."""
    name = "s3-events"
    command = python(
        "chaos.upstreams.s3_events",
        "--port", str(context.port(name)),
        "--target", context.topology.address("nginx").url,
        "--key-file", str(context.layout.keys / f"{S3_EVENTS}.key"),
        "--bucket", objectstore.BUCKET,
        "--seed", str(SEED),
    )  # fmt: skip
    return [
        Daemon(
            name=name,
            command=command,
            env=python_environment(),
            after=(DATABASES,),
            ready=http_ok(context.topology.address(name), "/health"),
            port=context.port(name),
        )
    ]
