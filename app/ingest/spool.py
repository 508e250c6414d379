"""A downloaded file on its way into the database: on disk, bounded, decompressed."""

from __future__ import annotations

import csv
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

LINE_BYTES_MAX = 1024**2
COLUMNS_MAX = 1000  # a table has at most 1600
_GZIP = 16 + zlib.MAX_WBITS
_OUTPUT_CHUNK_BYTES = 256 * 1024
_BOM = b"\xef\xbb\xbf"
# Older servers take a line of these two for the end of the data, whatever follows.
_END_OF_DATA = b"\n\\."

csv.field_size_limit(LINE_BYTES_MAX)


class UnfitError(Exception):
    """What the file holds cannot be loaded, however often it is tried."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Spool:
    """A file without a name. It is gone when nobody refers to it any more."""

    def __init__(self, directory: Path, *, gzipped: bool, bytes_max: int) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115
        weakref.finalize(self, self.file.close)
        self.size = 0
        self.suspicious = False
        """Whether a line of it would end a COPY early."""
        self._bytes_max = bytes_max
        self._gunzip = zlib.decompressobj(_GZIP) if gzipped else None
        self._gzipped = gzipped
        self._tail = b"\n"
        self._line_bytes = 0

    def write(self, data: bytes) -> int:
        """Take the next bytes of the object. Raises ``UnfitError``."""
        if not self._gzipped:
            self._keep(data)
            return len(data)
        try:
            self._inflate(data)
        except zlib.error as exc:
            raise UnfitError("not_gzip", f"it cannot be gunzipped: {exc}") from exc
        return len(data)

    def _inflate(self, data: bytes) -> None:
        while data:
            if self._gunzip is None:
                self._gunzip = zlib.decompressobj(_GZIP)  # gzip files may be strung together
            # Bounded: a few bytes may stand for gigabytes.
            self._keep(self._gunzip.decompress(data, _OUTPUT_CHUNK_BYTES))
            data = self._gunzip.unconsumed_tail
            if self._gunzip.eof:
                data, self._gunzip = self._gunzip.unused_data, None

    def _keep(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._bytes_max:
            raise UnfitError("too_large", f"it holds more than {self._bytes_max} bytes")
        for start in range(0, len(data), LINE_BYTES_MAX):
            self._look(data[start : start + LINE_BYTES_MAX])
        self.file.write(data)

    def _look(self, data: bytes) -> None:
        first = data.find(b"\n")
        if first < 0:
            self._line_bytes += len(data)
        else:
            self._limit_line(self._line_bytes + first)
            self._line_bytes = len(data) - data.rfind(b"\n") - 1
        self._limit_line(self._line_bytes)
        self.suspicious = self.suspicious or _END_OF_DATA in self._tail + data
        self._tail = (self._tail + data)[-len(_END_OF_DATA) :]

    @staticmethod
    def _limit_line(length_bytes: int) -> None:
        if length_bytes > LINE_BYTES_MAX:
            raise UnfitError("line_too_long", f"it has a line of more than {LINE_BYTES_MAX} bytes")

    def finish(self) -> None:
        """Say that this was all. Raises ``UnfitError`` when a gzip stream is cut off."""
        if self._gunzip is not None:
            raise UnfitError("not_gzip", "its gzip stream ends too early")
        self.file.flush()

    def lines(self) -> Iterator[bytes]:
        """Return the lines from where the file stands."""
        while line := self.file.readline(LINE_BYTES_MAX + 2):
            yield line

    def rewind(self, position: int = 0) -> None:
        """Go to a position; at the beginning, past a byte order mark."""
        self.file.seek(position)
        if position == 0 and self.file.read(len(_BOM)) != _BOM:
            self.file.seek(0)

    def header(self) -> tuple[list[str], int]:
        """Return the columns of a CSV file and where its rows begin. Raises ``UnfitError``."""
        self.rewind()
        try:
            text = (line.decode() for line in self.lines())
            columns = next(csv.reader(text, strict=True), [])
        except (UnicodeDecodeError, csv.Error) as exc:
            raise UnfitError("bad_header", f"its first line cannot be read: {exc}") from exc
        if not columns:
            raise UnfitError("bad_header", "it is empty: a CSV file begins with its columns")
        if len(columns) > COLUMNS_MAX or len(set(columns)) < len(columns) or not all(columns):
            message = f"its columns must be named, each otherwise, and at most {COLUMNS_MAX}"
            raise UnfitError("bad_header", message)
        if any("\0" in column for column in columns):
            raise UnfitError("bad_header", "a column's name has a NUL character")
        return columns, self.file.tell()
