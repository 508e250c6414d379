"""Figures: percentiles, medians with their spread, and ratios that are judged."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Rounds = Mapping[str, Sequence[float]]
"""Measure -> one value per round."""


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


@dataclass(frozen=True)
class Spread:
    """What several rounds gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the median and the extremes."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 1) -> str:
        """Return ``median (low-high)``."""
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"


@dataclass(frozen=True)
class Floor:
    """A promise: ``ours`` is at least ``ratio_min`` of the best of ``references``."""

    title: str
    ours: str
    references: tuple[str, ...]
    ratio_min: float

    def judge(self, rounds: Rounds) -> Judgement:
        """Compare round by round: what else the machine did weighs on both sides of a round alike."""
        best = max(self.references, key=lambda name: statistics.median(rounds[name]))
        ratios = [ours / other for ours, other in zip(rounds[self.ours], rounds[best], strict=True)]
        return Judgement(self.title, self.ours, best, self.ratio_min, Spread.of(ratios))


@dataclass(frozen=True)
class Judgement:
    """What came of a promise."""

    title: str
    ours: str
    reference: str
    ratio_min: float
    ratio: Spread

    @property
    def kept(self) -> bool:
        """Whether the median of the rounds' ratios reaches what is promised."""
        return self.ratio.median >= self.ratio_min

    def text(self) -> str:
        """Return one line for a terminal."""
        verdict = "ok   " if self.kept else "SHORT"
        return f"{verdict} {self.title}: {self.ratio.text(2)} of {self.reference}, wanted {self.ratio_min:g}"


@dataclass
class Outcome:
    """What one section measured. ``facts`` do not vary from round to round, or are told once."""

    section: str
    rounds: dict[str, list[float]] = field(default_factory=dict)
    judgements: list[Judgement] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def add(self, measures: Mapping[str, float]) -> None:
        """Note what one round gave."""
        for name, value in measures.items():
            self.rounds.setdefault(name, []).append(value)

    def spread(self, name: str) -> Spread:
        """Return what the rounds gave for one measure."""
        return Spread.of(self.rounds[name])
