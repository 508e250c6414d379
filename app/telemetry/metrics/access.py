"""Metrics of the ``access`` slice."""

from __future__ import annotations

from prometheus_client import Counter

REFUSALS = ("missing", "malformed", "unknown", "revoked", "expired", "scope")

REFUSED = Counter("dcs_access_refused_total", "Requests refused for who sent them, by reason.", ["reason"])
KEY_LOOKUPS = Counter(
    "dcs_access_key_lookups_total", "Keys asked of the database, by what it answered.", ["outcome"]
)
KEYS_BY_GRACE = Counter(
    "dcs_access_keys_by_grace_total",
    "Requests let in by a key that the database knew shortly before it stopped answering.",
)


def initialise() -> None:
    """Create every label set that is known before the first event."""
    for reason in REFUSALS:
        REFUSED.labels(reason)
    for outcome in ("found", "unknown", "failed"):
        KEY_LOOKUPS.labels(outcome)
