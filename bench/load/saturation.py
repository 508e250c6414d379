"""What is used up first, said from measured figures and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BUSY = 0.9
"""Of what there is: from here on it is used up."""
WAITING_BACKENDS = 1.0


@dataclass(frozen=True)
class Use:
    """What one cell of the table used, as medians of the rounds."""

    cores: Mapping[str, float]
    """By group; the client's too, for it has the same machine."""
    machine_cores: int
    machine_busy: float
    """Share of 1."""
    api_processes: int
    pool_in_use: float
    """Share of 1, of the API that uses more."""
    pool_wait_ms: float
    postgres_waiting: float
    """Connections that wait for disk or locks, at a time."""


def used_up(use: Use) -> list[str]:
    """Return what limits, the narrowest first; nothing when callers wait only for one another's turn."""
    found = []
    if use.cores["nginx"] >= BUSY:
        found.append("nginx: its one worker process has one core")
    if use.cores["APIs"] >= BUSY * use.api_processes:
        found.append("the API processes: each has one core")
    total = sum(use.cores.values())
    if use.machine_busy >= BUSY:
        others = max(0.0, use.machine_busy * use.machine_cores - total)
        total += others
        shares = sorted({**use.cores, "others": others}.items(), key=lambda item: -item[1])
        told = ", ".join(f"{name} {cores / total:.0%}" for name, cores in shares if cores >= 0.05 * total)
        found.append(f"the machine's {use.machine_cores} cores ({told})")
    if use.pool_in_use >= BUSY:
        found.append(f"the connection pools: requests wait {use.pool_wait_ms:.1f} ms for a connection")
    if use.postgres_waiting >= WAITING_BACKENDS and use.machine_busy < BUSY:
        found.append(f"PostgreSQL: {use.postgres_waiting:.1f} connections wait for its disk or locks")
    return found
