"""Redis, with time-outs fit for a request path. Nothing is kept there that cannot be lost."""

from __future__ import annotations

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
