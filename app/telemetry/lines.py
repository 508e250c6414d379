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
"""Items of which no line was made yet; who has one more makes lines of them."""
MADE_LINES_MAX = 10_000
"""Lines that wait until they can be written: some 5 MB."""

ItemT = TypeVar("ItemT")


def encoded(value: object) -> bytes:
    """Return any value as JSON. What is written about a request must not fail it."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError:  # half of a surrogate pair, or an integer of more than 64 bits
        return json.dumps(value, default=str).encode()


class _Turn:
    """A lock that tells a thread whether it has it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._thread = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._thread = 0
        self._lock.release()

    def is_mine(self) -> bool:
        """Return whether this thread has it."""
        return self._thread == threading.get_ident()


class LineWriter(Generic[ItemT]):
    """Makes lines of items and writes them in order.

    What waits is lost when the process is killed: 50 ms of good news. While nobody reads what is written,
    lines are made and kept, up to a limit; what is beyond that is counted as lost.

    Args:
        stream: Where they go.
        line: Makes a line of an item, or nothing; it is called in order, by one thread at a time.

    """

    def __init__(self, stream: BinaryIO, line: Callable[[ItemT], bytes]) -> None:
        self._stream = stream
        self._line = line
        self._waiting: deque[ItemT] = deque()
        self._made: deque[bytes] = deque()
        # Making takes no longer than it takes; writing takes as long as the reader likes. Who has the turn to
        # write may take that to make, and never the other way round.
        self._making = _Turn()
        self._writing = _Turn()
        self._written_at = 0.0
        self._expected = False  # the thread will look before long
        self._more = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def info(self, item: ItemT) -> None:
        """Write a line soon."""
        self._waiting.append(item)
        if len(self._waiting) >= WAITING_LINES_MAX:
            self.make()
        if self._expected or self._is_within():
            return
        if time.monotonic() - self._written_at < TOGETHER_SECONDS:
            self._expect()
        else:
            self.flush()

    debug = info

    def warning(self, item: ItemT) -> None:
        """Write a line, and what waits before it, now."""
        self._waiting.append(item)
        self.flush()

    error = critical = exception = warning

    def make(self) -> None:
        """Make lines of what waits, without writing them: nobody has to read them for that."""
        if not self._is_within():
            self._make()

    def _make(self) -> None:
        with self._making:
            while self._waiting:
                try:
                    line = self._line(self._waiting.popleft())
                except Exception:  # noqa: BLE001  one of which no line can be made: the others are to be written
                    runtime.LOG_LINES_LOST.inc()
                    continue
                if line and len(self._made) < MADE_LINES_MAX:
                    self._made.append(line)
                elif line:
                    runtime.LOG_LINES_LOST.inc()

    def flush(self) -> None:
        """Write what waits."""
        if self._is_within():
            return
        with self._writing:
            self._make()
            self._write()
        if self._waiting and not self._expected:  # said meanwhile, by this thread
            self._expect()

    def _is_within(self) -> bool:
        """Return whether this is said by what is called while lines are made or written, such as a finalizer.

        Whoever does that takes it along, or the next one does.
        """
        return self._making.is_mine() or self._writing.is_mine()

    def _expect(self) -> None:
        self._expected = True
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
                self._thread.start()
        self._more.set()

    def _write(self) -> None:
        lines = [self._made.popleft() for _ in range(len(self._made))]
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
