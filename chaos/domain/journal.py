"""The write-ahead record of a run: what was intended, before it was done."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any


class Phase(enum.StrEnum):
    """Where a run is. A run that ends in any phase but ``CLOSED`` left something to heal."""

    PLANNED = "planned"
    STEADY = "steady"
    INJECTING = "injecting"
    JUDGING = "judging"
    HELD = "held"
    REMEDYING = "remedying"
    RECOVERING = "recovering"
    HEALING = "healing"
    CLOSED = "closed"


@dataclass(frozen=True)
class Entry:
    """One line of a journal. ``at_unix`` is in seconds."""

    seq: int
    at_unix: float
    phase: Phase
    act: str
    detail: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ProcessRef:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    create_time: float  # seconds since boot-independent epoch, as psutil gives it


@dataclass(frozen=True)
class ActiveRun:
    """The run that holds a lab, as ``active.json`` keeps it."""

    run_id: str
    mode: str  # drill or scenario
    scenario: str
    variant: str
    seed: int
    started_unix: float
    deadline_unix: float
    held: bool
    runner: ProcessRef
    guardian: ProcessRef | None
