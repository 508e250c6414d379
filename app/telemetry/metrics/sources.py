"""Metrics of the ``sources`` slice."""

from __future__ import annotations

from prometheus_client import Gauge, Histogram

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From a page of an API nearby to all the time that a job has; 5 s is the time-out of a read."""

REQUEST_DURATION = Histogram(
    "dcs_source_request_duration_seconds",
    "Time of one call of a source, however it ended: a page of `api`, else all that a job reads.",
    ["source_type"],
    buckets=REQUEST_BUCKETS,
)

BREAKER_STATE = Gauge(
    "dcs_source_breaker_state",
    "Whether an upstream is called: 0 closed (yes), 1 half-open (one try), 2 open (no). By its configured "
    "name, or by its origin where a job brought a URL.",
    ["upstream"],
)


def initialise() -> None:
    """Create every label set that is known before the first event."""
