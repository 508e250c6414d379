"""Memory of a process tree as PSS: shared pages are counted once over all who share them."""

from __future__ import annotations

from pathlib import Path

import psutil

from chaos.stacks.embedded.processes import children_by_parent, tree


def pss_bytes(pid: int, table: dict[int, list[int]] | None = None) -> int | None:
    """Return the proportional set size of ``pid`` and its descendants, in bytes."""
    table = children_by_parent() if table is None else table
    figures = [_one(member) for member in tree(pid, table)]
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


def _one(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:
        return _resident(pid)
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None


def _resident(pid: int) -> int | None:
    # Not Linux, or another user's process: RSS overstates, which is the safe side of a limit.
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
