"""What settings mean that do not say it where they are declared, and defaults that depend on the machine."""

from __future__ import annotations

from collections.abc import Mapping

DEFAULTS: Mapping[str, str] = {
    "LAB_ID": "a hash of the checkout's path",
    "LAB_STATE_ROOT": "$XDG_STATE_HOME/firedrill, ~/.local/state/firedrill; for root /var/lib/firedrill",
    "LAB_CACHE_DIR": "$XDG_CACHE_HOME/firedrill, ~/.cache/firedrill",
    "LAB_OBSERVABILITY_DIR": "observability, in the checkout",
    "LAB_SCENARIOS_DIR": "scenarios, in the checkout",
}

NOTES: Mapping[str, str] = {
    "LAB_ID": "Which lab. State, ports and processes belong to it; another id is another lab.",
    "LAB_STATE_ROOT": "Where labs keep data, logs, journals and reports, a folder for each id.",
    "LAB_CACHE_DIR": "Where programs that were fetched or built are kept, for every checkout of this user.",
    "LAB_OBSERVABILITY_DIR": "Rules and configuration to deploy, to try others than the checkout's.",
    "LAB_SCENARIOS_DIR": "Where scenarios are, to try others than the checkout's.",
    "LAB_PORT_BASE": "First of the lab's 100 ports. Left out: a free block from 18000 on, which it keeps.",
    "LAB_DISK_FREE_MIN_BYTES": "With less free disk than this nothing is started.",
    "LAB_UP_TIMEOUT_SECONDS": "By then every daemon must serve.",
    "LAB_HEAL_TIMEOUT_SECONDS": "By then healing must be done.",
    "LAB_PROBE_TIMEOUT_SECONDS": "How long a program may take to say its version.",
    "LAB_RELEASE_CONNECT_TIMEOUT_SECONDS": "How long a release server may take to answer.",
    "LAB_RELEASE_READ_TIMEOUT_SECONDS": "How long a download may stand still.",
    "LAB_RELEASE_TIMEOUT_SECONDS": "How long one archive may take in all.",
    "LAB_APT_TIMEOUT_SECONDS": "How long one call of Debian's package tools may take.",
    "LAB_GO_INSTALL_TIMEOUT_SECONDS": "How long installing Go from its wheel may take.",
    "LAB_GO_BUILD_TIMEOUT_SECONDS": "How long one build may take.",
    "LAB_LOCK_TIMEOUT_SECONDS": "How long to wait for another process that gets the same program.",
    "DCS_INSTANCE": "Name of this process in logs (`service.instance.id`) and in /health.",
    "DCS_ENVIRONMENT": "Name of the deployment in logs (`deployment.environment.name`).",
    "DCS_HOST": "Address to listen on.",
    "DCS_DATABASE_HOST": "Where the service's own database is.",
    "DCS_DATABASE_PORT": "Its port.",
    "DCS_DATABASE_NAME": "Its name.",
    "DCS_DATABASE_USER": "Who the service is there.",
    "DCS_DATABASE_PASSWORD_FILE": "File with the password, read at every connect.",
    "DCS_DATABASE_CONNECT_TIMEOUT_SECONDS": "libpq's `connect_timeout`, per address of the host.",
    "DCS_DATABASE_QUERY_DEADLINE_SECONDS": "An operation that takes longer is cut off at its socket.",
    "DCS_DATABASE_POOL_SIZE": "Connections per process; the API's thread pool has as many.",
    "DCS_DATABASE_POOL_TIMEOUT_SECONDS": "How long a request waits for a connection of the pool.",
    "DCS_REDIS_URL": "Where Redis is.",
    "DCS_REDIS_TIMEOUT_SECONDS": "For connecting and for each operation.",
    "DCS_API_SOURCES": "JSON object: name to base URL of an API, or to `{url, contract, fresh_seconds}`.",
    "DCS_CLIENT_DATABASES": "JSON object: name to `{host, port, name, user, …}`; see docs/howto/sources.md.",
    "DCS_FILE_ROOT": "Folder below which the `file` source may read. Left out: no files.",
    "DCS_OTLP_LOGS_ENDPOINT": "Full OTLP/HTTP URL for logs, `…/v1/logs`. Left out: standard output only.",
    "DCS_LEASE_SECONDS": "How long a worker owns a job without a sign of life.",
    "DCS_POLL_INTERVAL_SECONDS": "How often a worker looks for jobs when nobody wakes it.",
    "DCS_RECONCILE_INTERVAL_SECONDS": "How often jobs of dead workers are taken back and figures made.",
    "DCS_PROBE_INTERVAL_SECONDS": "How often the dependencies in /health are probed.",
    "DCS_WORKER_THREADS": "Jobs a worker runs at once; one of several is kept free of avatars and ingestion.",
    "DCS_MAX_ATTEMPTS": "After this many failed attempts a job is dead.",
    "DCS_SOURCE_TIMEOUT_SECONDS": "How long one call of a source may take.",
}
