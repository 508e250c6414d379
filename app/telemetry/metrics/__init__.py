"""Every metric of the service, a module per slice. All known label sets exist from the start, at 0."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics

from app.database.failures import ConnectFailure
from app.telemetry.metrics import access, avatars, cache, ingest, jobs, runtime, sources
from app.telemetry.tally import TalliedHistogram

# A series more per label set, which nobody asks for: every label set exists from the start.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
JOB_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
SOURCE_TYPES = ("api", "database", "file", "s3")
KINDS_OF_JOBS = (*SOURCE_TYPES, "avatar", *ingest.KINDS)

BUILD_INFO = Gauge("dcs_build_info", "Always 1; the version is a label.", ["version"])

HTTP_REQUESTS = Counter(
    "dcs_http_requests_total", "Requests answered, by route template.", ["method", "route", "status"]
)
HTTP_REQUEST_DURATION = TalliedHistogram(
    "dcs_http_request_duration_seconds",
    "Time to answer a request.",
    ["method", "route"],
    buckets=REQUEST_BUCKETS,
)

DB_CONNECT_ERRORS = Counter(
    "dcs_db_connect_errors_total", "Failed attempts to connect to the service's database.", ["reason"]
)
DB_QUERY_ERRORS = Counter(
    "dcs_db_query_errors_total", "Operations that failed on an established connection.", ["reason"]
)
DB_POOL_CONNECTIONS = Gauge("dcs_db_pool_connections", "Connections of this process's pool.", ["state"])
DB_TARGET_INFO = Gauge(
    "dcs_db_target_info", "Always 1; where this process expects its database.", ["host", "port", "database"]
)
DEPENDENCY_UP = Gauge(
    "dcs_dependency_up", "1 when the last probe of the dependency succeeded.", ["dependency"]
)
REDIS_ERRORS = Counter("dcs_redis_errors_total", "Failed operations on Redis.", ["reason"])

JOBS_SUBMITTED = Counter("dcs_jobs_submitted_total", "Jobs accepted and committed.", ["source_type"])
JOBS_FINISHED = Counter("dcs_jobs_finished_total", "Jobs that ended.", ["source_type", "outcome"])
JOB_DURATION = Histogram(
    "dcs_job_duration_seconds",
    "Time from claim to the end of an attempt.",
    ["source_type"],
    buckets=JOB_BUCKETS,
)

# Only of workers: an API that exposed them at 0 would look like a worker that is dead.
JOBS_QUEUED = Gauge("dcs_jobs_queued", "Jobs due and waiting for a worker.", registry=None)
JOBS_OLDEST_QUEUED = Gauge(
    "dcs_jobs_oldest_queued_timestamp_seconds",
    "Unix time since which the oldest waiting job waits: due, and with no worker; 0 if none waits.",
    registry=None,
)
WORKER_HEARTBEAT = Gauge(
    "dcs_worker_heartbeat_timestamp_seconds",
    "Unix time at which this worker last had all threads alive.",
    registry=None,
)
WORKER_JOBS_RUNNING = Gauge("dcs_worker_jobs_running", "Jobs this worker is running.", registry=None)
WORKER_RESCUES = Counter(
    "dcs_worker_rescues_total", "Jobs taken back from a worker whose lease ran out.", registry=None
)

SOURCE_REQUESTS = Counter("dcs_source_requests_total", "Calls of sources.", ["source_type", "outcome"])
RECORDS_STORED = Counter("dcs_records_stored_total", "Records stored.", ["source_type"])


def initialise(version: str, *, host: str, port: int, database: str) -> None:
    """Create every label set that is known before the first event."""
    BUILD_INFO.labels(version).set(1)
    DB_TARGET_INFO.labels(host, str(port), database).set(1)
    for failure in ConnectFailure:
        DB_CONNECT_ERRORS.labels(failure.value)
    for reason in ("deadline", "connection_lost", "other"):
        DB_QUERY_ERRORS.labels(reason)
    for reason in ("refused", "timeout", "other"):
        REDIS_ERRORS.labels(reason)
    for dependency in ("postgres", "redis"):
        DEPENDENCY_UP.labels(dependency)
    for kind in KINDS_OF_JOBS:
        JOBS_SUBMITTED.labels(kind)
        JOB_DURATION.labels(kind)
        for outcome in ("succeeded", "failed", "dead", "cancelled"):
            JOBS_FINISHED.labels(kind, outcome)
    for source_type in SOURCE_TYPES:
        RECORDS_STORED.labels(source_type)
        sources.REQUEST_DURATION.labels(source_type)
        for outcome in ("ok", "error", "timeout", "refused", "stopped"):
            SOURCE_REQUESTS.labels(source_type, outcome)
    for slice_ in (access, avatars, cache, ingest, jobs, runtime, sources):
        slice_.initialise()


def initialise_worker() -> None:
    """Expose what only workers have."""
    for metric in (JOBS_QUEUED, JOBS_OLDEST_QUEUED, WORKER_HEARTBEAT, WORKER_JOBS_RUNNING, WORKER_RESCUES):
        REGISTRY.register(metric)
    for metric in (runtime.WORKER_THREADS, *jobs.OF_WORKERS):
        REGISTRY.register(metric)
    ingest.initialise_worker()
