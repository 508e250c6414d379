"""Metrics of the ``cache`` slice."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from app.cache.entry import CacheArea

OPERATION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)

REQUESTS = Counter(
    "dcs_cache_requests_total",
    "Reads through the cache: hit, miss, stale (an old value was given), error (Redis failed) or bypass "
    "(Redis failed a moment ago and was not asked).",
    ["area", "outcome"],
)
STORES = Counter("dcs_cache_stores_total", "Values that were to be kept.", ["area", "outcome"])
POISONED = Counter(
    "dcs_cache_poisoned_total", "Values found in Redis that this service did not write there.", ["area"]
)
OPERATION_DURATION = Histogram(
    "dcs_cache_operation_duration_seconds",
    "Time of one exchange with Redis.",
    ["operation"],
    buckets=OPERATION_BUCKETS,
)
BREAKER_STATE = Gauge(
    "dcs_cache_breaker_state", "Whether Redis is asked: 0 closed (yes), 1 half-open (one try), 2 open (no)."
)


def initialise() -> None:
    """Create every label set that is known before the first event."""
    for area in CacheArea:
        for outcome in ("hit", "miss", "stale", "error", "bypass"):
            REQUESTS.labels(area.value, outcome)
        for outcome in ("ok", "too_large", "error", "bypass"):
            STORES.labels(area.value, outcome)
        POISONED.labels(area.value)
    for operation in ("get", "put", "forget", "lock"):
        OPERATION_DURATION.labels(operation)
