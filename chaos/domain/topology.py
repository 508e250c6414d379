"""Where everything of one stack is, by logical name. Templates and adapters take addresses from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PORTS_PER_BLOCK = 100

REDIS_MARKER = "lab:identity"
"""The key that says which lab a Redis belongs to. Nothing is flushed without it."""

# Offsets inside a lab's port block. A number is never reused for another name.
DIRECT_PORTS: Mapping[str, int] = {
    "nginx": 0,
    "api-1": 1,
    "api-2": 2,
    "worker-1": 3,
    "worker-2": 4,
    "postgres": 10,
    "redis": 11,
    "evidence-api": 12,
    "seaweedfs": 13,  # its S3 gateway
    "moderation-api": 17,
    "prometheus": 20,
    "alertmanager": 21,
    "loki": 22,
    "loki-grpc": 23,
    "postgres-exporter": 30,
    "redis-exporter": 31,
    "blackbox-exporter": 32,
    "node-exporter": 33,
    "toxiproxy-service": 40,
    "toxiproxy-monitoring": 41,
    "pager": 42,
    "traffic": 43,
    "forwarder": 44,
    "s3-events": 45,
    "seaweedfs-master": 80,
    "seaweedfs-master-grpc": 81,
    "seaweedfs-volume": 82,
    "seaweedfs-volume-grpc": 83,
    "seaweedfs-filer": 84,
    "seaweedfs-filer-grpc": 85,
    "seaweedfs-grpc": 86,
    "seaweedfs-metrics": 87,
    "unused": 99,  # nothing ever listens here: what a wrong port points at
}

# proxy name -> (offset of its listener, logical name of what it leads to)
SERVICE_PROXIES: Mapping[str, tuple[int, str]] = {
    "postgres": (50, "postgres"),
    "redis": (51, "redis"),
    "evidence-api": (52, "evidence-api"),
    "client-postgres": (53, "postgres"),
    "api-1": (54, "api-1"),
    "api-2": (55, "api-2"),
    "s3": (56, "seaweedfs"),
    "moderation-api": (57, "moderation-api"),
}
MONITORING_PROXIES: Mapping[str, tuple[int, str]] = {
    "scrape-api-1": (60, "api-1"),
    "scrape-api-2": (61, "api-2"),
    "scrape-worker-1": (62, "worker-1"),
    "scrape-worker-2": (63, "worker-2"),
    "scrape-postgres-exporter": (64, "postgres-exporter"),
    "scrape-redis-exporter": (65, "redis-exporter"),
    "scrape-blackbox-exporter": (66, "blackbox-exporter"),
    "scrape-node-exporter": (67, "node-exporter"),
    "scrape-alertmanager": (68, "alertmanager"),
    "scrape-loki": (69, "loki"),
    "alertmanager": (70, "alertmanager"),
    "pager": (71, "pager"),
    "loki": (72, "loki"),
    "probe-nginx": (73, "nginx"),
    "scrape-seaweedfs": (74, "seaweedfs-metrics"),
}


@dataclass(frozen=True)
class Address:
    """A TCP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as an HTTP origin."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True)
class Proxy:
    """One Toxiproxy proxy at its baseline: enabled and without toxics."""

    name: str
    listen: Address
    upstream: Address


@dataclass(frozen=True)
class Topology:
    """Every address of one stack.

    ``direct`` is where a process listens; ``service_proxies`` and ``monitoring_proxies`` are what the
    service and the monitoring use instead, by proxy name.
    """

    lab_id: str
    direct: Mapping[str, Address]
    service_proxies: Mapping[str, Proxy]
    monitoring_proxies: Mapping[str, Proxy]

    def address(self, name: str) -> Address:
        """Return where ``name`` listens."""
        return self.direct[name]

    def via(self, proxy: str) -> Address:
        """Return the listener of a service-side proxy."""
        return self.service_proxies[proxy].listen

    def monitored_via(self, proxy: str) -> Address:
        """Return the listener of a monitoring-side proxy."""
        return self.monitoring_proxies[proxy].listen


def embedded_topology(lab_id: str, port_base: int, host: str = "127.0.0.1") -> Topology:
    """Return the topology of an embedded stack whose port block starts at ``port_base``."""
    direct = {name: Address(host, port_base + offset) for name, offset in DIRECT_PORTS.items()}

    def proxies(table: Mapping[str, tuple[int, str]]) -> dict[str, Proxy]:
        return {
            name: Proxy(name, Address(host, port_base + offset), direct[target])
            for name, (offset, target) in table.items()
        }

    return Topology(lab_id, direct, proxies(SERVICE_PROXIES), proxies(MONITORING_PROXIES))
