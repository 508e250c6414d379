"""Metrics of the process itself: how much of what it has is in use, and who waits (USE)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)

HTTP_IN_FLIGHT = Gauge("dcs_http_requests_in_flight", "Requests that are being answered.")

SLOTS = Gauge(
    "dcs_slots",
    "Places for blocking work of the API: all, those in use, and how many requests wait for one.",
    ["pool", "state"],
)
SLOT_WAIT = Histogram(
    "dcs_slot_wait_seconds",
    "Time that an admitted request waited for its place.",
    ["pool"],
    buckets=WAIT_BUCKETS,
)
REQUESTS_SHED = Counter(
    "dcs_requests_shed_total",
    "Requests answered 503 because the work before them would take, or took, too long.",
    ["pool", "reason"],
)
DB_POOL_WAIT = Histogram(
    "dcs_db_pool_wait_seconds",
    "Time until a transaction had a working connection.",
    buckets=WAIT_BUCKETS,
)

EVENT_LOOP_LAG = Histogram(
    "dcs_event_loop_lag_seconds", "How late the event loop woke a task.", buckets=WAIT_BUCKETS
)

WORKER_THREADS = Gauge("dcs_worker_threads", "Threads of this worker that run jobs.", registry=None)

LOG_LINES_LOST = Counter("dcs_log_lines_lost_total", "Log lines that could not be written.")
OTLP_RECORDS_LOST = Counter(
    "dcs_otlp_records_lost_total",
    "Log records and spans that were not exported: the queue was full, or the collector did not take them.",
    ["signal"],
)

CLIENT_REQUESTS = Counter(
    "dcs_client_requests_total",
    "Requests of authenticated clients; those beyond the first 50 are `other`.",
    ["client", "outcome"],
)
CLIENT_JOBS = Counter(
    "dcs_client_jobs_total", "Jobs by client: submitted, and how they ended.", ["client", "outcome"]
)
SHED_REASONS = ("queue_full", "queue_slow", "waited_too_long")
OTHER_CLIENTS = "other"
CLIENT_REQUEST_OUTCOMES = ("ok", "refused", "limited", "failed")
CLIENT_JOB_OUTCOMES = ("submitted", "succeeded", "failed", "dead", "cancelled")


def initialise() -> None:
    """Create every label set that is known before the first event."""
    for pool in ("database", "checks", "submissions"):
        SLOT_WAIT.labels(pool)
        for state in ("total", "in_use", "waiting"):
            SLOTS.labels(pool, state)
        for reason in SHED_REASONS:
            REQUESTS_SHED.labels(pool, reason)
    for signal in ("logs", "traces"):
        OTLP_RECORDS_LOST.labels(signal)
    initialise_client(OTHER_CLIENTS)


def initialise_client(client: str) -> None:
    """Create the label sets of one client."""
    for outcome in CLIENT_REQUEST_OUTCOMES:
        CLIENT_REQUESTS.labels(client, outcome)
    for outcome in CLIENT_JOB_OUTCOMES:
        CLIENT_JOBS.labels(client, outcome)
