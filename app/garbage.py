"""How often a process looks for garbage that reference counts leave behind."""

from __future__ import annotations

import gc

YOUNG_OBJECTS_MAX = 10_000
"""Containers made, and not freed, between two looks at the youngest; 700 by default."""


def settle() -> None:
    """Take all that start-up made, and the process keeps, out of every later collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX, *gc.get_threshold()[1:])
