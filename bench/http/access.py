"""Callers that the service lets in, with limits that do not end a measurement."""

from __future__ import annotations

from collections.abc import Mapping

from app.access.principal import Scope
from app.access.repository import KeySpec
from bench.servers import OURS, Servers
from tests.support.access import admit, admit_clients, headers_of, key_of

CALLERS = tuple(f"bench-{number}" for number in range(1, 5))


def prepare_callers(servers: Servers, rate_limit_per_minute: int | None = None) -> list[Mapping[str, str]]:
    """Store a key for each of a few clients, and return what their requests carry."""
    if rate_limit_per_minute is None:
        admit_clients(servers.postgres.port, OURS, *CALLERS)
    else:
        spec = KeySpec(
            frozenset(Scope), rate_limit_per_minute=rate_limit_per_minute, burst=rate_limit_per_minute
        )
        for client in CALLERS:
            admit(servers.postgres.port, OURS, client, key_of(client), spec)
    return [headers_of(client) for client in CALLERS]
