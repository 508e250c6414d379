"""Metrics of the ``sources`` slice."""

from __future__ import annotations

from prometheus_client import Gauge

BREAKER_STATE = Gauge(
    "dcs_source_breaker_state",
    "Whether an upstream is called: 0 closed (yes), 1 half-open (one try), 2 open (no). By its configured "
    "name, or by its origin where a job brought a URL.",
    ["upstream"],
)


def initialise() -> None:
    """Create every label set that is known before the first event."""
