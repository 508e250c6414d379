"""Who may ask how often, counted in Redis for all processes together.

Without Redis each process counts alone, and lets through its share of what the caller may: never everything,
never nothing.
"""

from __future__ import annotations

import time
from collections import OrderedDict

import redis
import structlog

from app.access.errors import LimitsUnavailableError, TooManyRequestsError
from app.access.gcra import LUA, Decision, LocalCounts, Rate
from app.access.redis_link import RedisLink
from app.access.settings import AccessSettings
from app.redis_client import record_redis_error
from app.telemetry.metrics import access as metrics

BLOCKED_MAX = 10_000
NONCE_PREFIX = b"dcs:nonce:"
RATE_PREFIX = b"dcs:rate:"

log = structlog.get_logger()


class Limits:
    """Takes one from what a caller has left."""

    def __init__(self, settings: AccessSettings, redis_url: str) -> None:
        self._redis_url = redis_url
        self._budget_seconds = settings.access_redis_budget_seconds
        self._processes = settings.access_processes
        self._default = Rate(settings.access_rate_limit_per_minute, settings.access_burst)
        self._anonymous = Rate(settings.access_anonymous_rate_limit_per_minute, settings.access_burst)
        self._failures = Rate(settings.access_failures_per_minute, settings.access_failures_per_minute)
        self._local = LocalCounts()
        self._blocked: OrderedDict[str, float] = OrderedDict()
        self._link: RedisLink | None = None
        self._degraded = False
        metrics.DEGRADED.set_function(lambda: float(self._degraded or not self._linked))

    async def start(self) -> None:
        """Connect to Redis, if it is there."""
        self._link = RedisLink(self._redis_url, budget_seconds=self._budget_seconds, script=LUA)
        await self._link.start()

    async def stop(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.stop()

    async def take_key(self, key_id: str, per_minute: int | None, burst: int | None) -> Decision:
        """Count a request with a key. Raises ``TooManyRequestsError``."""
        rate = self._default
        if per_minute is not None or burst is not None:
            rate = Rate(per_minute or rate.per_minute, burst or min(rate.burst, per_minute or rate.burst))
        return self._let(await self._take(b"key:" + key_id.encode(), rate), "key")

    async def take_anonymous(self, address: str) -> Decision:
        """Count a request without a key. Raises ``TooManyRequestsError``."""
        return self._let(await self._take(b"anonymous:" + address.encode(), self._anonymous), "anonymous")

    async def take_failure(self, address: str) -> None:
        """Count a credential that was wrong. Raises ``TooManyRequestsError`` when there were too many."""
        decision = await self._take(b"failures:" + address.encode(), self._failures)
        if not decision.allowed:
            self._blocked[address] = time.monotonic() + decision.retry_after_us / 1_000_000
            self._blocked.move_to_end(address)
            while len(self._blocked) > BLOCKED_MAX:
                self._blocked.popitem(last=False)
        self._let(decision, "failures")

    def check_not_blocked(self, address: str) -> None:
        """Raise ``TooManyRequestsError`` while an address has failed too often, without asking anybody."""
        until = self._blocked.get(address)
        if until is None:
            return
        left = until - time.monotonic()
        if left <= 0:
            del self._blocked[address]
            return
        decision = Decision(
            allowed=False,
            rate=self._failures,
            remaining=0,
            retry_after_us=int(left * 1_000_000),
            reset_us=self._failures.tolerance_us,
        )
        self._let(decision, "failures")

    def require_shared(self) -> None:
        """Raise ``LimitsUnavailableError`` while requests cannot be counted for all processes together."""
        if not self._linked or self._degraded:
            metrics.REFUSED.labels("limits_unavailable").inc()
            raise LimitsUnavailableError

    async def use_nonce(self, nonce: bytes, *, seconds: int) -> bool:
        """Return whether nobody used this before. Raises ``LimitsUnavailableError`` if it cannot be known."""
        if self._link is not None:
            try:
                reply = await self._link.command(
                    b"SET", NONCE_PREFIX + nonce, b"1", b"NX", b"EX", b"%d" % seconds
                )
            except redis.RedisError as exc:
                record_redis_error(exc)
            else:
                return reply is not None
        metrics.REFUSED.labels("limits_unavailable").inc()
        raise LimitsUnavailableError

    @property
    def _linked(self) -> bool:
        return self._link is not None and self._link.available

    async def _take(self, caller: bytes, rate: Rate) -> Decision:
        if self._link is not None and self._link.available:
            try:
                reply = await self._link.run_script(
                    RATE_PREFIX + caller, b"%d" % rate.interval_us, b"%d" % rate.tolerance_us
                )
            except redis.ResponseError as exc:  # it answers, but not this: it loads, is full, is read-only
                record_redis_error(exc)
                self._degraded = True
            except redis.RedisError:
                pass  # the link counts and logs how it was lost
            else:
                self._degraded = False
                assert isinstance(reply, list)  # noqa: S101  what the script returns
                allowed, ahead_us = reply
                return Decision.of(rate, allowed=allowed == 1, ahead_us=ahead_us)
        metrics.RATE_LIMITED_LOCALLY.inc()
        now_us = time.monotonic_ns() // 1_000
        return self._local.take(caller, now_us, rate.shared_by(self._processes))

    @staticmethod
    def _let(decision: Decision, kind: str) -> Decision:
        if not decision.allowed:
            metrics.RATE_LIMITED.labels(kind).inc()
            raise TooManyRequestsError(decision)
        return decision
