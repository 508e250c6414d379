"""Callers that the service lets in, with limits that do not end a measurement."""

from __future__ import annotations

from collections.abc import Mapping

from bench.servers import Servers


def prepare_callers(servers: Servers) -> list[Mapping[str, str]]:  # noqa: ARG001  keys are stored there
    """Return the headers of a few callers."""
    return [{"X-Client-ID": f"bench-{number}"} for number in range(1, 5)]
