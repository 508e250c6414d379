"""Metrics of the ``access`` slice."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

REFUSALS = (
    "missing",
    "malformed",
    "unknown",
    "revoked",
    "expired",
    "scope",
    "address",
    "token",
    "signature",
    "replay",
    "limits_unavailable",
    "body_too_large",
    "head_too_large",
)
LIMITS = ("key", "anonymous", "failures")

REFUSED = Counter("dcs_access_refused_total", "Requests refused for who sent them, by reason.", ["reason"])
KEY_LOOKUPS = Counter(
    "dcs_access_key_lookups_total", "Keys asked of the database, by what it answered.", ["outcome"]
)
KEYS_BY_GRACE = Counter(
    "dcs_access_keys_by_grace_total",
    "Requests let in by a key that the database knew shortly before it stopped answering.",
)
RATE_LIMITED = Counter(
    "dcs_rate_limit_refused_total",
    "Requests refused because there were too many, by what was counted.",
    ["limit"],
)
RATE_LIMITED_LOCALLY = Counter(
    "dcs_rate_limit_local_total", "Requests that this process counted alone, because Redis did not answer."
)
DEGRADED = Gauge(
    "dcs_rate_limit_degraded", "1 while this process counts requests alone, because Redis does not answer."
)
DEPRECATED = Counter("dcs_deprecated_requests_total", "Requests of routes that will be removed.", ["route"])


def initialise() -> None:
    """Create every label set that is known before the first event."""
    for reason in REFUSALS:
        REFUSED.labels(reason)
    for limit in LIMITS:
        RATE_LIMITED.labels(limit)
    for outcome in ("found", "unknown", "failed"):
        KEY_LOOKUPS.labels(outcome)
