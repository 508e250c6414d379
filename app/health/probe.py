"""Probes the dependencies in a thread of its own, whether or not anybody asks."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg2
import redis
from psycopg2.errors import UndefinedTable

from app.database.engine import (
    PING_DEADLINE_SECONDS,
    ConnectError,
    Connector,
    query_failure,
    record_query_error,
)
from app.migrations import HEAD
from app.redis_client import record_redis_error, redis_client
from app.settings import Settings
from app.telemetry import metrics

CONNECT_TIMEOUT_SECONDS_MAX = 2


@dataclass(frozen=True)
class Finding:
    """What the last probe of one dependency found; ``reason`` is None when it is up."""

    reason: str | None
    checked_at: float


class DependencyProbe:
    """Makes a new connection each time: a warm pool says nothing about whether one can still connect."""

    def __init__(self, settings: Settings, connector: Connector) -> None:
        self._interval_seconds = settings.probe_interval_seconds
        self._connector = connector
        self._options = dataclasses.replace(
            connector.options,
            application_name=f"{settings.instance}-probe",
            connect_timeout=min(connector.options.connect_timeout, CONNECT_TIMEOUT_SECONDS_MAX),
            query_deadline=min(connector.options.query_deadline, PING_DEADLINE_SECONDS),
        )
        self._redis = redis_client(settings)
        redis_url = urlsplit(settings.redis_url.get_secret_value())
        self.targets = {
            "postgres": str(connector.target),
            "redis": f"{redis_url.hostname}:{redis_url.port or 6379}",
        }
        self._findings: dict[str, Finding] = {}
        self._migrated: bool | None = None
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._loop, args=(name, check), name=f"probe-{name}", daemon=True)
            for name, check in (("postgres", self._postgres), ("redis", self._ping_redis))
        ]

    def start(self) -> None:
        """Start probing."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end; they are daemons, so nothing waits for a probe that hangs."""
        self._stopping.set()

    @property
    def findings(self) -> dict[str, Finding]:
        """The last finding of each dependency that was probed."""
        return dict(self._findings)

    @property
    def started(self) -> bool:
        """Whether each dependency was probed once."""
        return len(self._findings) == len(self._threads)

    @property
    def unmigrated(self) -> bool:
        """Whether the database is known to lack a revision this code needs."""
        return self._migrated is False

    def _loop(self, name: str, check: Callable[[], str | None]) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            reason = check()
            self._findings[name] = Finding(reason, time.monotonic())
            metrics.DEPENDENCY_UP.labels(name).set(0 if reason else 1)
            # A steady beat: a probe that took long is followed by the next at once.
            self._stopping.wait(max(0.0, started + self._interval_seconds - time.monotonic()))

    def _postgres(self) -> str | None:
        try:
            connection = self._connector.attempt(self._options)
        except ConnectError as exc:
            return exc.reason.value
        with contextlib.closing(connection):
            try:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    self._check_revision(cursor)
            except psycopg2.Error as exc:
                reason = query_failure(exc, connection_lost=connection.closed != 0)
                record_query_error(reason, exc)
                return "timeout" if reason == "deadline" else reason
        return None

    def _check_revision(self, cursor: psycopg2.extensions.cursor) -> None:
        if self._migrated:
            cursor.execute("SELECT 1")
            return
        try:
            cursor.execute("SELECT version_num FROM alembic_version")
            row = cursor.fetchone()
        except UndefinedTable:
            row = None
        self._migrated = row is not None and str(row[0]) >= HEAD

    def _ping_redis(self) -> str | None:
        try:
            self._redis.ping()
        except redis.RedisError as exc:
            return record_redis_error(exc)
        return None
