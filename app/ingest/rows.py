"""The slow path: each row is looked at by itself, when the database could not read the file as a whole.

What these filters let through, in the form they give it, the database can read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.ingest.spool import Spool

REJECTS_KEPT_MAX = 1000
SAMPLE_CHARACTERS_MAX = 300
_ROWS_AT_ONCE = 500


@dataclass
class Rejects:
    """Rows that are not valid: how many, and the first of them as (number, reason, sample)."""

    count: int = 0
    kept: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, number: int, reason: str, sample: str) -> None:
        """Remember one."""
        self.count += 1
        if len(self.kept) < REJECTS_KEPT_MAX:
            shown = sample.replace("\0", "").encode(errors="replace").decode()
            self.kept.append((number, reason, shown[:SAMPLE_CHARACTERS_MAX]))


def csv_rows(spool: Spool, width: int, rejects: Rejects) -> Iterator[bytes]:
    """Yield rows as CSV that begins with their number, every value quoted."""
    # What is no UTF-8 comes through as surrogates, so that only its row is lost.
    reader = csv.reader((line.decode(errors="surrogateescape") for line in spool.lines()), strict=True)
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
    number = 0
    while True:
        number += 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as exc:
            rejects.add(number, "malformed", str(exc))
            continue
        if not row:
            number -= 1  # an empty line is no row
            continue
        reason = _csv_reason(row, width)
        if reason is not None:
            rejects.add(number, reason, ",".join(row))
            continue
        writer.writerow([number, *row])
        if buffer.tell() > _ROWS_AT_ONCE * 100:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _csv_reason(row: list[str], width: int) -> str | None:
    if len(row) != width:
        return f"fields_{len(row)}_of_{width}"
    joined = "".join(row)
    if "\0" in joined:
        return "nul_character"
    try:
        joined.encode()
    except UnicodeEncodeError:
        return "not_utf8"
    return None


def jsonl_rows(spool: Spool, rejects: Rejects) -> Iterator[bytes]:
    """Yield lines as they are, each after its number and the character 1."""
    number = 0
    out: list[bytes] = []
    for line in spool.lines():
        text = line.strip()
        if not text:
            continue
        number += 1
        reason = _json_reason(text)
        if reason is not None:
            rejects.add(number, reason, text[: SAMPLE_CHARACTERS_MAX * 4].decode(errors="replace"))
            continue
        out.append(b"%d\x01%s\n" % (number, text))
        if len(out) >= _ROWS_AT_ONCE:
            yield b"".join(out)
            out.clear()
    yield b"".join(out)


def _json_reason(text: bytes) -> str | None:
    try:
        text.decode()
    except UnicodeDecodeError:
        return "not_utf8"
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "not_json"
    if b"\\u0000" in text and _has_nul(value):
        return "nul_character"
    return None


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return False


class Stream(io.RawIOBase):
    """Chunks as a file that is read once, as COPY wants it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        """Say that it is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return b""
        if size < 0:
            size = len(self._rest)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken
