"""Log lines on a stream: at once when there are few, together when there are many.

Each write lets go of the GIL, and to get it back under load costs more than all else that is done for a line.
The lines are made then, too: by the thread that writes, and not while a request waits.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Generic, TypeVar

import orjson

from app.telemetry.metrics import runtime

TOGETHER_SECONDS = 0.05
"""A line that comes this soon after a write waits for others that long, unless it is a warning or worse."""
WAITING_LINES_MAX = 1000

ItemT = TypeVar("ItemT")


def encoded(value: object) -> bytes:
    """Return any value as JSON. What is written about a request must not fail it."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError:  # half of a surrogate pair, or an integer of more than 64 bits
        return json.dumps(value, default=str).encode()


class LineWriter(Generic[ItemT]):
    """Makes lines of items and writes them in order.

    What waits is lost when the process is killed: 50 ms of good news.

    Args:
        stream: Where they go.
        line: Makes a line of an item, or nothing; it is called in order, by one thread at a time.

    """

    def __init__(self, stream: BinaryIO, line: Callable[[ItemT], bytes]) -> None:
        self._stream = stream
        self._line = line
        self._waiting: deque[ItemT] = deque()
        self._lock = threading.Lock()
        self._written_at = 0.0
        self._expected = False  # the thread will look before long
        self._more = threading.Event()
        self._thread: threading.Thread | None = None

    def info(self, item: ItemT) -> None:
        """Write a line soon."""
        self._waiting.append(item)
        if self._expected and len(self._waiting) < WAITING_LINES_MAX:
            return
        with self._lock:
            soon = time.monotonic() - self._written_at < TOGETHER_SECONDS
            if soon and len(self._waiting) < WAITING_LINES_MAX:
                self._expected = True
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
                    self._thread.start()
                self._more.set()
                return
            self._write()

    debug = info

    def warning(self, item: ItemT) -> None:
        """Write a line, and what waits before it, now."""
        self._waiting.append(item)
        self.flush()

    error = critical = exception = warning

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        lines = []
        while self._waiting:
            try:
                if line := self._line(self._waiting.popleft()):
                    lines.append(line)
            except Exception:  # noqa: BLE001  one of which no line can be made: the others are to be written
                runtime.LOG_LINES_LOST.inc()
        if not lines:
            return
        try:
            self._stream.write(b"\n".join(lines) + b"\n")
            self._stream.flush()
        except (OSError, ValueError):
            # A full disk, a reader that has gone: what is logged about must not fail of it.
            runtime.LOG_LINES_LOST.inc(len(lines))
        finally:
            self._written_at = time.monotonic()

    def _run(self) -> None:
        while True:
            self._more.wait()
            self._more.clear()
            time.sleep(TOGETHER_SECONDS)
            self.flush()
            self._expected = False
            if self._waiting:  # it came before the line above, and was told that it is expected
                self._expected = True
                self._more.set()
