"""Redis, with time-outs fit for a request path. Nothing is kept there that cannot be lost."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.settings import Settings
from app.telemetry import metrics
from app.telemetry.limiter import RateLimiter

UNAVAILABLE_LOGS_PER_SECOND = 1

log = structlog.get_logger()
_limiter = RateLimiter(UNAVAILABLE_LOGS_PER_SECOND)


def redis_client(settings: Settings, *, blocking_seconds: float = 0.0) -> redis.Redis:
    """Return a client whose calls end in time; ``blocking_seconds`` is added for blocking reads."""
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=settings.redis_timeout_seconds + blocking_seconds,
        socket_connect_timeout=settings.redis_timeout_seconds,
        retry=Retry(NoBackoff(), 0),  # the default retries ten times: a minute in a black hole
        protocol=2,
        driver_info=None,
    )


def tls_context(target: Mapping[str, Any]) -> ssl.SSLContext | None:
    """Return how to speak to the Redis of a parsed URL, None for in the clear.

    For connections of our own: the library trusts, and shows, what the same options of the URL name.
    """
    if "ssl" not in getattr(target.get("connection_class"), "__name__", "").lower():
        return None
    context = ssl.create_default_context()
    unverified = target.get("ssl_cert_reqs") == "none"
    if unverified or not target.get("ssl_check_hostname", True):
        context.check_hostname = False
    if unverified:
        context.verify_mode = ssl.CERT_NONE
    if "ssl_ca_certs" in target:
        context.load_verify_locations(target["ssl_ca_certs"])
    if "ssl_certfile" in target:
        context.load_cert_chain(target["ssl_certfile"], target.get("ssl_keyfile"))
    return context


def record_redis_error(error: redis.RedisError) -> str:
    """Count and log a failed call; return its reason."""
    if isinstance(error, redis.TimeoutError) or "timed out" in str(error).lower():
        reason = "timeout"
    elif "refused" in str(error).lower():
        reason = "refused"
    else:
        reason = "other"
    metrics.REDIS_ERRORS.labels(reason).inc()
    suppressed = _limiter.allow()
    if suppressed is not None:
        log.warning("redis_unavailable", reason=reason, error=str(error), suppressed=suppressed)
    return reason
