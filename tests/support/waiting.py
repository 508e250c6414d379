"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02


def eventually(check: Callable[[], T | None], *, within_seconds: float, what: str) -> T:
    """Return the first truthy value of ``check``; fail with its last value or error after the deadline."""
    deadline = time.monotonic() + within_seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            value = check()
        except (OSError, AssertionError) as exc:
            last = exc
        else:
            if value:
                return value
            last = value
        time.sleep(POLL_SECONDS)
    message = f"not within {within_seconds:g} s: {what}; last: {last!r}"
    raise AssertionError(message)
