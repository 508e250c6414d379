"""Which keys exist: PostgreSQL's answer, remembered for seconds.

The lookups have a connection of their own, so that a full pool does not keep a caller from being recognised,
and ask in batches, one at a time: however many unknown keys come in, the database sees one small query.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from dataclasses import dataclass

import anyio
import anyio.to_thread
import psycopg2

from app.access.repository import KeyRecord, look_up, note_use
from app.database.deadline import DeadlineConnection
from app.database.engine import ConnectError, Connector, query_failure, record_query_error
from app.errors import DatabaseUnavailableError
from app.telemetry.metrics import access as metrics

FRESH_SECONDS = 2.0
"""How long an answer holds. With the query deadline (3 s) a revoked key is dead everywhere within 5 s."""
REFRESH_SECONDS = 1.0
"""An answer this old is asked for again, while it still holds: callers seldom wait."""
WAIT_SECONDS_MAX = 1.0
HOLD_OFF_SECONDS = 0.5
KNOWN_MAX = 10_000
UNKNOWN_MAX = 10_000
PENDING_MAX = 2_000
BATCH_MAX = 200


@dataclass
class _Entry:
    record: KeyRecord
    at: float


class KeyDirectory:
    """Answers who a key belongs to. Used on the event loop; only queries run in a thread."""

    def __init__(self, connector: Connector, *, grace_seconds: float) -> None:
        self._connector = connector
        self._grace_seconds = grace_seconds
        self._known: OrderedDict[str, _Entry] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._pending: dict[str, asyncio.Future[KeyRecord | None]] = {}
        self._used: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._failed_at = float("-inf")
        self._failure = "unavailable"
        self._limiter = anyio.CapacityLimiter(1)
        self._connection: DeadlineConnection | None = None

    def knows(self, key_id: str) -> bool:
        """Return whether the key was seen in the database lately."""
        return key_id in self._known

    async def find(self, key_id: str) -> KeyRecord | None:
        """Return a key as it was at most 2 s ago, or None if there is none.

        While the database does not answer, a key that it knew within the grace period still counts.

        Raises:
            DatabaseUnavailableError: It cannot be known now.

        """
        now = time.monotonic()
        entry = self._known.get(key_id)
        if entry is not None and now - entry.at < FRESH_SECONDS:
            self._known.move_to_end(key_id)
            if now - entry.at > REFRESH_SECONDS and now - self._failed_at > HOLD_OFF_SECONDS:
                self._ask(key_id)
            return entry.record
        if now - self._unknown.get(key_id, float("-inf")) < FRESH_SECONDS:
            return None
        try:
            return await self._wait(key_id, now)
        except DatabaseUnavailableError:
            if entry is None or now - entry.at > self._grace_seconds:
                raise
            metrics.KEYS_BY_GRACE.inc()
            return entry.record

    def note_use(self, key_id: str) -> None:
        """Remember that a key was used; it is written with the next lookup."""
        if len(self._used) < BATCH_MAX:
            self._used.add(key_id)

    def close(self) -> None:
        """Close the connection."""
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self._connection.close()

    async def _wait(self, key_id: str, now: float) -> KeyRecord | None:
        if now - self._failed_at < HOLD_OFF_SECONDS:
            raise DatabaseUnavailableError(self._failure)
        future = self._ask(key_id)
        if future is None:
            raise DatabaseUnavailableError("overloaded")
        # Who comes while a query hangs does not wait for it from the start.
        patience = max(0.0, WAIT_SECONDS_MAX - (now - self._asked_at))
        done, _ = await asyncio.wait((future,), timeout=patience)
        if not done:
            raise DatabaseUnavailableError("deadline")
        return future.result()

    def _ask(self, key_id: str) -> asyncio.Future[KeyRecord | None] | None:
        future = self._pending.get(key_id)
        if future is None:
            if len(self._pending) >= PENDING_MAX:
                return None
            future = self._pending[key_id] = asyncio.get_running_loop().create_future()
            # Whoever waited may have gone: then nobody looks at how it ended.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._task is None or self._task.done():
            self._asked_at = time.monotonic()
            self._task = asyncio.create_task(self._drain())
        return future

    async def _drain(self) -> None:
        while self._pending:
            batch = list(self._pending)[:BATCH_MAX]
            used, self._used = self._used, set()
            self._asked_at = time.monotonic()
            try:
                found = await anyio.to_thread.run_sync(self._query, batch, used, limiter=self._limiter)
            except DatabaseUnavailableError as exc:
                self._fail(exc.reason)
                return
            except BaseException:
                # A defect, or the end. What was asked for is not to be in the next batch again, and the next.
                self._fail("unavailable")
                raise
            for key_id in batch:
                self._learn(key_id, found.get(key_id))

    def _fail(self, reason: str) -> None:
        self._failed_at, self._failure = time.monotonic(), reason
        metrics.KEY_LOOKUPS.labels("failed").inc(len(self._pending))
        waiting, self._pending = self._pending, {}
        for future in waiting.values():
            future.set_exception(DatabaseUnavailableError(reason))

    def _learn(self, key_id: str, record: KeyRecord | None) -> None:
        # As of when it was asked for: what changed while the answer travelled is not in it.
        if record is None:
            metrics.KEY_LOOKUPS.labels("unknown").inc()
            self._known.pop(key_id, None)
            self._unknown[key_id] = self._asked_at
            self._unknown.move_to_end(key_id)
            while len(self._unknown) > UNKNOWN_MAX:
                self._unknown.popitem(last=False)
        else:
            metrics.KEY_LOOKUPS.labels("found").inc()
            self._known[key_id] = _Entry(record, self._asked_at)
            self._known.move_to_end(key_id)
            while len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        self._pending.pop(key_id).set_result(record)

    def _query(self, key_ids: list[str], used: set[str]) -> dict[str, KeyRecord]:
        # A connection that the server closed while nothing was asked is worth a second try.
        for kept in (self._connection is not None, False):
            try:
                if self._connection is None:
                    self._connection = self._connector.connect()
                    self._connection.autocommit = True
                found = look_up(self._connection, key_ids)
            except ConnectError as exc:
                raise DatabaseUnavailableError(exc.reason.value) from exc
            except psycopg2.Error as exc:
                reason = self._drop(exc)
                if not (kept and reason == "connection_lost"):
                    raise DatabaseUnavailableError(reason) from exc
            else:
                self._note(self._connection, used)
                return found
        raise DatabaseUnavailableError("connection_lost")

    def _note(self, connection: DeadlineConnection, used: set[str]) -> None:
        # Only after it is known who they are: a database that is full, or read-only, still knows that.
        try:
            if used:
                note_use(connection, used)
        except psycopg2.Error as exc:
            if connection.closed:
                self._drop(exc)
            else:
                record_query_error(query_failure(exc, connection_lost=False), exc)

    def _drop(self, error: psycopg2.Error) -> str:
        connection, self._connection = self._connection, None
        lost = connection is None or connection.closed != 0
        reason = query_failure(error, connection_lost=lost)
        record_query_error(reason, error)
        if connection is not None:
            with contextlib.suppress(psycopg2.Error):
                connection.close()
        return "unmigrated" if isinstance(error, psycopg2.errors.UndefinedTable) else reason
