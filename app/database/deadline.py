"""The query deadline: frees an operation that hangs on a dead network path.

Behind a proxy that swallows packets neither keepalives, nor ``tcp_user_timeout``, nor
``statement_timeout`` end a query: the proxy acknowledges for the server, and the server's own
answer is swallowed too. Shutting the socket down from another thread does.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import psycopg2
from psycopg2 import extensions

BUSY_SECONDS = 0.05
"""A connection that answered less than this ago is not even looked at: a system call lets go of the GIL."""
LOOK_SECONDS = 0.25
"""How long the watchdog sleeps while connections are in use; what is due earlier wakes it."""


class QueryDeadlineExceededError(psycopg2.OperationalError):
    """The database did not answer within the query deadline; the connection was shut down."""


class Line:
    """One connection's socket. ``with line.within(3.0):`` guards one operation on it; they do not nest."""

    __slots__ = ("__weakref__", "_seconds", "_watchdog", "answered_at", "due", "fileno", "fired")

    def __init__(self, watchdog: DeadlineWatchdog, fileno: int) -> None:
        self._watchdog = watchdog
        # A duplicate: the connection's own may be closed, and its number reused, before the deadline.
        self.fileno = os.dup(fileno)
        self._seconds = self.due = math.inf
        self.fired = False
        self.answered_at = time.monotonic()

    def within(self, seconds: float) -> Line:
        """Set the deadline of the next operation."""
        self._seconds = seconds
        return self

    def __enter__(self) -> None:
        self._watchdog.arm(self, time.monotonic() + self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.disarm(self)
        if kind is None:
            self.answered_at = time.monotonic()

    def quiet(self) -> bool:
        """Return whether nothing has arrived that nobody asked for, such as the end of the connection."""
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Let go of the socket: as long as it is held, the server is not told that the connection ended."""
        self._watchdog.forget(self)

    def __del__(self) -> None:
        self.close()


class DeadlineWatchdog:
    """One thread that shuts down the sockets of overdue operations.

    Operations are many and overdue ones few: all that is done for one is to note when it is due.
    """

    def __init__(self) -> None:
        # Reentrant: a line may be collected, and forgotten, by the thread that holds it.
        self._lock = threading.RLock()
        self._look_now = threading.Event()
        self._lines: weakref.WeakSet[Line] = weakref.WeakSet()
        self._wakes_at = math.inf
        self._in_use = False
        self._thread: threading.Thread | None = None

    def line(self, fileno: int) -> Line:
        """Return a guard for the operations on a socket."""
        line = Line(self, fileno)
        with self._lock:
            self._lines.add(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="query-deadline", daemon=True)
                self._thread.start()
        return line

    def arm(self, line: Line, due: float) -> None:
        """Note that an operation begins, and when it must have ended."""
        with self._lock:
            line.due = due
            self._in_use = True
            sooner = due < self._wakes_at
        if sooner:
            self._look_now.set()

    def disarm(self, line: Line) -> None:
        """Note that it has ended."""
        with self._lock:
            line.due = math.inf

    def forget(self, line: Line) -> None:
        """Close what a line holds."""
        with self._lock:
            self._lines.discard(line)
            line.due = math.inf
            fileno, line.fileno = line.fileno, -1
        if fileno >= 0:
            os.close(fileno)

    def _run(self) -> None:
        while True:
            self._look_now.wait(self._look())
            self._look_now.clear()

    def _look(self) -> float | None:
        """Shut down what is overdue. Return how long to sleep; None: until somebody needs it."""
        with self._lock:
            now = time.monotonic()
            earliest = math.inf
            for line in self._lines:
                if line.due <= now:
                    self._fire(line)
                else:
                    earliest = min(earliest, line.due)
            # While operations come and go, waking it for each first one would cost more than looking.
            in_use, self._in_use = self._in_use, False
            if earliest == math.inf and not in_use:
                self._wakes_at = math.inf
                return None
            self._wakes_at = min(earliest, now + LOOK_SECONDS)
            return self._wakes_at - now

    @staticmethod
    def _fire(line: Line) -> None:
        line.fired = True
        line.due = math.inf
        sock = socket.socket(fileno=line.fileno)
        with contextlib.suppress(OSError):  # the peer was quicker: the operation is failing already
            sock.shutdown(socket.SHUT_RDWR)
        sock.detach()


WATCHDOG = DeadlineWatchdog()


class DeadlineCursor(extensions.cursor):
    """A cursor whose every round trip has the deadline of its connection."""

    connection: DeadlineConnection

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002
        """Execute within the deadline."""
        with self.connection.round_trip():
            super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        """Execute within the deadline."""
        with self.connection.round_trip():
            super().executemany(query, vars_list)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """Copy within the deadline."""
        with self.connection.round_trip():
            super().copy_expert(sql, file, size)


class _RoundTrip:
    """Guards one round trip of a connection, and tells its failure from that of the deadline."""

    __slots__ = ("_line", "_seconds")

    def __init__(self, line: Line, seconds: float) -> None:
        self._line = line
        self._seconds = seconds

    def __enter__(self) -> None:
        self._line.within(self._seconds).__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.__exit__(kind, exc, trace)
        if self._line.fired and isinstance(exc, psycopg2.Error):
            msg = f"no answer within {self._seconds:g} s; the connection was shut down"
            raise QueryDeadlineExceededError(msg) from exc


class DeadlineConnection(extensions.connection):
    """A connection whose every round trip ends within ``deadline_seconds``."""

    deadline_seconds: float = 3.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = DeadlineCursor
        self._line = WATCHDOG.line(self.fileno())

    def round_trip(self) -> _RoundTrip:
        """Return the guard of one round trip."""
        return _RoundTrip(self._line, self.deadline_seconds)

    def commit(self) -> None:
        """Commit within the deadline."""
        if self.status == extensions.STATUS_READY:
            super().commit()  # nothing to commit: nothing is sent
            return
        with self.round_trip():
            super().commit()

    def rollback(self) -> None:
        """Roll back within the deadline."""
        if self.status == extensions.STATUS_READY:
            super().rollback()
            return
        with self.round_trip():
            super().rollback()

    def close(self) -> None:
        """Close at once."""
        self._line.close()
        super().close()

    def answered_within(self, seconds: float) -> bool:
        """Return whether it was in use until just now, and has not been ended by the server since."""
        idle_seconds = time.monotonic() - self._line.answered_at
        return idle_seconds < seconds and (idle_seconds < BUSY_SECONDS or self._line.quiet())

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Use another deadline for the body."""
        before = self.deadline_seconds
        self.deadline_seconds = seconds
        try:
            yield
        finally:
            self.deadline_seconds = before
