"""What the API and the workers have in common: settings, all through the service's proxies."""

from __future__ import annotations

import json

from chaos.domain.topology import Topology
from chaos.stacks.embedded import objectstore
from chaos.stacks.embedded.daemon import Context, python_environment

DRAIN_SECONDS = 8  # a restart in a drill must not take long
STOP_SECONDS = 15
"""When supervisor kills: after draining, giving jobs back (a query deadline, 3 s) and sending logs (2 s)."""

LISTING_EVERY_MINUTES = 15
"""A day's listing on the lab clock comes every 48 minutes; what an event did not tell is found by then."""
DAYS_BACK = 3
"""As many days as the lab's clients have delivered when they start."""
_FINDINGS = {"key": "id", "required": ["asset"], "types": {"severity": "integer"}}

# What sources and modules may connect to; each is a proxy on loopback, allowed by its own port and no other.
_ALLOWED = (
    ("http", "evidence-api"),
    ("postgresql", "client-postgres"),
    ("s3+http", "s3"),
    ("http", "moderation-api"),
)


def _sources_allow(topology: Topology) -> str:
    proxies = topology.service_proxies
    return json.dumps([f"{scheme}://{proxies[name].listen}" for scheme, name in _ALLOWED if name in proxies])


def _ingestion(context: Context) -> dict[str, str]:
    access, secret = (str(context.secret(name)) for name in objectstore.key_files(objectstore.SERVICE))
    times = [
        f"{hour:02d}:{minute:02d}" for hour in range(24) for minute in range(0, 60, LISTING_EVERY_MINUTES)
    ]
    return {
        "DCS_S3_ENDPOINT": context.topology.via("s3").url,
        "DCS_S3_ACCESS_KEY_FILE": access,
        "DCS_S3_SECRET_KEY_FILE": secret,
        "DCS_S3_READ_TIMEOUT_SECONDS": "3",
        "DCS_INGEST_BUCKET": objectstore.BUCKET,
        "DCS_INGEST_TIMES_UTC": json.dumps(times),
        "DCS_INGEST_DAYS_BACK": str(DAYS_BACK),
        "DCS_INGEST_WATCH_INTERVAL_SECONDS": "1",
        "DCS_INGEST_DATASETS": json.dumps({"findings": _FINDINGS}),
    }


def settings(context: Context, instance: str) -> dict[str, str]:
    """Return the service's settings at the baseline."""
    topology = context.topology
    database, client = topology.via("postgres"), topology.via("client-postgres")
    evidence = {"url": topology.via("evidence-api").url, "contract": "evidence"}
    own = topology.address(instance)
    acme = {
        "host": client.host,
        "port": client.port,
        "name": "acme",
        "user": "client_acme_ro",
        "password_file": str(context.secret("client_acme_ro")),
    }
    return {
        "DCS_INSTANCE": instance,
        "DCS_ENVIRONMENT": "lab",
        "DCS_HOST": own.host,
        "DCS_PORT": str(own.port),
        "DCS_DATABASE_HOST": database.host,
        "DCS_DATABASE_PORT": str(database.port),
        "DCS_DATABASE_NAME": "dcs",
        "DCS_DATABASE_USER": "dcs",
        "DCS_DATABASE_PASSWORD_FILE": str(context.secret("dcs")),
        "DCS_DATABASE_SSLMODE": "disable",  # the wheel's PostgreSQL is built without TLS
        "DCS_DATABASE_CONNECT_TIMEOUT_SECONDS": "2",
        "DCS_DATABASE_QUERY_DEADLINE_SECONDS": "3",
        "DCS_DATABASE_POOL_SIZE": "5",
        "DCS_PROBE_INTERVAL_SECONDS": "1",  # said here too: a drill's deadlines are computed from it
        "DCS_DRAIN_TIMEOUT_SECONDS": str(DRAIN_SECONDS),
        "DCS_REDIS_URL": f"redis://{topology.via('redis')}/0",
        "DCS_ACCESS_PEPPER_FILE": str(context.secret("access-pepper")),
        "DCS_ACCESS_TOKEN_KEYS": json.dumps({"lab-1": str(context.secret("access-token"))}),
        "DCS_ACCESS_TOKEN_KEY": "lab-1",
        # nginx comes through Toxiproxy, from this machine: whoever asks an API directly from it is believed.
        "DCS_ACCESS_TRUSTED_PROXIES": '["127.0.0.1/32"]',
        "DCS_ACCESS_PROCESSES": "2",
        "DCS_API_SOURCES": json.dumps({"evidence": evidence}),
        "DCS_CLIENT_DATABASES": json.dumps({"acme": acme}),
        "DCS_SOURCES_ALLOW": _sources_allow(topology),
        "DCS_FILE_ROOT": str(context.layout.files),
        "DCS_AVATARS_MODERATION": "http",
        "DCS_AVATARS_VERDICT_REUSE_SECONDS": "0",  # every avatar goes the way to the moderation
        "DCS_AVATARS_MODERATION_URL": topology.via("moderation-api").url,
        "DCS_OTLP_LOGS_ENDPOINT": topology.monitored_via("loki").url + "/otlp/v1/logs",
    } | _ingestion(context)


def environment(context: Context, instance: str) -> dict[str, str]:
    """Return the whole environment of one process of the service."""
    return python_environment() | settings(context, instance)
