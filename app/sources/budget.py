"""What one job may take from a source in time and bytes, counted before it is kept."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable

from app.progress import UNWATCHED, Progress
from app.sources import SourceError, too_much

DECODE_CHUNK_BYTES = 64 * 1024
_GZIP_WINDOW_BITS = 31


class Budget:
    """What all calls of one job may cost together, checked with every chunk: a source may drip."""

    def __init__(self, seconds: float, bytes_max: int, progress: Progress = UNWATCHED) -> None:
        self.progress = progress
        self._seconds = seconds
        self._give_up_at = time.monotonic() + seconds
        self._bytes_max = bytes_max
        self._bytes = 0

    def spend(self, chunk_bytes: int) -> None:
        """Count a chunk. Raises ``SourceError``."""
        self._bytes += chunk_bytes
        if self._bytes > self._bytes_max:
            raise too_much(f"{self._bytes_max} bytes")
        self.check_time()

    def check_time(self) -> None:
        """Raise ``SourceError`` when the time is over, ``FencedError`` when the work is in vain."""
        self.progress.check()
        if time.monotonic() > self._give_up_at:
            message = f"not finished after {self._seconds:g} s"
            raise SourceError("timeout", message, retryable=True, outcome="timeout", upstream_failed=True)

    @property
    def seconds_left(self) -> float:
        """How much time is left, at least a moment."""
        return max(0.001, self._give_up_at - time.monotonic())


def decoded(chunks: Iterable[bytes], encoding: str, budget: Budget) -> bytes:
    """Return a body, unpacked a little at a time: a small gzip may hold what fills the memory.

    Raises ``SourceError``.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return _plain(chunks, budget)
        case "gzip" | "x-gzip":
            return _gunzipped(chunks, budget)
    message = f"the answer has the content encoding {encoding[:40]!r}, which was not asked for"
    raise SourceError("invalid_response", message, retryable=True)


def _plain(chunks: Iterable[bytes], budget: Budget) -> bytes:
    body = bytearray()
    for chunk in chunks:
        budget.spend(len(chunk))
        body += chunk
    return bytes(body)


def _gunzipped(chunks: Iterable[bytes], budget: Budget) -> bytes:
    decoder = zlib.decompressobj(_GZIP_WINDOW_BITS)
    body = bytearray()
    try:
        for chunk in chunks:
            budget.check_time()
            rest = chunk
            while rest and not decoder.eof:
                piece = decoder.decompress(rest, DECODE_CHUNK_BYTES)
                budget.spend(len(piece))
                body += piece
                rest = decoder.unconsumed_tail
            if decoder.unused_data or (decoder.eof and rest):
                raise SourceError("invalid_response", "something follows the gzip stream", retryable=True)
        while not decoder.eof and (piece := decoder.decompress(b"", DECODE_CHUNK_BYTES)):
            budget.spend(len(piece))
            body += piece
    except zlib.error as exc:
        raise SourceError("invalid_response", f"the gzip stream is broken: {exc}", retryable=True) from exc
    if not decoder.eof:
        raise SourceError("invalid_response", "the gzip stream ends too early", retryable=True)
    return bytes(body)
