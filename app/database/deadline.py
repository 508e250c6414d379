"""The query deadline: frees an operation that hangs on a dead network path.

Behind a proxy that swallows packets neither keepalives, nor ``tcp_user_timeout``, nor
``statement_timeout`` end a query: the proxy acknowledges for the server, and the server's own
answer is swallowed too. Shutting the socket down from another thread does.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
from psycopg2 import extensions


class QueryDeadlineExceededError(psycopg2.OperationalError):
    """The database did not answer within the query deadline; the connection was shut down."""


class Watch:
    """One guarded operation."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fired = False
        self.done = False


class DeadlineWatchdog:
    """One thread that shuts down the sockets of overdue operations."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Watch]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def guard(self, fileno: int, seconds: float) -> Iterator[Watch]:
        """Shut the socket down if the body takes longer than ``seconds``; ``fired`` tells."""
        # A duplicate: the descriptor may be closed, and its number reused, before the deadline.
        watch = Watch(socket.fromfd(fileno, socket.AF_INET, socket.SOCK_STREAM))
        self._add(time.monotonic() + seconds, watch)
        try:
            yield watch
        finally:
            with self._changed:
                watch.done = True
                watch.sock.close()

    def _add(self, due: float, watch: Watch) -> None:
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="query-deadline", daemon=True)
                self._thread.start()
            heapq.heappush(self._heap, (due, next(self._order), watch))
            if self._heap[0][2] is watch:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                if not self._heap:
                    self._changed.wait()
                    continue
                due, _, watch = self._heap[0]
                wait_seconds = due - time.monotonic()
                if wait_seconds > 0 and not watch.done:
                    self._changed.wait(wait_seconds)
                    continue
                heapq.heappop(self._heap)
                if not watch.done:
                    self._fire(watch)

    @staticmethod
    def _fire(watch: Watch) -> None:
        watch.fired = True
        with contextlib.suppress(OSError):  # the peer was quicker: the operation is failing already
            watch.sock.shutdown(socket.SHUT_RDWR)


WATCHDOG = DeadlineWatchdog()


class DeadlineCursor(extensions.cursor):
    """A cursor whose every round trip has the deadline of its connection."""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002
        """Execute within the deadline."""
        with _guard(self.connection):
            super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        """Execute within the deadline."""
        with _guard(self.connection):
            super().executemany(query, vars_list)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """Copy within the deadline."""
        with _guard(self.connection):
            super().copy_expert(sql, file, size)


class DeadlineConnection(extensions.connection):
    """A connection whose every round trip ends within ``deadline_seconds``."""

    deadline_seconds: float = 3.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = DeadlineCursor

    def commit(self) -> None:
        """Commit within the deadline."""
        with _guard(self):
            super().commit()

    def rollback(self) -> None:
        """Roll back within the deadline."""
        with _guard(self):
            super().rollback()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Use another deadline for the body."""
        before = self.deadline_seconds
        self.deadline_seconds = seconds
        try:
            yield
        finally:
            self.deadline_seconds = before


@contextlib.contextmanager
def _guard(connection: Any) -> Iterator[None]:
    if not isinstance(connection, DeadlineConnection) or connection.closed:
        yield  # psycopg2 itself says that it is closed
        return
    with WATCHDOG.guard(connection.fileno(), connection.deadline_seconds) as watch:
        try:
            yield
        except psycopg2.Error as exc:
            if watch.fired:
                msg = f"no answer within {connection.deadline_seconds:g} s; the connection was shut down"
                raise QueryDeadlineExceededError(msg) from exc
            raise
