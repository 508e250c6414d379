"""Which cells of the table the last seeds have hit together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.engine.nemesis.schedule import SEEDS_FOR_ALL

REPORT = "nemesis.json"
REPORTS_READ_MAX = 60
_REPORT_BYTES_MAX = 64 * 1024**2


@dataclass(frozen=True)
class Coverage:
    """What ``seeds`` have hit of a table, and what they have not."""

    seeds: Sequence[int]
    hit: int
    missing: Sequence[str]

    def __str__(self) -> str:
        total = self.hit + len(self.missing)
        named = ", ".join(map(str, self.seeds))
        line = f"seeds {named} together have hit {self.hit} of {total} cells"
        if not self.missing:
            return line
        if len(self.seeds) < SEEDS_FOR_ALL:
            return f"{line}; {SEEDS_FOR_ALL} seeds in a row hit all"
        return f"{line}; not {', '.join(self.missing)}"


def coverage(reports: Path, seed: int, table: Sequence[str]) -> Coverage:
    """Return what the newest whole runs of ``seed`` and the two before it have hit of this very table."""
    wanted = range(seed - SEEDS_FOR_ALL + 1, seed + 1)
    found: dict[int, set[str]] = {}
    for path in sorted(reports.glob(f"*-nemesis-*/{REPORT}"), reverse=True)[:REPORTS_READ_MAX]:
        report = _read(path)
        number = int(report.get("seed", -1))
        if number in wanted and report.get("table") == list(table) and not report.get("partial"):
            proven = {one["cell"] for one in report["injections"] if not one["why"]}
            found.setdefault(number, proven)
    hit = set().union(*found.values()) & set(table)
    return Coverage(sorted(found), len(hit), sorted(set(table) - hit))


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _REPORT_BYTES_MAX:
            return {}
        report = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # another run's damage is not this one's
    return report if isinstance(report, dict) else {}
