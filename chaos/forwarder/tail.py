"""Follows one log file through growth, rotation and truncation, with bounded work per poll."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

LINE_MAX_BYTES = 8 * 1024
POLL_BYTES_MAX = 256 * 1024
BACKLOG_BYTES_MAX = 256 * 1024
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Position:
    """A place in a file: which file (device, inode), and how many bytes into it."""

    inode: tuple[int, int]
    offset: int


BEGINNING = Position((0, 0), 0)
"""Where to begin with a file nobody has read: no file has this inode."""


@dataclass
class Tail:
    """One followed file.

    Reading goes on at a position that was kept; without one, what is in the file at the first look is
    old and skipped. A file that appears or is replaced later is read from its beginning. A replaced file
    is read to its end first. A line longer than `LINE_MAX_BYTES` is cut; a line without its newline waits
    for the rest.
    """

    path: Path
    _descriptor: int | None = None
    _inode: tuple[int, int] | None = None
    _offset: int = 0
    _partial: bytes = b""
    _cutting: bool = False

    def start_at_end(self) -> None:
        """Skip what is already there. Call once, before the first `poll`."""
        if self._open() and self._descriptor is not None:
            self._offset = os.fstat(self._descriptor).st_size

    def resume(self, position: Position) -> None:
        """Go on where an earlier forwarder stopped. Call once, before the first `poll`.

        A file that was replaced since is read from its beginning, and a backlog beyond
        `BACKLOG_BYTES_MAX` is cut at its old end.
        """
        if not self._open() or self._descriptor is None:
            return
        size = os.fstat(self._descriptor).st_size
        if position.inode == self._inode and position.offset <= size:
            self._offset = position.offset
        if size - self._offset > BACKLOG_BYTES_MAX:
            self._offset, self._cutting = size - BACKLOG_BYTES_MAX, True

    def position(self) -> Position | None:
        """Return where the next line begins, or None while there is no file."""
        if self._inode is None:
            return None
        return Position(self._inode, self._offset - len(self._partial))

    def poll(self) -> list[bytes]:
        """Return the complete lines written since the last call; reads at most `POLL_BYTES_MAX` a file."""
        lines: list[bytes] = []
        if self._descriptor is None and not self._open():
            return lines
        lines += self._read()
        if self._replaced():
            if self._behind():
                return lines  # the old file first: what was rotated away is still owed
            if self._partial:
                lines.append(self._partial)
            self._close()
            if self._open():
                lines += self._read()
        return lines

    def _open(self) -> bool:
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            self._close()
            return False
        self._inode = (status.st_dev, status.st_ino)
        self._offset, self._partial, self._cutting = 0, b"", False
        return True

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _replaced(self) -> bool:
        try:
            status = self.path.stat()
        except OSError:
            # Moved away: its writer may go on with it until the next file is there. Deleted: nothing is owed.
            return self._descriptor is not None and os.fstat(self._descriptor).st_nlink == 0
        return (status.st_dev, status.st_ino) != self._inode

    def _behind(self) -> bool:
        return self._descriptor is not None and os.fstat(self._descriptor).st_size > self._offset

    def _read(self) -> list[bytes]:
        if self._descriptor is None:
            return []
        if os.fstat(self._descriptor).st_size < self._offset:
            self._offset, self._partial, self._cutting = 0, b"", False  # truncated in place
        lines: list[bytes] = []
        budget = POLL_BYTES_MAX
        while budget > 0:
            chunk = os.pread(self._descriptor, min(_CHUNK_BYTES, budget), self._offset)
            if not chunk:
                break
            budget -= len(chunk)
            self._offset += len(chunk)
            lines += self._split(chunk)
        return lines

    def _split(self, chunk: bytes) -> list[bytes]:
        *complete, rest = (self._partial + chunk).split(b"\n")
        lines = []
        for line in complete:
            if self._cutting:
                self._cutting = False  # the end of a line whose beginning was already sent
            elif line.strip():
                lines.append(line[:LINE_MAX_BYTES])
        if self._cutting:
            rest = b""
        elif len(rest) > LINE_MAX_BYTES:
            lines.append(rest[:LINE_MAX_BYTES])
            rest, self._cutting = b"", True
        self._partial = rest
        return lines

    def close(self) -> None:
        """Release the file."""
        self._close()
