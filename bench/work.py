"""The work of one job, the same for all: a record of 1 KB. Standard library only."""

from __future__ import annotations

import json

RECORD_BYTES = 1024
_FILLING = "x" * (RECORD_BYTES - 40)


def record(number: int) -> dict[str, object]:
    """Return the record of job number ``number``; as JSON it has 1 KB."""
    return {"number": number, "filling": _FILLING, "pad": str(number).zfill(8)[-8:]}


def encoded(number: int) -> str:
    """Return the record as JSON."""
    return json.dumps(record(number))
