"""Ids of jobs."""

from __future__ import annotations

import secrets
import time
from uuid import UUID

_RANDOM_BITS = 74


def new_job_id() -> UUID:
    """Return a UUID of version 7: it begins with the time, so that new rows lie together in every index."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(_RANDOM_BITS)
    high, low = random >> 62, random & (1 << 62) - 1
    return UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low)
