"""Log lines on a stream: at once when there are few, together when there are many.

Each write lets go of the GIL, and to get it back under load costs more than all else that is done for a line.
"""

from __future__ import annotations

import json
import threading
import time
from typing import BinaryIO

import orjson

from app.telemetry.metrics import runtime

TOGETHER_SECONDS = 0.02
"""A line that comes this soon after a write waits for others that long, unless it is a warning or worse."""
WAITING_LINES_MAX = 1000


def encoded(value: object) -> bytes:
    """Return any value as JSON. What is written about a request must not fail it."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError:  # half of a surrogate pair, or an integer of more than 64 bits
        return json.dumps(value, default=str).encode()


class LineWriter:
    """Writes encoded lines in order. What waits is lost when the process is killed: 20 ms of good news."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._written_at = 0.0
        self._more = threading.Event()
        self._thread: threading.Thread | None = None

    def info(self, line: bytes) -> None:
        """Write a line soon."""
        with self._lock:
            self._waiting.append(line)
            soon = time.monotonic() - self._written_at < TOGETHER_SECONDS
            if soon and len(self._waiting) < WAITING_LINES_MAX:
                if len(self._waiting) > 1:
                    return  # whoever will write the first writes this one too
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
                    self._thread.start()
                self._more.set()
                return
            self._write()

    debug = info

    def warning(self, line: bytes) -> None:
        """Write a line, and what waits before it, now."""
        with self._lock:
            self._waiting.append(line)
            self._write()

    error = critical = exception = warning

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            self._stream.write(b"\n".join(waiting) + b"\n")
            self._stream.flush()
        except (OSError, ValueError):
            # A full disk, a reader that has gone: what is logged about must not fail of it.
            runtime.LOG_LINES_LOST.inc(len(waiting))
        finally:
            self._written_at = time.monotonic()

    def _run(self) -> None:
        while True:
            self._more.wait()
            time.sleep(TOGETHER_SECONDS)
            self._more.clear()
            self.flush()
