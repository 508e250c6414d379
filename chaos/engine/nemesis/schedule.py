"""Which cells one seed hits, in what order, how hard and for how long: a function of the seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chaos.engine.nemesis.table import (
    FLUSH,
    KILL,
    PAUSE,
    S3_EVENTS,
    SERVICE,
    TOXICS,
    WORKERS,
    Cell,
)
from chaos.errors import UsageError

SEEDS_FOR_ALL = 3
"""So many seeds in a row hit every cell."""

HOLD_SECONDS = (2.0, 5.0)
GAP_SECONDS = (0.5, 2.5)
PAUSE_LEASES = (1.4, 2.0)
"""How long a paused worker sleeps, in leases: long enough for another to take over what it had."""
MORE_GAP_FACTOR = 3.0
"""What the seed does not owe leaves the service more time to work."""


_LEADS_TO = {"client-postgres": "postgres", "s3": "seaweedfs"}
"""What a path leads to, where it is not called like that."""


@dataclass(frozen=True)
class Step:
    """One injection."""

    cell: Cell
    stream: str
    attributes: dict[str, int] = field(hash=False)
    hold_seconds: float
    gap_seconds: float
    required: bool
    """Whether the seed owes it; others fill the time."""

    @property
    def uses(self) -> frozenset[str]:
        """What no other injection may touch meanwhile, or neither could be proven."""
        target = _LEADS_TO.get(self.cell.target, self.cell.target)
        if target == "service":
            return frozenset(SERVICE)
        # No event comes from a store that is away.
        return frozenset({target, "seaweedfs"} if target == S3_EVENTS else {target})


@dataclass(frozen=True)
class Lane:
    """Injections that follow each other. The lanes run side by side."""

    name: str
    required: Sequence[Step]
    more: Iterator[Step]


def owed(cells: Sequence[Cell], seed: int) -> list[Cell]:
    """Return the cells that ``seed`` must hit: a third, so that any three consecutive seeds hit all."""
    return [cell for number, cell in enumerate(cells) if number % SEEDS_FOR_ALL == seed % SEEDS_FOR_ALL]


def plan(
    cells: Sequence[Cell], seed: int, lease_seconds: float, only: Sequence[str] = ()
) -> tuple[Lane, ...]:
    """Return one lane for paths and one for processes. ``only``: these cells and no others, by name."""
    rng = random.Random(f"nemesis:{seed}")  # noqa: S311  a schedule, not a secret
    if unknown := sorted(set(only) - {cell.name for cell in cells}):
        known = ", ".join(cell.name for cell in cells)
        raise UsageError(f"there is no cell {', '.join(unknown)}; there are {known}")
    cells = [cell for cell in cells if not only or cell.name in only]
    mine = list(cells) if only else owed(cells, seed)
    rng.shuffle(mine)
    lanes = []
    for name, network in (("paths", True), ("processes", False)):
        lane_rng = random.Random(f"nemesis:{seed}:{name}")  # noqa: S311
        required = [
            _step(cell, lane_rng, lease_seconds, required=True) for cell in mine if cell.is_network is network
        ]
        rest = [cell for cell in cells if cell.is_network is network]
        lanes.append(Lane(name, required, _forever(rest, lane_rng, lease_seconds)))
    return tuple(lanes)


def _forever(cells: Sequence[Cell], rng: random.Random, lease_seconds: float) -> Iterator[Step]:
    while cells:
        yield _step(rng.choice(cells), rng, lease_seconds, required=False)


def _step(cell: Cell, rng: random.Random, lease_seconds: float, *, required: bool) -> Step:
    # Every draw is made for every cell, so that a change of one kind moves no other.
    hold, gap = rng.uniform(*HOLD_SECONDS), rng.uniform(*GAP_SECONDS)
    leases = rng.uniform(*PAUSE_LEASES)
    draw = rng.getrandbits(32)
    inner = random.Random(draw)  # noqa: S311
    if not required:
        gap *= MORE_GAP_FACTOR
    if cell.fault == PAUSE and cell.target in WORKERS:
        hold = leases * lease_seconds
    elif cell.fault in (KILL, FLUSH):
        hold = 0.0
    make = TOXICS.get(cell.fault)
    return Step(
        cell,
        inner.choice(cell.streams()) if cell.is_network else "",
        dict(make(inner)) if make else {},
        round(hold, 2),
        round(gap, 2),
        required,
    )
