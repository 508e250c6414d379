"""Metrics of the ``avatars`` slice."""

from __future__ import annotations


def initialise() -> None:
    """Create every label set that is known before the first event."""
