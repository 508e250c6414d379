"""A reporting tool on the client's PostgreSQL server that opens connections and never returns them."""

from __future__ import annotations

import argparse
import logging
import select
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2

from chaos.upstreams import serving

PROGRAM = "reporting"
ATTEMPT_INTERVAL_SECONDS = 0.005  # between two attempts of the whole program on a full server
OUTAGE_INTERVAL_SECONDS = 0.1  # between two attempts of one thread on a server that is away
WATCH_INTERVAL_MS = 100  # how long a full quota sleeps before it looks at the stop flag
CONNECT_TIMEOUT_SECONDS = 2  # the shortest libpq knows
STOP_TIMEOUT_SECONDS = 2.5
LOG_INTERVAL_SECONDS = 1.0

# libpq gives no SQLSTATE for a failed connect; these are the server's own English messages.
_FULL = ("too many clients already", "remaining connection slots are reserved", "too many connections for")
_CHANGING = ("is starting up", "is shutting down", "not yet accepting connections", "in recovery mode")

_LOGGER = logging.getLogger("chaos.upstreams.reporting")


@dataclass(frozen=True)
class Target:
    """Where and as whom to connect."""

    host: str
    port: int
    user: str
    password_file: Path | None
    database: str

    def connect(self) -> psycopg2.extensions.connection:
        """Open one connection; the password is read each time, so a rotated one is picked up."""
        password = self.password_file.read_text().strip() if self.password_file else None
        return psycopg2.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=password,
            dbname=self.database,
            application_name=PROGRAM,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            sslmode="prefer",
        )


@dataclass
class Tally:
    """What all threads hold and were refused."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    turn: threading.Lock = field(default_factory=threading.Lock)
    held: int = 0
    refused: int = 0
    failed: int = 0
    last_error: str | None = None


class Hoarder:
    """One thread's share of the leak: connects up to ``quota`` and keeps what it gets."""

    def __init__(
        self, target: Target, quota: int, pause_seconds: float, tally: Tally, stop: threading.Event
    ) -> None:
        self._target = target
        self._quota = quota
        self._pause_seconds = pause_seconds
        self._tally = tally
        self._stop = stop
        self._held: dict[int, psycopg2.extensions.connection] = {}
        self._refused = False
        self._poller = select.poll()

    def run(self) -> None:
        """Hold as much as can be had until told to stop, then end it all."""
        try:
            while not self._stop.is_set():
                if len(self._held) < self._quota:
                    self._drop_lost(0)
                    self._stop.wait(self._grab())
                else:
                    self._drop_lost(WATCH_INTERVAL_MS)
        finally:
            for connection in self._held.values():
                connection.close()
            self._count(held=-len(self._held))
            self._held.clear()

    def _grab(self) -> float:
        """Try one connection; return the seconds to wait before the next try."""
        try:
            connection = self._connect()
        except psycopg2.OperationalError as error:
            text = str(error).strip()
            if any(part in text for part in _FULL):
                self._count(refused=1)
                self._refused = True
                return self._pause_seconds
            self._count(failed=1, error=text)
            return self._pause_seconds if any(part in text for part in _CHANGING) else OUTAGE_INTERVAL_SECONDS
        except OSError as error:
            self._count(failed=1, error=f"password file: {error}")
            return OUTAGE_INTERVAL_SECONDS
        self._held[connection.fileno()] = connection
        self._poller.register(connection.fileno(), select.POLLIN)
        self._count(held=1)
        self._refused = False
        return 0.0

    def _connect(self) -> psycopg2.extensions.connection:
        if not self._refused:
            return self._target.connect()
        # Even a refused attempt takes a slot for a moment, a reserved one when the rest are gone: one
        # attempt at a time leaves the others to the server's administrator.
        with self._tally.turn:
            return self._target.connect()

    def _drop_lost(self, timeout_ms: int) -> None:
        # The server says nothing on an idle connection until it ends it.
        for descriptor, _event in self._poller.poll(timeout_ms):
            self._poller.unregister(descriptor)
            self._held.pop(descriptor).close()
            self._count(held=-1)

    def _count(self, held: int = 0, refused: int = 0, failed: int = 0, error: str | None = None) -> None:
        with self._tally.lock:
            self._tally.held += held
            self._tally.refused += refused
            self._tally.failed += failed
            self._tally.last_error = error or self._tally.last_error


def hoard(target: Target, connections_max: int, threads: int, stop: threading.Event) -> bool:
    """Leak until ``stop``; return whether every thread ended in time."""
    tally = Tally()
    shares = [connections_max // threads + (index < connections_max % threads) for index in range(threads)]
    pause_seconds = ATTEMPT_INTERVAL_SECONDS * threads
    workers = [
        threading.Thread(
            target=Hoarder(target, share, pause_seconds, tally, stop).run,
            name=f"reporting-{index}",
            daemon=True,
        )
        for index, share in enumerate(shares)
    ]
    for worker in workers:
        worker.start()
    logged = (-1, "")
    while not stop.wait(LOG_INTERVAL_SECONDS):
        state = (tally.held, "full" if tally.refused else "")
        if state != logged:
            logged = state
            _LOGGER.info(
                "connections_held",
                extra={
                    "held": tally.held,
                    "refused": tally.refused,
                    "failed": tally.failed,
                    "last_error": tally.last_error,
                },
            )
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    _LOGGER.info(
        "program_stopped", extra={"held": tally.held, "refused": tally.refused, "failed": tally.failed}
    )
    return not any(worker.is_alive() for worker in workers)


def main() -> None:
    """Run the reporting tool."""
    parser = argparse.ArgumentParser(prog="python -m chaos.upstreams.reporting", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", type=serving.existing_file)
    parser.add_argument("--database", required=True)
    parser.add_argument(
        "--connections-max", type=int, default=200, choices=range(1, 10_001), metavar="1..10000"
    )
    parser.add_argument("--threads", type=int, default=4, choices=range(1, 33), metavar="1..32")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with serving.reporting_errors(PROGRAM):
        target = Target(options.host, options.port, options.user, options.password_file, options.database)
        _LOGGER.info(
            "program_started", extra={"target": f"{target.host}:{target.port}", "database": target.database}
        )
        ended = hoard(target, options.connections_max, options.threads, stop)
    # A thread stuck in connect() still holds nothing that outlives the process.
    sys.exit(0 if ended else 1)


if __name__ == "__main__":
    main()
