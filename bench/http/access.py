"""Callers that the service lets in, with limits that do not end a measurement."""

from __future__ import annotations

from collections.abc import Mapping

from bench.servers import OURS, Servers
from tests.support.access import admit_clients, headers_of

CALLERS = tuple(f"bench-{number}" for number in range(1, 5))


def prepare_callers(servers: Servers) -> list[Mapping[str, str]]:
    """Store a key for each of a few clients, and return what their requests carry."""
    admit_clients(servers.postgres.port, OURS, *CALLERS)
    return [headers_of(client) for client in CALLERS]
