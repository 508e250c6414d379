"""Metrics of the ``jobs`` slice."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RESULT_STREAMS = Counter(
    "dcs_result_streams_total", "Results sent as a stream: complete, or cut before their end.", ["outcome"]
)
EVENT_STREAMS = Gauge("dcs_job_event_streams", "Event streams (SSE) that are open.")
JOBS_STORED_TOGETHER = Histogram(
    "dcs_jobs_stored_together",
    "Submissions that were stored in one statement.",
    buckets=(1, 2, 4, 8, 16, 32),
)
JOBS_REPLAYED = Counter("dcs_jobs_replayed_total", "Dead or failed jobs queued again by their client.")

# Only of workers, like the queue's other figures.
JOBS_DEAD = Gauge("dcs_jobs_dead", "Jobs that are dead and were not replayed.", registry=None)
QUEUED_OF_KIND = Gauge(
    "dcs_jobs_queued_by_kind", "Jobs due and waiting for a worker.", ["source_type"], registry=None
)
OLDEST_OF_KIND = Gauge(
    "dcs_jobs_oldest_queued_by_kind_timestamp_seconds",
    "Unix time since which the kind's oldest waiting job waits; 0 if none waits.",
    ["source_type"],
    registry=None,
)
QUEUED_OF_CLIENT = Gauge(
    "dcs_jobs_queued_by_client",
    "Jobs due and waiting for a worker; clients beyond the first 50 are `other`.",
    ["client"],
    registry=None,
)
OLDEST_OF_CLIENT = Gauge(
    "dcs_jobs_oldest_queued_by_client_timestamp_seconds",
    "Unix time since which the client's oldest waiting job waits; 0 if none waits.",
    ["client"],
    registry=None,
)
JOBS_PURGED = Counter(
    "dcs_jobs_purged_total", "Finished jobs deleted because they were old enough.", registry=None
)
WORKER_JOBS_STORED = Gauge(
    "dcs_worker_jobs_stored", "Jobs claimed ahead that no thread has begun.", registry=None
)

OF_WORKERS = (
    JOBS_DEAD,
    QUEUED_OF_KIND,
    OLDEST_OF_KIND,
    QUEUED_OF_CLIENT,
    OLDEST_OF_CLIENT,
    JOBS_PURGED,
    WORKER_JOBS_STORED,
)


def initialise() -> None:
    """Create every label set that is known before the first event."""
    for outcome in ("complete", "cut"):
        RESULT_STREAMS.labels(outcome)
