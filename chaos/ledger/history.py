"""The history of a run: one line per call, answer and injection, in the order they were seen.

A call that was neither acknowledged nor refused is ``info``: it may have taken place (as in Jepsen).
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from chaos.errors import DiskFullError, LabError

SYNC_INTERVAL_SECONDS = 0.2
LINE_BYTES_MAX = 64 * 1024


class HistoryDamagedError(LabError):
    """The history has a line that cannot be read, so nothing can be judged from it. Run it again."""


class Type(enum.StrEnum):
    """What a line says of an act: it begins, it took place, it did not, or nobody knows."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


@dataclass(frozen=True)
class Entry:
    """One line. ``process`` is who acts: a client, or the nemesis."""

    seq: int
    at_unix: float
    type: Type
    process: str
    act: str
    detail: dict[str, Any]


class History:
    """Appends to the file and keeps nothing: a line is in the kernel when ``record`` returns.

    A thread of its own brings it to the disk every ``SYNC_INTERVAL_SECONDS``: whoever submits must not wait
    for a slow one. Who asks for ``durable`` does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seq = 0
        self._dirty = False
        self._failure: OSError | None = None
        self._ended = threading.Event()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DiskFullError(f"the history {path} cannot be opened: {error}. Nothing was done") from error
        self._syncer = threading.Thread(target=self._keep_synced, name="history-sync", daemon=True)
        self._syncer.start()

    def record(self, type_: Type, process: str, act: str, *, durable: bool = False, **detail: Any) -> int:
        """Append one line and return its number.

        Raises:
            DiskFullError: it could not be recorded, so it must not be done.
        """
        with self._lock:
            entry = Entry(self._seq, time.time(), type_, process, act, detail)
            line = orjson.dumps(asdict(entry)) + b"\n"
            if len(line) > LINE_BYTES_MAX:
                raise LabError(f"a line of the history has {len(line)} bytes, {LINE_BYTES_MAX} are allowed")
            failure = self._failure or self._write(line)
            if failure is not None:
                raise DiskFullError(f"the history {self.path} cannot be written: {failure}") from failure
            self._seq += 1
            self._dirty = True
        if durable:
            self._sync()
        return entry.seq

    def _write(self, line: bytes) -> OSError | None:
        try:
            if os.write(self._fd, line) == len(line):
                return None
        except OSError as error:
            return error
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _sync(self) -> None:
        with self._lock:
            dirty, self._dirty = self._dirty, False
        if not dirty:
            return
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._failure = error  # told to whoever records next
            raise DiskFullError(f"the history {self.path} cannot be written: {error}") from error

    def _keep_synced(self) -> None:
        while not self._ended.wait(SYNC_INTERVAL_SECONDS):
            with contextlib.suppress(DiskFullError):
                self._sync()

    def close(self) -> None:
        """Put everything on disk and close the file."""
        self._ended.set()
        self._syncer.join()
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_history(path: Path) -> Iterator[Entry]:
    """Yield the lines of a history, one in memory at a time; a last line cut short by a crash is left out.

    Raises:
        HistoryDamagedError: another line cannot be read, or one is missing.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                return  # only the last can be
            try:
                data = orjson.loads(line)
                entry = Entry(**{**data, "type": Type(data["type"])})
            except (ValueError, TypeError, KeyError) as error:
                raise HistoryDamagedError(f"{path}:{number + 1} cannot be read: {error}") from error
            if entry.seq != number:
                raise HistoryDamagedError(f"{path}:{number + 1} has number {entry.seq} instead of {number}")
            yield entry
