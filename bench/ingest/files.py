"""The files that are loaded, as a scanner would export them, as large as is asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("id", "asset", "severity", "owner", "note")
_ROWS_AT_ONCE = 10_000
_FILLING = "the control was tested and found to be in place as the attached evidence shows " * 2
_SCATTER = 2_654_435_761
"""Odd, so that multiplied by it modulo a power of two no two numbers become one."""


@dataclass(frozen=True)
class Kind:
    """A format, and whether the rows come in the order of their keys."""

    name: str
    suffix: str
    in_order: bool

    def row(self, number: int) -> str:
        """Return one row of about 200 bytes as CSV, 260 as JSON."""
        key = number if self.in_order else number * _SCATTER % 2**32
        values = (
            f"F-{key:010d}", f"asset-{number % 5000:05d}", str(number % 5), f"team-{number % 40:02d}",
            f"{_FILLING}{number}",
        )  # fmt: skip
        if self.suffix == "csv":
            return ",".join(values) + "\n"
        return json.dumps(dict(zip(COLUMNS, values, strict=True)), separators=(",", ":")) + "\n"

    def header(self) -> str:
        """Return what stands before the rows."""
        return ",".join(COLUMNS) + "\n" if self.suffix == "csv" else ""


# Keys that ascend are what an index takes best: of all orders this one is the hardest to keep up with.
CSV = Kind("csv", "csv", in_order=True)
SCATTERED = Kind("csv-scattered", "csv", in_order=False)
JSONL = Kind("jsonl", "jsonl", in_order=True)
KINDS = (CSV, SCATTERED, JSONL)


@dataclass(frozen=True)
class MadeFile:
    """A file, and how many rows it holds beside its header."""

    kind: Kind
    path: Path
    rows: int


def make(folder: Path, kind: Kind, size_bytes: int) -> MadeFile:
    """Write a file of at least ``size_bytes``, a part at a time."""
    path = folder / f"{kind.name}-{size_bytes}.{kind.suffix}"
    rows = 0
    with path.open("w", encoding="ascii") as out:
        written = out.write(kind.header())
        while written < size_bytes:
            count = min(_ROWS_AT_ONCE, (size_bytes - written) // len(kind.row(rows)) + 1)
            written += out.write("".join(kind.row(number) for number in range(rows, rows + count)))
            rows += count
    return MadeFile(kind, path, rows)
