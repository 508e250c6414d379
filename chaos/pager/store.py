"""Where the pager keeps notifications: one append-only JSONL file, bounded, that survives kill -9."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import orjson

from chaos.errors import LabError

KEEP_PER_RECEIVER = 10_000  # so that a chatty receiver never pushes out another's notifications
KEEP_BYTES = 64 * 1024 * 1024
# Bytes of forgotten notifications the file may carry before it is rewritten, so that a rewrite is rare.
DEAD_BYTES_MIN = 64 * 1024
DEAD_SHARE_MAX = 0.25

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
        self._kept: dict[str, deque[_Entry]] = defaultdict(deque)
        self._kept_bytes: Counter[str] = Counter()
        self._size = 0  # of the file, dead bytes included
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
        unreadable = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # torn by a crash before its fsync: nobody was told it is stored
                entry = _parse(line, self._size)
                self._size += len(line)
                if entry is None:
                    unreadable += 1
                else:
                    self._keep(entry)
        if os.fstat(self._file).st_size != self._size:
            os.ftruncate(self._file, self._size)
            os.fsync(self._file)
        if unreadable:
            _LOGGER.warning("store_lines_unreadable", extra={"path": str(self._path), "count": unreadable})
        self._rewrite_if_due()

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
            entry = _Entry(number, receiver, received_unix, self._size, len(line))
            self._size += len(line)
            self._keep(entry)
            self._rewrite_if_due()
            return number

    def find(self, receiver: str | None, since_unix: float, limit: int) -> tuple[list[bytes], bool]:
        """Return up to ``limit`` records as JSON, oldest first, and whether more matched."""
        with self._mutex:
            kept = self._all() if receiver is None else self._kept.get(receiver, ())
            matches = sorted(
                (entry for entry in kept if entry.received_unix >= since_unix),
                key=lambda entry: (entry.received_unix, entry.id),
            )
            chosen = matches[:limit]
            return [os.pread(self._file, e.length, e.offset) for e in chosen], len(matches) > limit

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._kept.values())

    def _all(self) -> list[_Entry]:
        return sorted((e for entries in self._kept.values() for e in entries), key=lambda entry: entry.id)

    def _keep(self, entry: _Entry) -> None:
        """Index ``entry`` and forget the oldest beyond the limits, of the largest receiver first."""
        self._kept[entry.receiver].append(entry)
        self._kept_bytes[entry.receiver] += entry.length
        self._next_id = max(self._next_id, entry.id + 1)
        if len(self._kept[entry.receiver]) > self._keep_per_receiver:
            self._forget_oldest(entry.receiver)
        while self._kept_bytes.total() > self._keep_bytes and len(self) > 1:
            self._forget_oldest(max(self._kept_bytes, key=self._kept_bytes.__getitem__))

    def _forget_oldest(self, receiver: str) -> None:
        self._kept_bytes[receiver] -= self._kept[receiver].popleft().length

    def _rewrite_if_due(self) -> None:
        kept_bytes = self._kept_bytes.total()
        if self._size - kept_bytes <= max(DEAD_BYTES_MIN, kept_bytes * DEAD_SHARE_MAX):
            return
        try:
            self._rewrite()
        except OSError as error:
            # One of the two files holds everything kept, so nothing is lost; the next `add` tries again.
            _LOGGER.warning("store_not_rewritten", extra={"path": str(self._path), "error": str(error)})

    def _rewrite(self) -> None:
        temporary = self._path.with_name(self._path.name + ".new")
        replacement = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        kept: dict[str, deque[_Entry]] = defaultdict(deque)
        size = 0
        try:
            for entry in self._all():
                _write_all(replacement, os.pread(self._file, entry.length, entry.offset), size)
                kept[entry.receiver].append(replace(entry, offset=size))
                size += entry.length
            os.fsync(replacement)
            temporary.replace(self._path)
        except OSError:
            os.close(replacement)
            raise
        os.close(self._file)
        self._file, self._kept, self._size = replacement, kept, size
        _sync_directory(self._path.parent)

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
