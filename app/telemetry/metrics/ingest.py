"""Metrics of the ``ingest`` slice."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

S3_OPERATIONS = ("list", "head", "get", "copy")
S3_OUTCOMES = ("ok", "gone", "changed", "refused", "timeout", "error")
FILE_STATES = ("loaded", "quarantined", "dead", "superseded", "gone")
CAUSES = ("schedule", "event", "hand")
IGNORED = ("layout", "bucket", "client", "deleted", "invalid")
KINDS = ("ingest_file", "ingest_list", "ingest_quarantine")

S3_REQUESTS = Counter("dcs_s3_requests_total", "Calls of the object store.", ["operation", "outcome"])
S3_DURATION = Histogram(
    "dcs_s3_request_duration_seconds",
    "Time that a call of the object store took, its body included.",
    ["operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
S3_BYTES = Counter("dcs_s3_received_bytes_total", "Bytes of objects received from the object store.")

INGEST_SEEN = Counter(
    "dcs_ingest_files_seen_total", "Versions of files that were new to the ledger, by what told.", ["cause"]
)
INGEST_EVENTS = Counter("dcs_ingest_event_records_total", "Records of event notifications.", ["outcome"])
INGEST_IGNORED = Counter(
    "dcs_ingest_keys_ignored_total", "Keys that are not ours to ingest, by why.", ["reason"]
)
INGEST_FILES = Counter("dcs_ingest_files_total", "Versions of files that came to an end.", ["state"])
INGEST_ROWS = Counter(
    "dcs_ingest_rows_total", "Rows of loaded files: valid and stored, or rejected.", ["outcome"]
)
INGEST_SLOW_PATH = Counter(
    "dcs_ingest_slow_path_total", "Files that the database could not read, so that each row was looked at."
)

# From the ledger, so only of workers, which have them whoever did the work.
INGEST_OPEN = Gauge(
    "dcs_ingest_files_open", "Files of the ledger that are not done with.", ["state"], registry=None
)
INGEST_OLDEST_PENDING = Gauge(
    "dcs_ingest_oldest_pending_timestamp_seconds",
    "Unix time at which the oldest pending file was seen; 0 if none is.",
    registry=None,
)
INGEST_NEWEST_DAY = Gauge(
    "dcs_ingest_newest_complete_day_timestamp_seconds",
    "Unix time at which the newest complete day of a client began (UTC).",
    ["client"],
    registry=None,
)
INGEST_DAYS_MISSING = Gauge(
    "dcs_ingest_days_missing",
    "Days of a client that should be complete by now and are not.",
    ["client"],
    registry=None,
)
INGEST_LAST_LISTING = Gauge(
    "dcs_ingest_last_listing_timestamp_seconds",
    "Unix time at which the last scheduled listing of the whole bucket ended; 0 if none did.",
    registry=None,
)


def initialise() -> None:
    """Create every label set that is known before the first event."""
    for operation in S3_OPERATIONS:
        S3_DURATION.labels(operation)
        for outcome in S3_OUTCOMES:
            S3_REQUESTS.labels(operation, outcome)
    for cause in CAUSES:
        INGEST_SEEN.labels(cause)
    for reason in IGNORED:
        INGEST_IGNORED.labels(reason)
    for outcome in ("new", "known", "listings", "ignored"):
        INGEST_EVENTS.labels(outcome)
    for state in FILE_STATES:
        INGEST_FILES.labels(state)
    for outcome in ("stored", "rejected"):
        INGEST_ROWS.labels(outcome)


def initialise_worker() -> None:
    """Expose what only workers have, where files are ingested."""
    for metric in (
        INGEST_OPEN,
        INGEST_OLDEST_PENDING,
        INGEST_NEWEST_DAY,
        INGEST_DAYS_MISSING,
        INGEST_LAST_LISTING,
    ):
        REGISTRY.register(metric)
    for state in ("pending", "dead", "quarantined"):
        INGEST_OPEN.labels(state)
