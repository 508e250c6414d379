"""A report tool of the client's that keeps connections; it runs only when a fault starts it."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon, python, python_environment


def daemons(context: Context) -> list[Daemon]:
    """Return the report tool."""
    database = context.topology.address("postgres")
    command = python(
        "chaos.upstreams.reporting",
        "--host", database.host,
        "--port", str(database.port),
        "--user", "reporting",
        "--database", "acme",
        "--password-file", str(context.secret("reporting")),
    )  # fmt: skip
    return [
        Daemon(
            name="reporting",
            command=command,
            env=python_environment(),
            ready=lambda: None,  # it has no port; that it runs is all there is to know
            autostart=False,
        )
    ]
