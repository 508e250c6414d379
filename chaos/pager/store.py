"""Where the pager keeps notifications: one append-only JSONL file, bounded, that survives kill -9."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from chaos.errors import LabError

KEEP_PER_RECEIVER = 10_000  # so that a chatty receiver never pushes out another's notifications
KEEP_BYTES = 64 * 1024 * 1024
# The file may grow this much past what is kept before it is rewritten, so that a rewrite is rare.
SLACK = 0.25

_LOGGER = logging.getLogger(__name__)


class StoreError(LabError):
    """The pager's store cannot be used. Check the path of --store, its owner and the disk."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where one notification lies in the file."""

    id: int
    receiver: str
    received_unix: float
    offset: int
    length: int


class NotificationStore:
    """Durable, ordered notifications. An `add` that returned is on disk.

    Only an index is kept in memory; bodies are read back from the file.
    """

    def __init__(
        self, path: Path, *, keep_per_receiver: int = KEEP_PER_RECEIVER, keep_bytes: int = KEEP_BYTES
    ) -> None:
        self._path = path
        self._keep_per_receiver = keep_per_receiver
        self._keep_bytes = keep_bytes
        self._mutex = threading.Lock()
        self._entries: list[_Entry] = []
        self._lines = 0  # in the file; the index may hold fewer
        self._size = 0
        self._next_id = 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = self._lock()
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._load()
            _sync_directory(path.parent)
        except OSError as error:
            raise StoreError(f"Cannot use {path}: {error.strerror}. Check its owner and the disk.") from error

    def _lock(self) -> int:
        # A file of its own: the store itself is replaced when it is rewritten.
        descriptor = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StoreError(
                f"Another pager uses {self._path}. End it, or choose another --store."
            ) from error
        return descriptor

    def _load(self) -> None:
        skipped = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # torn by a crash before its fsync: nobody was told it is stored
                entry = _parse(line, self._size)
                self._size += len(line)
                self._lines += 1
                if entry is None:
                    skipped += 1
                    continue
                self._entries.append(entry)
                self._next_id = max(self._next_id, entry.id + 1)
        if os.fstat(self._file).st_size != self._size:
            os.ftruncate(self._file, self._size)
            os.fsync(self._file)
        if skipped:
            _LOGGER.warning("store_lines_unreadable", extra={"path": str(self._path), "count": skipped})
        self._trim()

    def add(self, receiver: str, received_unix: float, payload: Any) -> int:
        """Write one notification and return its id once it is on disk. Raises OSError when it cannot be."""
        with self._mutex:
            number = self._next_id
            record = {"id": number, "receiver": receiver, "received_unix": received_unix, "payload": payload}
            line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
            try:
                _write_all(self._file, line, self._size)
                os.fdatasync(self._file)
            except OSError:
                os.ftruncate(self._file, self._size)
                raise
            self._entries.append(_Entry(number, receiver, received_unix, self._size, len(line)))
            self._size += len(line)
            self._lines += 1
            self._next_id += 1
            self._trim()
            return number

    def find(self, receiver: str | None, since_unix: float, limit: int) -> tuple[list[bytes], bool]:
        """Return up to ``limit`` records as JSON, oldest first, and whether more matched."""
        with self._mutex:
            matches = [
                entry
                for entry in self._entries
                if entry.received_unix >= since_unix and receiver in (None, entry.receiver)
            ]
            matches.sort(key=lambda entry: (entry.received_unix, entry.id))
            chosen = matches[:limit]
            return [os.pread(self._file, e.length, e.offset) for e in chosen], len(matches) > limit

    def __len__(self) -> int:
        return len(self._entries)

    def _trim(self) -> None:
        """Forget what is beyond the limits; rewrite the file when too much of it is forgotten."""
        kept_bytes = sum(entry.length for entry in self._entries) if self._size > self._keep_bytes else 0
        too_many = self._lines > self._keep_per_receiver
        if too_many or kept_bytes > self._keep_bytes:
            self._entries = list(self._newest())
        kept = len(self._entries)
        if self._lines > kept + max(16, kept * SLACK) or self._size > self._keep_bytes * (1 + SLACK):
            self._rewrite()

    def _newest(self) -> Iterator[_Entry]:
        left: dict[str, int] = {}
        bytes_left = self._keep_bytes
        kept = []
        for entry in reversed(self._entries):
            left[entry.receiver] = left.get(entry.receiver, self._keep_per_receiver) - 1
            bytes_left -= entry.length
            if bytes_left < 0:
                break
            if left[entry.receiver] >= 0:
                kept.append(entry)
        return reversed(kept)

    def _rewrite(self) -> None:
        temporary = self._path.with_name(self._path.name + ".new")
        replacement = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        entries, size = [], 0
        try:
            for entry in self._entries:
                _write_all(replacement, os.pread(self._file, entry.length, entry.offset), size)
                entries.append(_Entry(entry.id, entry.receiver, entry.received_unix, size, entry.length))
                size += entry.length
            os.fsync(replacement)
            temporary.replace(self._path)
        except OSError as error:
            # The old file still holds everything: try again at the next notification.
            os.close(replacement)
            _LOGGER.warning("store_not_rewritten", extra={"path": str(self._path), "error": str(error)})
            return
        _sync_directory(self._path.parent)
        os.close(self._file)
        self._file, self._entries, self._size, self._lines = replacement, entries, size, len(entries)

    def close(self) -> None:
        """Release the file and its lock."""
        os.close(self._file)
        os.close(self._lock_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse(line: bytes, offset: int) -> _Entry | None:
    try:
        record = orjson.loads(line)
        return _Entry(
            int(record["id"]), str(record["receiver"]), float(record["received_unix"]), offset, len(line)
        )
    except (ValueError, KeyError, TypeError):
        return None


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
