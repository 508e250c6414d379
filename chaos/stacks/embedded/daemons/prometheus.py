"""Prometheus."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import both, http_ok, prometheus_sees_all


def daemons(context: Context) -> list[Daemon]:
    """Return Prometheus. It starts after what it scrapes, or every start would leave alerts pending."""
    address = context.topology.address("prometheus")
    layout = context.layout
    return [
        Daemon(
            name="prometheus",
            command=[
                str(context.tool("prometheus")),
                f"--config.file={layout.conf / 'prometheus' / 'prometheus.yml'}",
                f"--storage.tsdb.path={layout.data / 'prometheus'}",
                "--storage.tsdb.retention.time=6h",
                f"--web.listen-address={address}",
                "--web.enable-lifecycle",
                # Hidden flag: the first scrape waits for this, 5 s unless set.
                "--scrape.discovery-reload-interval=250ms",
                f"--rules.alert.resend-delay={context.resend_delay}",
            ],
            after=("api-1", "api-2", "worker-1", "worker-2", "toxiproxy-monitoring", "alertmanager"),
            ready=both(http_ok(address, "/-/ready"), prometheus_sees_all(address)),
            port=address.port,
        )
    ]
