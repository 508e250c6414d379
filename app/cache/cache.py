"""Reading through the cache, with one of many readers doing the work."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.cache.entry import CacheKey, pack, unpack
from app.cache.settings import CacheSettings
from app.net.breaker import Breaker, BreakerOpenError, BreakerState
from app.redis_client import record_redis_error
from app.telemetry.metrics import cache as metrics

BREAKER_FAILURES_MAX = 3
BREAKER_OPEN_SECONDS = 1.0
BREAKER_OPEN_SECONDS_MAX = 10.0
CONNECTIONS_MAX = 20
POLL_SECONDS = 0.02
LOCK_SECONDS_MAX = 10.0

# Whoever was slower than the lock lives must not take away the next one's.
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Codec(Generic[ValueT]):
    """How values become bytes. ``encode``: None for one not to keep. ``decode`` may raise ``ValueError``."""

    encode: Callable[[ValueT], bytes | None]
    decode: Callable[[bytes], ValueT]


@dataclass(frozen=True)
class Lifetime:
    """How long a value is fresh, and how long after that it may be given while one reader renews it."""

    fresh_seconds: float
    stale_seconds: float = 0.0


@dataclass(frozen=True)
class Found:
    """What is kept. ``left_ms``: how long it will be."""

    body: bytes
    left_ms: int

    def fresh(self, lifetime: Lifetime) -> bool:
        """Tell whether it is young enough, if it was kept for ``lifetime``."""
        return self.left_ms > lifetime.stale_seconds * 1000


class _UnavailableError(Exception):
    """Redis cannot be used now."""


class Cache:
    """One of a process. Every method works, and ends in time, whatever Redis does."""

    def __init__(self, url: str, settings: CacheSettings) -> None:
        self._entry_bytes_max = settings.cache_entry_bytes_max
        self._wait_seconds_max = settings.cache_wait_seconds
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=settings.cache_timeout_seconds,
            socket_connect_timeout=settings.cache_timeout_seconds,
            retry=Retry(NoBackoff(), 0),  # the default retries ten times: a minute in a black hole
            max_connections=CONNECTIONS_MAX,
            protocol=2,
            driver_info=None,
        )
        self._breaker = Breaker(
            failures_max=BREAKER_FAILURES_MAX,
            open_seconds=BREAKER_OPEN_SECONDS,
            open_seconds_max=BREAKER_OPEN_SECONDS_MAX,
            on_change=_show_state,
        )

    def get(self, key: CacheKey) -> bytes | None:
        """Return what is kept, or None."""
        found = self.find(key)
        return found.body if found else None

    def find(self, key: CacheKey) -> Found | None:
        """Return what is kept and how long it will be, or None."""
        try:
            found = self._read(key)
        except _UnavailableError as exc:
            metrics.REQUESTS.labels(key.area.value, str(exc)).inc()
            return None
        metrics.REQUESTS.labels(key.area.value, "hit" if found else "miss").inc()
        return found

    def read(self, key: CacheKey, codec: Codec[ValueT]) -> ValueT | None:
        """Return the value that is kept, or None."""
        decoded = self._decoded(key, self.find(key), codec)
        return decoded[0] if decoded else None

    def put(self, key: CacheKey, body: bytes, lifetime: Lifetime) -> None:
        """Keep ``body``, if Redis is there and it is not too large."""
        if len(body) > self._entry_bytes_max:
            metrics.STORES.labels(key.area.value, "too_large").inc()
            return
        milliseconds = int((lifetime.fresh_seconds + lifetime.stale_seconds) * 1000)
        if milliseconds <= 0:
            return
        try:
            with self._operation("put"):
                self._redis.set(key.name, pack(key, body), px=milliseconds)
        except _UnavailableError as exc:
            metrics.STORES.labels(key.area.value, str(exc)).inc()
        else:
            metrics.STORES.labels(key.area.value, "ok").inc()

    def forget(self, *keys: CacheKey) -> None:
        """Drop values. When Redis is away they live until their time is over."""
        if not keys:
            return
        try:
            with self._operation("forget"):
                self._redis.delete(*(key.name for key in keys))
        except _UnavailableError:
            return

    def get_or_load(
        self,
        key: CacheKey,
        load: Callable[[], ValueT],
        codec: Codec[ValueT],
        lifetime: Lifetime,
        *,
        stale_if: tuple[type[Exception], ...] = (),
    ) -> ValueT:
        """Return the value, loading it when it is not kept. Raises what ``load`` does.

        Of many readers of one key one loads and the others wait for it, briefly. After ``fresh_seconds`` one
        loads anew while the others get the old value, and so does that one when ``load`` raises ``stale_if``.
        """
        outcomes = metrics.REQUESTS
        try:
            found = self._read(key)
        except _UnavailableError as exc:
            outcomes.labels(key.area.value, str(exc)).inc()
            return load()
        old = self._decoded(key, found, codec)
        if found is not None and old is not None and found.fresh(lifetime):
            outcomes.labels(key.area.value, "hit").inc()
            return old[0]
        with self._turn(key) as ours:
            if not ours:
                if old is None:
                    old = self._awaited(key, codec)
                if old is not None:
                    outcomes.labels(key.area.value, "stale" if found else "hit").inc()
                    return old[0]
            elif (loaded := self._loaded_meanwhile(key, codec, lifetime)) is not None:
                outcomes.labels(key.area.value, "hit").inc()
                return loaded[0]
            try:
                value = load()
            except stale_if:
                if old is None:
                    raise
                outcomes.labels(key.area.value, "stale").inc()
                return old[0]
            outcomes.labels(key.area.value, "miss").inc()
            body = codec.encode(value)
            if body is not None:
                self.put(key, body, lifetime)
            return value

    def _decoded(self, key: CacheKey, found: Found | None, codec: Codec[ValueT]) -> tuple[ValueT] | None:
        if found is None:
            return None
        try:
            return (codec.decode(found.body),)
        except ValueError:
            metrics.POISONED.labels(key.area.value).inc()
            self.forget(key)
            return None

    def _loaded_meanwhile(
        self, key: CacheKey, codec: Codec[ValueT], lifetime: Lifetime
    ) -> tuple[ValueT] | None:
        """Look again: between our look and our turn another may have had its own."""
        try:
            found = self._read(key)
        except _UnavailableError:
            return None
        return self._decoded(key, found, codec) if found is not None and found.fresh(lifetime) else None

    def _awaited(self, key: CacheKey, codec: Codec[ValueT]) -> tuple[ValueT] | None:
        """Wait for whoever has the lock, as long as there is one."""
        give_up_at = time.monotonic() + self._wait_seconds_max
        while time.monotonic() < give_up_at:
            time.sleep(POLL_SECONDS)
            try:
                found = self._read(key)
                with self._operation("lock"):
                    locked = bool(self._redis.exists(_lock(key)))
            except _UnavailableError:
                return None
            if found is not None:
                return self._decoded(key, found, codec)
            if not locked:
                return None
        return None

    def _read(self, key: CacheKey) -> Found | None:
        with self._operation("get"):
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.get(key.name)
            pipeline.pttl(key.name)
            written, left_ms = pipeline.execute()
        if written is None:
            return None
        body = unpack(key, written)
        if body is None:
            metrics.POISONED.labels(key.area.value).inc()
            self.forget(key)
            return None
        return Found(body, int(left_ms))

    @contextmanager
    def _turn(self, key: CacheKey) -> Iterator[bool]:
        """Tell whether it is ours to load. Without Redis it is everybody's."""
        token = secrets.token_bytes(16)
        try:
            with self._operation("lock"):
                ours = bool(self._redis.set(_lock(key), token, nx=True, px=int(LOCK_SECONDS_MAX * 1000)))
        except _UnavailableError:
            yield True
            return
        try:
            yield ours
        finally:
            if ours:
                self._release(key, token)

    def _release(self, key: CacheKey, token: bytes) -> None:
        try:
            with self._operation("lock"):
                self._redis.eval(_RELEASE, 1, _lock(key), token)
        except _UnavailableError:
            return  # it ends by itself

    @contextmanager
    def _operation(self, name: str) -> Iterator[None]:
        """Time one exchange with Redis. Raises ``_UnavailableError`` with the outcome to count."""
        try:
            self._breaker.admit()
        except BreakerOpenError as exc:
            raise _UnavailableError("bypass") from exc
        started = time.monotonic()
        try:
            yield
        except redis.ResponseError as exc:  # it answered: full, loading, or a script it does not like
            self._breaker.succeeded()
            record_redis_error(exc)
            raise _UnavailableError("error") from exc
        except redis.RedisError as exc:
            self._breaker.failed()
            record_redis_error(exc)
            raise _UnavailableError("error") from exc
        else:
            self._breaker.succeeded()
        finally:
            metrics.OPERATION_DURATION.labels(name).observe(time.monotonic() - started)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


def _lock(key: CacheKey) -> str:
    return f"{key.name}:lock"


def _show_state(state: BreakerState) -> None:
    metrics.BREAKER_STATE.set(state.value)
