"""Metrics of the ``avatars`` slice."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

MODERATION_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)
CATEGORIES = ("hate", "violence", "sexual", "self_harm", "personal_data", "other")
CALL_OUTCOMES = (
    "ok",
    "timeout",
    "unreachable",
    "rate_limited",
    "server_error",
    "client_error",
    "invalid_response",
    "breaker_open",
    "forbidden",
    "error",
)

AVATARS = Counter("dcs_avatars_total", "Avatars that ended.", ["outcome"])
AVATARS_REJECTED = Counter(
    "dcs_avatars_rejected_total",
    "Avatars that moderation did not allow, by the worst category; `other` is one of the moderation's own.",
    ["category"],
)
MODERATION_REQUESTS = Counter(
    "dcs_moderation_requests_total",
    "Attempts to have content moderated; `breaker_open` were not made.",
    ["outcome"],
)
MODERATION_DURATION = Histogram(
    "dcs_moderation_request_duration_seconds",
    "Time of calls of the moderation, failed ones included.",
    buckets=MODERATION_BUCKETS,
)
MODERATION_BREAKER_STATE = Gauge(
    "dcs_moderation_breaker_state",
    "Whether this process calls the moderation: 0 closed (yes), 1 half-open (one call tries), 2 open (no).",
)
VERDICTS_REUSED = Counter(
    "dcs_avatars_verdicts_reused_total", "Avatars whose content had been moderated before and was not again."
)


def initialise() -> None:
    """Create every label set that is known before the first event."""
    for outcome in ("ready", "rejected", "failed"):
        AVATARS.labels(outcome)
    for category in CATEGORIES:
        AVATARS_REJECTED.labels(category)
    for outcome in CALL_OUTCOMES:
        MODERATION_REQUESTS.labels(outcome)
